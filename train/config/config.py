"""What `valueeval train` can be told.

How it is told (a YAML file, flags) is in `valueeval.train.config.options`, what goes together in
`valueeval.train.config.combinations`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from valueeval.adapters.directory.input_format import Head, InputFormat
from valueeval.train.config.choices import (
    BY_CHOICE,
    GENERATED,
    KINDS,
    OF_A_HEAD,
    HeadsName,
    LossName,
    MethodName,
    TemplateName,
    ThresholdsName,
)
from valueeval.train.config.combinations import check


@dataclass(frozen=True)
class TrainConfig:
    """Options of a training run.

    Args:
        output: Adapter directory to write. While training goes on, its checkpoints and
            metrics.jsonl are in OUTPUT.training beside it. It must be named.
        base: Base model: minilm (all-MiniLM-L6-v2 from the package's extra `offline`), a hub id, or
            a folder: an encoder (BERT, RoBERTa, DeBERTa, ModernBERT …), a decoder (GPT-2, Llama,
            Qwen …), or of the T5 family, of which a head takes the encoder alone. Source:
            sentence-transformers/all-MiniLM-L6-v2; its choice: ours, as the package can ship it.
        revision: Branch, tag or commit of a base model on the hub; null is its main branch.
        data: touche23 (training and validation of Touché23-ValueEval) or sample (the small set
            that ships with the package). Source: Mirzakhmedova et al., 2024; sample: our own.
        data_dir: Folder of the official files; null looks in $VALUEEVAL_DATA, then in what
            `valueeval data fetch` has fetched.
        train_size: So many arguments of the training data, drawn at random by the seed; a larger
            number has those of a smaller one, too. null is all of them. Source: our choice.
        per_value: As many arguments as it takes for each value to have so many; nested likewise.
            null is all of them. Source: our choice.
        folds: For cross-validation: training and validation are cut together into so many folds by
            conclusion, the same for every seed; one is left out of training, and epochs and
            thresholds are chosen on it. Adapters of all folds are averaged by adapter=A+B+C. null
            trains on training and chooses on validation. Source: Krogh and Vedelsby, 1995.
        fold: Which of the folds is left out, from 0. null leaves out none, with the adapters of all
            folds as --teacher: each argument is taught by those that have not seen it, thresholds
            are tuned on their answers (cross-validation), and the last epoch is kept. Source:
            Wolpert, 1992, for such answers.
        method: What is trained, beside a new head on top. full: all weights (Devlin et al., 2019).
            head: nothing else; features are computed once (Peters et al., 2019). lora: low-rank
            updates of the linear layers (Hu et al., 2022). prompt-tuning: embeddings before the
            text (Lester et al., 2021). p-tuning: the same, made by a network (Liu et al., 2021).
            prefix-tuning: keys and values in every layer (Li and Liang, 2021; not on DeBERTa v2,
            ModernBERT and the encoder of a T5). prompt+full: all weights of a language model that
            answers a template (Lester et al., 2021, «model tuning»). Source: as named, and full as
            default: our choice.
        template: The model is a language model (causal or encoder-decoder) that answers in words
            and has no head: what valueeval_cls (names of values), bca (yes or no to each), mbc (a
            list of yes and no), oa (words for a person) or cot (a final list) asks. null is a
            classifier head. Source: Schick and Schütze, 2021, for answers in words; the tasks'
            prompts.
        paraphrase: Of a template: in which of its wordings it asks; null is 1. Source: the tasks'
            prompts, our own.
        lora_rank: Of method lora: rank of the updates; null is 8. Source: Hu et al., 2022, D.1.
        lora_alpha: Of method lora: updates are scaled by lora_alpha / lora_rank; null is 16.
            Source: our choice, as Hu et al., 2022, have for the larger RoBERTa.
        lora_dropout: Of method lora: share of what the updates read dropped in training; null is
            0.1. Source: Hu et al.'s released code, for GPT-2.
        virtual_tokens: Of the three soft prompts: how many; null is 20. Source: Lester et al.,
            2021, 3.2: more than 20 gain little.
        prompt_hidden_size: Of p-tuning and prefix-tuning: width of the network that makes the
            virtual tokens. null is that of the word embeddings for p-tuning, and no network for
            prefix-tuning. Source: Liu et al., 2021; Liu et al., 2022 («P-tuning v2»), 3.3.
        init: Of prompt-tuning and prefix-tuning, where the virtual tokens start: random (numbers),
            vocabulary (words drawn from it), template (the words of valueeval_cls; with --template
            the task's instruction), values (each the mean of a value's description), or any other
            text. A prefix starts from the model's keys and values for these words (that of an
            encoder-decoder, which stands before its answer, from random ones alone). null is
            vocabulary for prompt-tuning, random for prefix-tuning. Source: Lester et al., 2021,
            3.2; Li and Liang, 2021, 7.4; values: our choice.
        segments: The text of an argument, one or two segments; fields {premise}, {conclusion},
            {stance}, {stance_word}, and with a cross-encoder {value.name}, {value.short} (its
            description in a few words), {value.long}. null is the premise, then stance word and
            conclusion; for a cross-encoder all of the argument, then name and description of the
            value. Source: our choice.
        separator: What stands between two segments. null: encoders read them as a pair, as their
            tokenizer joins pairs; decoders, whose tokenizer need not put anything between them,
            have a line break there. Source: our choice.
        max_length: Tokens that are read of an argument; longer ones are cut at the end of the
            longest segment, and counted. Source: all of training and validation are shorter (171
            tokens of BERT at most).
        heads: single (one layer with 20 outputs), multiple (a classifier for each value, which
            pools the last hidden states with an attention of its own), or cross-encoder (the
            argument is read 20 times, each time with the description of a value beside it, and one
            layer gives that value's logit; on the real data that is 26 times the tokens, in
            evaluation too). Source: Yang et al., 2016, 2.2, for the attention; Nogueira and Cho,
            2019, 3, for the cross-encoder.
        pooling: What the head reads: the mean of the last hidden states, the first token's (cls;
            not of a decoder, whose first token sees no other), the last token's (last), or their
            mean weighted by a trained attention. null is mean for encoders, last for decoders, and
            attention for multiple heads. Source: mean is how all-MiniLM-L6-v2 was trained, and best
            for the encoder of a T5 (Ni et al., 2022); last: Transformers' classifiers on decoders,
            after Radford et al., 2018, 3.2.
        values_per_step: Of a cross-encoder: in training each argument is read with so many values,
            drawn anew in each step; the loss is scaled so that it stays an unbiased estimate, and a
            step costs that much less. Evaluation reads all. null is all 20. Source: our choice.
        dropout: Share of the pooled features dropped in training. Source: BERT (Devlin et al.,
            2019), A.2.
        epochs: Passes over the training data; the best one by validation macro_f1 is kept. null is
            5 for full, 50 for head, 3 for prompt+full, 10 for the others. Source: our choice; full
            by validation macro_f1.
        batch_size: Arguments in a step, all processes together. Source: BERT, A.3.
        learning_rate: Highest learning rate; AdamW. null is 2e-4 for full, 5e-5 for prompt+full,
            5e-4 for lora, 1e-3 for head and p-tuning, 3e-2 for prompt-tuning and prefix-tuning.
            Source: lora: Hu et al., 2022, D.1; prompt+full: BERT, A.3; the soft prompts: validation
            macro_f1 of minilm (train/README.md); others: our choice.
        head_learning_rate: Highest learning rate of the head, if it has one of its own; null is
            1e-3 with a soft prompt, else learning_rate. Source: our choice.
        layer_decay: Of full, prompt+full and lora: each layer's learning rate is that of the layer
            above times this; null is 0.9 for full, 1 for the others. Source: ULMFiT (Howard and
            Ruder, 2018), 3.2; ELECTRA (Clark et al., 2020), B.
        weight_decay: Of AdamW; biases and layer norms have none. Source: BERT, A.2.
        warmup: Share of all steps in which the learning rate rises from 0. Source: BERT's released
            code.
        schedule: How the learning rate falls after that. Source: BERT, A.2.
        max_grad_norm: Gradients are scaled down to this norm. Source: BERT's released code.
        loss: Of a head's logits, or of those that the log-likelihoods of templates bca and cls
            give: bce (binary cross-entropy), focal (what is answered well counts less; Lin et al.,
            2017), or distribution-balanced (values that are rare beside the argument's own weigh
            more, and negatives that are answered well less; Wu et al., 2020). Source: our choice.
        positive_weight: Of loss bce, and of answers to template oa: a value's positives weigh
            (negatives / positives) to this power: 0 is plain cross-entropy, 0.5 the square root, 1
            balances them; null is 0.5. Source: our choice.
        focal_gamma: Of the two other losses: how much less easy answers count; null is 2 for
            focal and 0 for distribution-balanced (2 makes it «DB-focal»). Source: the papers.
        teacher: Adapter whose probabilities are learnt from beside the labels (distillation), or
            several averaged, A+B+C; of loss bce. It must have been trained on the same data, and
            with the same fold left out (why: train/objectives/distillation.py). null is no
            teacher. Source:
            Hinton et al., 2015 (formula: train/objectives/losses.py).
        teacher_weight: How much the teacher counts, against the labels; 1 leaves the labels out.
            null is 0.5 with a teacher. Source: Hinton et al., 2015, 4.
        contrastive: none, or a loss that draws arguments with values in common together: in a stage
            before the classifier's training (pretrain), or beside its loss (joint). Source: Khosla
            et al., 2020; for several labels Lin et al., 2023 (formulas:
            train/objectives/contrastive.py).
        contrastive_positives: Of pretrain, what is drawn together: labels (arguments with values
            in common), or views (nothing but two readings of the same argument under different
            dropout); null is labels. Source: Gao et al., 2021 (SimCSE).
        contrastive_epochs: Of pretrain: how many; null is 1. Source: Gao et al., 2021, A.
        contrastive_weight: Of joint: how much the contrastive loss counts; null is 0.1. Source:
            our choice; Gunel et al., 2021, have the sum of both losses, too.
        contrastive_temperature: The lower, the more the nearest count; null is 0.05 for pretrain,
            0.1 for joint. Source: Gao et al., 2021; Khosla et al., 2020.
        contrastive_queue: Readings of arguments in earlier steps that are compared with (not with
            views), of which pretraining has two an argument; null is 1024. Source: Wang et al.,
            2020; number: our choice.
        thresholds: half (0.5 for every value), or tuned on validation for macro_f1: global (one for
            all values), per-value (the best of each value), halfway (between these two, as logits).
            Source: our choice by halves of validation (see train/loop/thresholds.py). Answers of
            templates mbc, oa and cot are text, which no threshold touches.
        precision: Of the forward pass in training: float32; bfloat16, which is faster where the
            processor multiplies it (CPUs with AMX or AVX-512 BF16, newer GPUs); auto takes bfloat16
            just there. Weights and evaluation are float32. Source: Micikevicius et al., 2018;
            Kalamkar et al., 2019.
        tokens_at_once: Tokens, padding included (of a cross-encoder, without), that a process reads
            before it computes their gradient: a step is read in as many parts as that takes, and
            their gradients are added up. So memory depends on this, not on batch_size; a GPU with
            memory to spare is faster with more. Source: our choice.
        gradient_checkpointing: Keep no more than the input of each layer for the gradient, and
            compute the rest again: less memory, a forward pass more, the same result (not for
            head, prefix-tuning and with a template). Source: Chen et al., 2016.
        compile: Compile the model with torch.compile before the first step; evaluation is not
            compiled (not with a template). It takes a compiler (on CPUs one of C++) and some
            minutes; the same seed then gives the same adapter but for rounding. Source: Ansel et
            al., 2024 (PyTorch 2).
        seed: Of everything random: head, dropout, order. The same seed gives the same adapter on
            the same machine with the same number of processes. Source: our choice.
        log_with: Log loss and validation scores to tensorboard or wandb (Weights & Biases, which
            reads its own settings, such as WANDB_PROJECT and WANDB_MODE), in OUTPUT.logs; it must
            be installed. null logs nothing there; metrics.jsonl is written in any case.
        checkpoint_seconds: Time between checkpoints, or longer, so that no more than a twentieth of
            it is spent on writing them; each epoch ends with one, too. 0 is one a step. Source: our
            choice.
        resume: Go on with an interrupted run of the same configuration; where there is none, start
            one, so that a job that is queued again can use one command. tokens_at_once may have
            changed, as after too little memory: steps stay the same but for rounding and the noise
            of dropout.
        push_to_hub: Model on the Hugging Face hub, org/name, that the finished adapter is uploaded
            to; made if it is not there yet. Takes the token of `hf auth login` or $HF_TOKEN. With
            resume, an adapter that is finished already is uploaded. null uploads nothing.
        hub_private: Whether a model that push_to_hub makes is private.
    """

    output: str
    base: str = "minilm"
    revision: str | None = None
    data: Literal["touche23", "sample"] = "touche23"
    data_dir: str | None = None
    train_size: int | None = None
    per_value: int | None = None
    folds: int | None = None
    fold: int | None = None
    method: MethodName = "full"
    template: TemplateName | None = None
    paraphrase: int | None = None
    lora_rank: int | None = None
    lora_alpha: int | None = None
    lora_dropout: float | None = None
    virtual_tokens: int | None = None
    prompt_hidden_size: int | None = None
    init: str | None = None
    segments: tuple[str, ...] | None = None
    separator: str | None = None
    max_length: int = 256
    heads: HeadsName = "single"
    pooling: Literal["mean", "cls", "last", "attention"] | None = None
    values_per_step: int | None = None
    dropout: float = 0.1
    epochs: int | None = None
    batch_size: int = 32
    learning_rate: float | None = None
    head_learning_rate: float | None = None
    layer_decay: float | None = None
    weight_decay: float = 0.01
    warmup: float = 0.1
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    max_grad_norm: float = 1.0
    loss: LossName = "bce"
    positive_weight: float | None = None
    focal_gamma: float | None = None
    teacher: str | None = None
    teacher_weight: float | None = None
    contrastive: Literal["none", "pretrain", "joint"] = "none"
    contrastive_positives: Literal["labels", "views"] | None = None
    contrastive_epochs: int | None = None
    contrastive_weight: float | None = None
    contrastive_temperature: float | None = None
    contrastive_queue: int | None = None
    thresholds: ThresholdsName = "halfway"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    tokens_at_once: int = 2048
    gradient_checkpointing: bool = False
    compile: bool = False
    seed: int = 0
    log_with: Literal["tensorboard", "wandb"] | None = None
    checkpoint_seconds: float = 60.0
    resume: bool = False
    push_to_hub: str | None = None
    hub_private: bool = False

    def __post_init__(self) -> None:
        check(self)

    def with_defaults(self) -> TrainConfig:
        """The configuration with what was left open filled in, as the manifest keeps it."""
        filled: dict[str, Any] = {}
        if self.teacher is not None and self.teacher_weight is None:
            filled["teacher_weight"] = 0.5
        for choice, rows in BY_CHOICE.items():
            for name, value in rows[getattr(self, choice)].items():
                if getattr(self, name) is None:
                    filled[name] = value
        if self.template is not None:
            filled = {name: filled[name] for name in filled if name not in OF_A_HEAD}
            filled["paraphrase"] = self.paraphrase or 1
        return replace(self, **filled)

    @property
    def out_of_fold(self) -> bool:
        """Whether nothing is left out, and teachers answer for the folds that they left out."""
        return self.folds is not None and self.fold is None and self.teacher is not None

    @property
    def chosen_on(self) -> str:
        """What the manifest calls the arguments that epochs and thresholds are chosen on."""
        return "validation" if self.folds is None else "fold"

    @property
    def head(self) -> Head:
        """The head, as the manifest keeps it; a pooling left open is that of an encoder."""
        return Head(kind=KINDS[self.heads], pooling=self.pooling or "mean")

    @property
    def input_format(self) -> InputFormat:
        """How arguments become text, as the manifest keeps it."""
        segments = self.segments
        if segments is None:
            segments = BY_CHOICE["heads"][self.heads]["segments"]
        return InputFormat(tuple(segments), self.max_length, self.separator)

    def recipe(self) -> dict[str, Any]:
        """The options that the result depends on, as JSON values."""
        free: tuple[str, ...] = (
            "output", "data_dir", "resume", "checkpoint_seconds", "push_to_hub", "hub_private",
            "gradient_checkpointing", "log_with",
        )  # fmt: skip
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["segments"] = None if self.segments is None else list(self.segments)
        free += ("template", "paraphrase") if self.template is None else OF_A_HEAD
        free += ("loss",) if self.template in GENERATED else ()
        return {name: value for name, value in values.items() if name not in free}
