"""The configuration of a training run.

Its parts are choices with options of their own (`valueeval.train.config.choice`); the command line
that fills it is in `valueeval.train.options`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from valueeval.adapters.directory.hub import hub_id
from valueeval.tasks.data.folds import CV_FOLDS
from valueeval.tasks.display import did_you_mean
from valueeval.train.config.choice import (
    ONE_OR_MORE,
    ZERO_OR_MORE,
    ConfigError,
    Contrastive,
    Loss,
    Method,
    Range,
    check_ranges,
    flag_of,
    option,
)
from valueeval.train.config.model import ClassifierOptions, Template
from valueeval.train.config.optimisation import Distillation, Optimisation

TrackerName = Literal[
    "tensorboard", "wandb", "trackio", "mlflow", "aim", "clearml", "comet_ml", "dvclive", "swanlab"
]
ThresholdsName = Literal["half", "global", "per-value", "shrunk"]


DATA_SETS = ("touche23", "sample")
TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".xlsx", ".parquet", ".jsonl")
DEFAULT_CHOICES = {"method": "full", "heads": "single", "loss": "bce", "contrastive": "none"}
"""The default choices."""


@dataclass(frozen=True)
class TrainConfig:
    """The configuration of a training run.

    Exactly one of `classifier` and `template` is given.
    """

    method: Method
    loss: Loss
    optimisation: Optimisation
    output: str = option(
        ...,
        "Adapter directory to write. While training goes on, its checkpoints and metrics.jsonl "
        "are in OUTPUT.training beside it. Required.",
        group="model",
        basic=True,
    )
    classifier: ClassifierOptions | None = None
    template: Template | None = None
    distillation: Distillation | None = None
    base: str = option(
        "minilm",
        "Base model: minilm (all-MiniLM-L6-v2 from the package's extra `offline`), a hub id, or a "
        "folder. An encoder (BERT, RoBERTa, DeBERTa, ModernBERT …), a decoder (GPT-2, Llama, Qwen "
        "…), or one of the T5 family, of which a head takes the encoder alone. Source: "
        "sentence-transformers/all-MiniLM-L6-v2; its choice: ours, as the package can ship it.",
        group="model",
        basic=True,
    )
    revision: str | None = option(
        None,
        "Branch, tag or commit of a base model on the hub; null is its main branch.",
        group="model",
    )
    trainable_parameters: int | None = option(
        None,
        "Number of parameters to train, a head apart: lora_rank or virtual_tokens is then the one "
        "that comes nearest, whatever is given for it, so that methods can be compared at equal "
        "cost. null takes these as they are. Source: our choice.",
        within=ONE_OR_MORE,
        group="method",
    )
    data: str = option(
        "touche23",
        "touche23 (Touché23-ValueEval), sample (the package's small set), or a labelled table; "
        "several joined by +. A table (.csv, .tsv, .xlsx, .parquet, .jsonl) has columns for "
        "premise, conclusion and stance, or for texts, and one for each value by name or slug, "
        "with 1 or 0; it is split by a column `split` (training, validation), else a fifth of its "
        "conclusions is for validation. Source: Mirzakhmedova et al., 2024; sample: our own.",
        group="data",
        basic=True,
    )
    data_dir: str | None = option(
        None,
        "Folder of the official files; null looks in $VALUEEVAL_DATA, then in what `valueeval "
        "data fetch` has fetched.",
        group="data",
        basic=True,
    )
    train_size: int | None = option(
        None,
        "Number of training arguments, drawn at random by the seed; a larger number contains "
        "those of a smaller one. null is all of them. Source: our choice.",
        within=ONE_OR_MORE,
        group="data",
        basic=True,
    )
    shots_per_value: int | None = option(
        None,
        "At least this number of positives of each value, drawn at random by the seed; smaller "
        "subsets are nested in larger ones. null is all arguments. Source: our choice.",
        within=ONE_OR_MORE,
        group="data",
    )
    validation_size: int | None = option(
        None,
        "Number of validation arguments, at most, that epochs and thresholds are chosen on: whole "
        "conclusions, the same for every seed. Less time where each of them takes long, and "
        "noisier choices. null is all of them. Source: our choice.",
        within=ONE_OR_MORE,
        group="data",
    )
    protocol: Literal["main", "cv"] = option(
        "main",
        "main trains on training and chooses epoch and thresholds on validation. cv is for "
        "cross-validation over all labelled arguments, the test set among them: of their five "
        "folds by conclusion, --fold K is predicted, (K + 1) mod 5 is chosen on, the other three "
        "are trained on. Such an adapter is evaluated on tasks valueeval_…_cv alone: it has seen "
        "test labels. Source: our choice.",
        group="data",
    )
    folds: int | None = option(
        None,
        "Number of folds for cross-validation: training and validation are cut together into "
        "folds by conclusion, the same for every seed; one is left out of training, and epochs "
        "and thresholds are chosen on it. Adapters of all folds are averaged by adapter=A+B+C. "
        "null trains on training and chooses on validation. Source: Krogh and Vedelsby, 1995.",
        within=Range("2 or more", 2),
        group="data",
    )
    fold: int | None = option(
        None,
        "The fold that is left out, from 0. null leaves out none, with the adapters of all folds "
        "as --teacher: each argument is taught by those that have not seen it, thresholds are "
        "tuned on their answers (cross-validation), and the last epoch is kept. Source: Wolpert, "
        "1992, for such answers. With --protocol cv the fold to predict, 0 to 4.",
        within=ZERO_OR_MORE,
        group="data",
    )
    thresholds: ThresholdsName = option(  # noqa: RUF009 (a dataclass field)
        "shrunk",
        "half (0.5 for every value), or tuned on validation for macro_f1: global (one for all "
        "values), per-value (the best of each value), shrunk (between these two, as logits). "
        "Source: our choice by halves of validation (see train/loop/thresholds.py). Answers of "
        "templates mbc, oa and cot are text, which no threshold touches.",
        group="objective",
    )
    precision: Literal["auto", "float32", "bfloat16"] = option(
        "auto",
        "Precision of the forward pass in training: float32; bfloat16, which is faster where the "
        "processor multiplies it (CPUs with AMX or AVX-512 BF16, newer GPUs); auto takes bfloat16 "
        "just there. Weights and evaluation are float32. Source: Micikevicius et al., 2018; "
        "Kalamkar et al., 2019.",
        group="run",
    )
    max_tokens_per_microbatch: int = option(
        2048,
        "Tokens, padding included (of a cross-encoder, without), that a process reads before it "
        "computes their gradient: a step is read in as many parts as that takes, and their "
        "gradients are added up. So memory depends on this, not on batch_size; a GPU with memory "
        "to spare is faster with more. Source: our choice.",
        within=ONE_OR_MORE,
        group="run",
    )
    gradient_checkpointing: bool = option(
        False,
        "Keep no more than the input of each layer for the gradient, and compute the rest again: "
        "less memory, a forward pass more, the same result (not for head, prefix-tuning and with "
        "a template). Source: Chen et al., 2016.",
        group="run",
    )
    compile: bool = option(
        False,
        "Compile the model with torch.compile before the first step; evaluation is not compiled "
        "(not with a template). It takes a compiler (on CPUs one of C++) and some minutes; the "
        "same seed then gives the same adapter but for rounding. Source: Ansel et al., 2024 "
        "(PyTorch 2).",
        group="run",
    )
    cuda_graphs: bool = option(
        False,
        "On a GPU, record the kernels of a step once for each length of inputs and launch them "
        "together from then on, as Python launches those of a small model more slowly than the "
        "GPU runs them; the same result but for rounding. What it gains has not been measured "
        "yet. Source: Nguyen et al., 2021 (PyTorch).",
        group="run",
    )
    seed: int = option(
        0,
        "Seed of everything random: head, dropout, order. The same seed gives the same adapter on "
        "the same machine with the same number of processes. Source: our choice.",
        within=Range("0 to 4294967295", 0, 2**32 - 1),
        group="run",
        basic=True,
    )
    log_with: TrackerName | None = option(  # noqa: RUF009 (a dataclass field)
        None,
        "Log loss and validation scores to a tracker that accelerate knows, which must be "
        "installed: tensorboard and wandb (Weights & Biases) in OUTPUT.logs, the others where "
        "they always write. Each reads its own settings, such as WANDB_PROJECT and WANDB_MODE or "
        "MLFLOW_TRACKING_URI. null logs nothing there; metrics.jsonl is written in any case.",
        group="run",
    )
    checkpoint_seconds: float = option(
        60.0,
        "Seconds between checkpoints, or longer, so that no more than a twentieth of the time is "
        "spent on writing them; each epoch ends with one as well, on a GPU within that twentieth. "
        "0 is one a step. Source: our choice.",
        within=Range("0 or more", 0),
        group="run",
    )
    name: str | None = option(
        None,
        "Name to show on leaderboards. null lets them make one of what tells the run from others. "
        "Source: our choice.",
        group="run",
    )
    resume: bool = option(
        False,
        "Continue an interrupted run of the same configuration; without one, start a run, so that "
        "a job that is queued again can use the same command. max_tokens_per_microbatch may "
        "have changed, as after too little memory: steps stay the same but for rounding and the "
        "noise of dropout.",
        group="run",
        basic=True,
    )
    push_to_hub: str | None = option(
        None,
        "Model on the Hugging Face hub, org/name, to upload the finished adapter to; created if "
        "it does not exist. Takes the token of `hf auth login` or $HF_TOKEN. With resume, a "
        "finished adapter is uploaded. null uploads nothing.",
        group="run",
        basic=True,
    )
    hub_private: bool = option(
        False,
        "Make a model that push_to_hub creates private.",
        group="run",
    )

    # Options that the result does not depend on.
    _FREE: ClassVar = (
        "output", "data_dir", "resume", "checkpoint_seconds", "push_to_hub", "hub_private",
        "gradient_checkpointing", "cuda_graphs", "log_with",
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_ranges(self)
        self._check_names()
        self._check_data()
        self._check_method()
        self._check_teacher()
        self._check_text_answers()
        self._check_memory()
        self._check_cuda_graphs()

    @property
    def data_parts(self) -> tuple[str, ...]:
        """Return the data sets that are joined: names, and paths of tables."""
        return (self.data,) if Path(self.data).is_file() else tuple(self.data.split("+"))

    @property
    def data_name(self) -> str:
        """Return the name of the data for manifests, without folders of this machine."""
        return "+".join(Path(part).name for part in self.data_parts)

    @property
    def out_of_fold(self) -> bool:
        """Return True if no fold is left out and teachers answer for the folds left out of them."""
        return self.folds is not None and self.fold is None and self.distillation is not None

    @property
    def chosen_on(self) -> str:
        """Return the manifest's name for the arguments that epochs and thresholds are chosen on."""
        if self.protocol == "cv":
            return "inner_fold"
        return "validation" if self.folds is None else "fold"

    @property
    def contrastive(self) -> Contrastive | None:
        """Return the contrastive stage of a classifier, or None."""
        return None if self.classifier is None else self.classifier.contrastive

    def recipe(self) -> dict[str, Any]:
        """Return the options that the result depends on, as JSON values; those left open not."""
        values = {name: value for name, value in self.options().items() if name not in self._FREE}
        values["data"] = self.data_name
        if self.template is not None and self.template.generated:
            del values["loss"]
        if self.trainable_parameters is not None:  # the size is found when the base is loaded
            for item in fields(self.method):
                if item.name == self.method.sized_by:
                    del values[flag_of(item)]
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value is not None
        }

    def options(self) -> dict[str, Any]:
        """Return all options by their names on the command line, chosen options included."""
        values = _plain_options(self)
        # Left open where it is main, so that earlier runs are the same as theirs now.
        values["protocol"] = None if self.protocol == "main" else self.protocol
        values |= {"method": self.method.name, **self.method.options()}
        values |= {"loss": self.loss.name, **self.loss.options()}
        rates = _plain_options(self.optimisation)
        if self.classifier is None:
            del rates["head_learning_rate"]
        values |= rates
        if self.template is not None:
            values |= {"template": self.template.name, "paraphrase": self.template.paraphrase}
            # Left open where it is not asked for, so that earlier runs are the same as theirs now.
            values |= {"chat_template": self.template.chat_template or None}
        if self.classifier is not None:
            values |= {**_plain_options(self.classifier), **_chosen(self.classifier)}
        if self.distillation is not None:
            values |= _plain_options(self.distillation)
        return values

    def non_defaults(self) -> dict[str, Any]:
        """Return the options that are not at their defaults: those to ask for this run with."""
        plain = {
            **DEFAULT_CHOICES,
            **_plain_options(Optimisation.of(self.method)),
            "paraphrase": 1, "chat_template": None, "teacher_weight": 0.5,
            **{item.name: item.default for item in fields(ClassifierOptions) if item.metadata},
            **{item.name: item.default for item in fields(TrainConfig) if item.metadata},
            "protocol": None,
        }  # fmt: skip
        plain |= {name: item.default for name, item in _own_fields(self).items()}
        if self.classifier is not None:
            plain |= {"pooling": self.classifier.heads.pooling}
            plain |= {"segments": self.classifier.heads.segments}
        return {
            name: value
            for name, value in self.options().items()
            if name not in plain or plain[name] != value
        }

    def _check_names(self) -> None:
        if Path(self.output.strip()).name in ("", ".."):
            raise ConfigError(
                f"output: {self.output!r}; allowed: the name of a directory that is not there yet"
            )
        if not self.base.strip():
            raise ConfigError(f"base: {self.base!r}; allowed: minilm, a folder or a hub id")
        if self.push_to_hub is not None:
            if (found := hub_id(self.push_to_hub)) is None or found.revision:
                raise ConfigError(
                    f"push_to_hub: {self.push_to_hub!r}; allowed: a name on the hub as org/name"
                )
        elif self.hub_private:
            raise ConfigError("hub_private: true has no meaning without --push_to_hub org/name")

    def _check_data(self) -> None:
        for part in self.data_parts:
            if part not in DATA_SETS and Path(part).suffix.casefold() not in TABLE_ENDINGS:
                raise ConfigError(
                    f"data: {part!r}; allowed: {', '.join(DATA_SETS)}, or a labelled table "
                    f"({', '.join(TABLE_ENDINGS)}); several joined by +"
                    f"{did_you_mean(part, DATA_SETS)}"
                )
        if len(self.data_parts) != len(set(self.data_parts)):
            raise ConfigError(f"data: {self.data!r} names a data set twice")
        if "sample" in self.data_parts and len(self.data_parts) > 1:
            raise ConfigError(
                f"data: {self.data!r}; sample is for demonstrations and is not joined with others"
            )
        if self.data == "sample" and self.data_dir is not None:
            raise ConfigError(
                f"data_dir: {self.data_dir!r} has no meaning with --data sample, which ships with "
                "the package: leave one of them out"
            )
        if self.train_size is not None and self.shots_per_value is not None:
            raise ConfigError("train_size and shots_per_value: choose one of them")
        if self.protocol == "cv":
            self._check_cv()
            return
        if self.folds is not None and self.validation_size is not None:
            raise ConfigError(
                f"validation_size: {self.validation_size} has no meaning with --folds, where "
                "epochs and thresholds are chosen on a fold: leave one of them out"
            )
        if self.folds is None and self.fold is not None:
            raise ConfigError(
                f"fold: {self.fold} has no meaning without --folds or --protocol cv: of how many?"
            )
        if self.folds is None or self.out_of_fold:
            return
        if self.fold is None or self.fold >= self.folds:
            raise ConfigError(
                f"fold: {self.fold}; allowed with --folds {self.folds}: 0 to {self.folds - 1} "
                "(the fold that is left out), or none with the adapters of all folds as --teacher"
            )

    def _check_cv(self) -> None:
        if self.data != "touche23":
            raise ConfigError(
                f"protocol: 'cv' has no meaning with --data {self.data}: its folds are those of "
                "touche23"
            )
        if self.folds is not None:
            raise ConfigError(
                f"folds: {self.folds} has no meaning with --protocol cv, which has {CV_FOLDS}: "
                "leave it out"
            )
        if self.fold is None or self.fold >= CV_FOLDS:
            raise ConfigError(
                f"fold: {self.fold}; allowed with --protocol cv: 0 to {CV_FOLDS - 1} (the fold to "
                "predict)"
            )

    def _check_method(self) -> None:
        """A head and a template exclude one another."""
        method = self.method.name
        if self.template is None:
            if not self.method.heads:
                raise ConfigError(
                    f"method: {method!r} needs a --template (cls, mbc, bca, oa or cot); "
                    "a classifier head with all weights trained is --method full"
                )
        elif not self.method.templates:
            instead = "prompt+full" if self.method.whole else "prompt-tuning or lora"
            raise ConfigError(
                f"method: {method!r} trains a classifier head, which a --template has not: "
                f"take --method {instead}"
            )
        if self.trainable_parameters is not None and self.method.sized_by is None:
            raise ConfigError(
                f"trainable_parameters: --method {method} has no size to choose; allowed with "
                "lora, prompt-tuning, p-tuning and prefix-tuning"
            )
        classifier = self.classifier
        if not self.method.frozen or classifier is None:
            return
        if classifier.contrastive is not None:
            raise ConfigError(
                f"contrastive: {classifier.contrastive.name!r} has no meaning with --method "
                f"{method}, whose features do not change: leave it out, or take --method full or "
                "lora"
            )
        if classifier.heads.name == "cross-encoder" and classifier.pooling == "attention":
            raise ConfigError(
                f"pooling: 'attention' with --heads cross-encoder and --method {method} would keep "
                "all hidden states of 20 inputs an argument in memory: take mean, or --method lora"
            )
        if classifier.heads.values_at_once is not None:
            raise ConfigError(
                f"values_per_step: {classifier.heads.values_at_once} saves nothing with --method "
                f"{method}, whose features are computed once: leave it out"
            )

    def _check_teacher(self) -> None:
        if self.distillation is None:
            return
        if self.out_of_fold and self.template is not None:
            raise ConfigError(
                f"fold: none is left out, and with --template {self.template.name} nothing could "
                "be tuned: its answers are no logits of the teachers; take --fold 0 to "
                f"{(self.folds or 0) - 1}"
            )
        for name in ("train_size", "shots_per_value"):
            if self.out_of_fold and getattr(self, name) is not None:
                raise ConfigError(
                    f"{name}: {getattr(self, name)} does not go with a --teacher of all folds, "
                    "which has seen the others: leave it out, or name a --fold"
                )
        if self.template is not None and self.template.generated:
            raise ConfigError(
                f"teacher: has no meaning with --template {self.template.name}, whose answers are "
                "text: leave it out, or take --template bca or cls"
            )
        if self.loss.name != "bce":
            raise ConfigError(
                f"teacher: has no meaning with --loss {self.loss.name}, beside which its weight "
                "would not say how much it counts: leave it out, or take --loss bce"
            )

    def _check_text_answers(self) -> None:
        """Refuse what shapes logits where answers are text."""
        if self.template is None or not self.template.generated:
            return
        shown = {"loss": self.loss.name, "thresholds": self.thresholds, **self.loss.options()}
        plain = {"loss": "bce", "thresholds": "shrunk", "pos_weight_power": 0.5}
        if self.template.name == "oa":  # whose answers are about one value each
            del shown["pos_weight_power"]
        for name, value in shown.items():
            if name in plain and value != plain[name]:
                instead = "oa, bca or cls" if name == "pos_weight_power" else "bca or cls"
                raise ConfigError(
                    f"{name}: {value!r} has no meaning with --template {self.template.name}, whose "
                    f"answers are text: leave it out, or take --template {instead}"
                )

    def _check_memory(self) -> None:
        if self.compile and self.template is not None:
            raise ConfigError(
                f"compile: does not go with --template {self.template.name}, whose prompts are put "
                "together anew for every step: it would compile without end; leave it out"
            )
        if not self.gradient_checkpointing:
            return
        choice, reason = f"--method {self.method.name}", self.method.why_no_checkpointing
        if not reason and self.template is not None:
            choice = f"--template {self.template.name}"
            reason = "reads once what prompts share and keeps it"
        if reason:
            raise ConfigError(
                f"gradient_checkpointing: does not go with {choice}, which {reason}: leave it out "
                "(a lower --max_tokens_per_microbatch saves memory as well)"
            )

    def _check_cuda_graphs(self) -> None:
        """Refuse what gives steps of many shapes, or of more than one forward and backward pass."""
        if not self.cuda_graphs:
            return
        classifier = self.classifier
        refused = {
            f"--method {self.method.name}": self.method.frozen,
            "a --template": classifier is None,
            "--heads cross-encoder": classifier and classifier.heads.name == "cross-encoder",
            "--contrastive": classifier and classifier.contrastive is not None,
            "--compile": self.compile,
            "--gradient_checkpointing": self.gradient_checkpointing,
        }
        for choice, found in refused.items():
            if found:
                raise ConfigError(f"cuda_graphs: does not go with {choice}: leave it out")


def _plain_options(part: Any) -> dict[str, Any]:
    """Return a part's own options by their names on the command line."""
    return {
        item.metadata["flag"] or item.name: getattr(part, item.name)
        for item in fields(part)
        if item.metadata
    }


def _chosen(classifier: ClassifierOptions) -> dict[str, Any]:
    heads, stage = classifier.heads, classifier.contrastive
    return {
        "heads": heads.name,
        **heads.options(),
        "contrastive": "none" if stage is None else stage.name,
        **({} if stage is None else stage.options()),
    }


def _own_fields(config: TrainConfig) -> dict[str, Any]:
    """Return the fields of the chosen method, loss, heads and stage, by their flags."""
    parts: list[Any] = [config.method, config.loss]
    if config.classifier is not None:
        parts += [config.classifier.heads, config.classifier.contrastive]
    return {
        item.metadata["flag"] or item.name: item
        for part in parts
        if part is not None
        for item in fields(part)
    }
