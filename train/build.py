"""Put together what a run trains: model, inputs, loss and evaluation, by its options.

What a method trains is in a file of its own: `valueeval.train.methods.lora.Lora` ….
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from accelerate.utils import set_seed
from torch import nn
from transformers import PreTrainedTokenizerBase

from valueeval.adapters.classifier.backbones import check_max_length, load_backbone, pad_token
from valueeval.adapters.classifier.classifier import ValueClassifier
from valueeval.adapters.classifier.encoding import TokenizedArguments, encode
from valueeval.adapters.directory.base import Base
from valueeval.adapters.directory.input_format import InputFormat
from valueeval.tasks.data.dataset import DataSet
from valueeval.train.config.base_defaults import form_of, head_of
from valueeval.train.config.config import TrainConfig
from valueeval.train.config.model import ClassifierOptions, Template
from valueeval.train.data.features import compute_features
from valueeval.train.data.inputs import Inputs, Split, Tokens, in_both_forms, premises_alone
from valueeval.train.data.run_inputs import RunInputs
from valueeval.train.loop.cuda_graphs import PADDED_TO
from valueeval.train.loop.evaluation import Evaluate, EvaluateLogits, OutOfFold
from valueeval.train.methods.matching import matched
from valueeval.train.objectives.contrastive import ContrastiveLoss, JointLoss, WithFeatures
from valueeval.train.objectives.contrastive_stages import Joint
from valueeval.train.objectives.cross_encoder import AllValues, EachValue, SampledLoss
from valueeval.train.objectives.losses import DistillationLoss
from valueeval.train.runtime.dropout import use_fast_dropout
from valueeval.train.runtime.hardware import keep_layer_inputs_only
from valueeval.train.runtime.padding_check import check_reading
from valueeval.train.runtime.progress import note

# The words of valueeval_cls around an argument: what a soft prompt for a head can start from.
INSTRUCTION = (
    "Arguments appeal to human values: to what people hold to be good and worth striving for. "
    "Which human value does this argument appeal to?"
)


@dataclass(frozen=True)
class Trainable:
    """Model, data, loss and evaluation of a run.

    Attributes:
        model: The whole model, frozen or not.
        network: The pretrained part of it (with PEFT's wrapper, if it has one).
        trained: The module that runs in every step.
        training: The arguments as `trained` takes them.
        loss: The loss of its outputs and the labels.
        evaluate: Scores the model on validation.
        evaluate_alone: Scores it on validation's premises alone, once it is trained; None if it
            learns from whole arguments only, or has no validation.
    """

    model: nn.Module
    network: nn.Module
    trained: nn.Module
    training: Split
    loss: nn.Module
    evaluate: Evaluate
    evaluate_alone: EvaluateLogits | None = None


def build(run: RunInputs) -> Trainable:
    """Build a classifier with a head, or a language model that answers a template.

    Raises:
        ValueEvalError: The base model cannot be trained in this way, with the reason.
    """
    if run.config.template is not None:
        return build_verbaliser(run, run.config.template)
    assert run.config.classifier is not None  # noqa: S101 (for the type checker)
    return build_classifier(run, run.config.classifier)


def build_classifier(run: RunInputs, classifier: ClassifierOptions) -> Trainable:
    """Build a classifier with a head."""
    config, teacher_logits = run.config, run.teacher_logits
    model = build_model(config, classifier, run.base, run.tokenizer)
    share = classifier.text_alone_share
    sets = [run.training if share is None else in_both_forms(run.training)]
    if not config.out_of_fold:
        sets.append(run.validation)
        if share is not None:
            sets.append(premises_alone(run.validation))
    trained, splits = inputs_of(model, run, classifier, sets)
    loss = answer_loss(run)
    if (values := classifier.heads.values_at_once) is not None:
        loss = SampledLoss(loss, values)
    if isinstance(classifier.contrastive, Joint):
        joint = classifier.contrastive
        trained = memory = WithFeatures(model, joint.queue)
        loss = JointLoss(loss, ContrastiveLoss(memory, joint.temperature), joint.weight)
    evaluate: Evaluate
    evaluate_alone = None
    if config.out_of_fold and teacher_logits is not None:
        evaluate = OutOfFold(run.training.labels, teacher_logits, config.thresholds)
    else:
        evaluate = EvaluateLogits(splits[1], config.thresholds, run.processes, config.chosen_on)
        if share is not None:
            evaluate_alone = replace(evaluate, validation=splits[2])
    training = Split(splits[0].inputs, run.training.labels, teacher_logits, share)
    return Trainable(model, model.backbone, trained, training, loss, evaluate, evaluate_alone)


def build_verbaliser(run: RunInputs, template: Template) -> Trainable:
    """Build a language model that answers a template."""
    from valueeval.tasks.harness.questions import load_task, questions
    from valueeval.train.templates.language_model import (
        EvaluateAnswers,
        build_language_model,
        chat_template_of,
        harness_model,
        questions_of,
    )
    from valueeval.train.templates.questions import instruction
    from valueeval.train.templates.verbaliser import MeanLoss, Verbaliser

    config, processes = run.config, run.processes
    # The task gives the words alone; its arguments are not read.
    split = "validation" if "touche23" in config.data_parts else "sample_validation"
    task = load_task(template.name, template.paraphrase, split, config.data_dir)
    words = instruction(template)
    network = build_language_model(config, run.base, words, processes.device)
    lm = harness_model(network, run.tokenizer)
    inputs = questions_of(lm, task, run.training, config)
    training = Split(inputs, run.training.labels, run.teacher_logits)
    loss = MeanLoss() if template.generated else answer_loss(run)
    asked = questions(task, run.validation.arguments, chat_template_of(lm, template))
    evaluate = EvaluateAnswers(
        lm, template.name, asked, run.validation.labels, config.thresholds, processes,
        config.chosen_on,
    )  # fmt: skip
    model = Verbaliser(network, template.name)
    return Trainable(model, network, model, training, loss, evaluate)


def answer_loss(run: RunInputs) -> nn.Module:
    """Return the loss of logits (batch, 20), against labels and (if there is one) a teacher."""
    loss, distillation = run.config.loss.build(run.training.labels), run.config.distillation
    return loss if distillation is None else DistillationLoss(loss, distillation.weight)


def build_model(
    config: TrainConfig,
    classifier: ClassifierOptions,
    base: Base,
    tokenizer: PreTrainedTokenizerBase,
) -> ValueClassifier:
    """Return the base, prepared for the method, with a new head; drawn by the seed."""
    method, backbone = matched(
        config.method, load_backbone(base.path), base, INSTRUCTION, config.trainable_parameters
    )
    check_max_length(backbone, tokenizer, classifier.max_length, method.prompt_length)
    head = head_of(classifier, backbone)
    set_seed(config.seed)
    backbone = method.prepare(backbone, base, INSTRUCTION)
    check_reading(backbone, pad_token(tokenizer))
    model = ValueClassifier(backbone, head.pooling, classifier.dropout, head.kind)
    if config.gradient_checkpointing:
        keep_layer_inputs_only(backbone)
    if not config.compile:  # whatever is compiled has a fast one of its own
        use_fast_dropout(model)
    return model


def inputs_of(
    model: ValueClassifier, run: RunInputs, classifier: ClassifierOptions, data: Sequence[DataSet]
) -> tuple[nn.Module, list[Split]]:
    """Return the module that runs in every step, and each data set as it takes it.

    That is the model and tokens; or, if the model is frozen, its head and features. A cross-encoder
    reads 20 inputs an argument, in training maybe some of them (the first data set).
    """
    form = form_of(classifier, model.backbone)
    tokens = [tokenize(part, run.tokenizer, form) for part in data]
    padding = pad_token(run.tokenizer)
    trained: nn.Module = model
    graphed = run.config.cuda_graphs and run.processes.device.type == "cuda"
    multiple = PADDED_TO if graphed else 1
    inputs: list[Inputs] = [Tokens(part, padding, multiple) for part in tokens]
    if run.config.method.frozen:
        trained = model.head
        device = run.processes.device
        inputs = [compute_features(model, part, padding, device) for part in tokens]
    if classifier.heads.name == "cross-encoder":
        trained = AllValues(trained)
        read = [classifier.heads.values_at_once] + [None] * (len(inputs) - 1)
        inputs = [EachValue(part, number) for part, number in zip(inputs, read, strict=True)]
    return trained, [Split(part, of.labels) for part, of in zip(inputs, data, strict=True)]


def tokenize(
    data: DataSet, tokenizer: PreTrainedTokenizerBase, form: InputFormat
) -> TokenizedArguments:
    """The arguments of a set as tokens; says how many of them were too long."""
    encoded = encode(tokenizer, data.arguments, form)
    if encoded.truncated:
        note(
            f"{data.name}: {encoded.truncated} of {len(data.arguments)} arguments are longer than "
            f"{form.max_length} tokens and were cut"
        )
    return encoded
