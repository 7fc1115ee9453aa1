"""What a run trains, and how: model, inputs, loss and evaluation, put together by its options.

What a method trains is in a file of its own: `valueeval.train.methods.full`,
`valueeval.train.methods.head`, ….
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from accelerate.utils import set_seed
from torch import nn
from transformers import PreTrainedTokenizerBase

from valueeval.adapters.classifier.backbones import check_max_length, load_backbone, pad_token
from valueeval.adapters.classifier.classifier import Encoded, ValueClassifier, encode
from valueeval.adapters.directory.base import Base
from valueeval.adapters.directory.input_format import InputFormat
from valueeval.tasks.data.dataset import DataSet
from valueeval.train.config.base_defaults import form_of, head_of
from valueeval.train.config.choices import GENERATED
from valueeval.train.config.config import TrainConfig
from valueeval.train.data.inputs import Inputs, Split, Tokens
from valueeval.train.loop.evaluation import Evaluate, EvaluateLogits, OutOfFold
from valueeval.train.methods import full, head, lora, p_tuning, prefix_tuning, prompt_tuning
from valueeval.train.methods.head import compute_features
from valueeval.train.objectives.contrastive import ContrastiveLoss, JointLoss, WithFeatures
from valueeval.train.objectives.cross_encoder import AllValues, EachValue, SampledLoss
from valueeval.train.objectives.losses import DistillationLoss, build_loss
from valueeval.train.runtime.dropout import use_fast_dropout
from valueeval.train.runtime.memory import keep_layer_inputs_only
from valueeval.train.runtime.padding_check import check_reading
from valueeval.train.runtime.processes import Processes
from valueeval.train.runtime.progress import note

# What each method does to the pretrained model before a head is put on it.
METHODS: dict[str, Callable[[nn.Module, TrainConfig, Base], nn.Module]] = {
    "full": full.prepare,
    "head": head.prepare,
    "lora": lora.prepare,
    "prompt-tuning": prompt_tuning.prepare,
    "p-tuning": p_tuning.prepare,
    "prefix-tuning": prefix_tuning.prepare,
    "prompt+full": full.prepare,
}


@dataclass(frozen=True)
class Given:
    """What a run starts from.

    Attributes:
        config: Its options, those left open filled in.
        base: The base model.
        tokenizer: Its tokenizer.
        training: What is trained on.
        validation: What epochs and thresholds are chosen on.
        taught: What a teacher says of the training arguments, logits (arguments, 20); or None.
        processes: Those of the run.
    """

    config: TrainConfig
    base: Base
    tokenizer: PreTrainedTokenizerBase
    training: DataSet
    validation: DataSet
    taught: npt.NDArray[np.float32] | None
    processes: Processes


@dataclass(frozen=True)
class Trainable:
    """What a run trains, and how.

    Attributes:
        model: All of it, frozen or not.
        network: The part of it that is pretrained (with PEFT's wrapper, if it has one).
        trained: What is run in every step.
        training: What it learns from.
        loss: Of what it gives, and labels.
        evaluate: How good it is on validation.
    """

    model: nn.Module
    network: nn.Module
    trained: nn.Module
    training: Split
    loss: nn.Module
    evaluate: Evaluate


def build(given: Given) -> Trainable:
    """What the run trains: a classifier with a head, or a language model that answers a template.

    Raises:
        ValueEvalError: The base model cannot be trained in this way, with the reason.
    """
    return build_classifier(given) if given.config.template is None else build_verbaliser(given)


def build_classifier(given: Given) -> Trainable:
    """A classifier with a head."""
    config, tokenizer, taught = given.config, given.tokenizer, given.taught
    training, processes = given.training, given.processes
    model = build_model(config, given.base, tokenizer)
    sets = (training,) if config.out_of_fold else (training, given.validation)
    trained, splits = inputs_of(model, config, tokenizer, sets, processes.device)
    loss = answer_loss(config, training, taught)
    if config.values_per_step is not None:
        loss = SampledLoss(loss, config.values_per_step)
    if config.contrastive == "joint":
        trained, loss = with_contrast(model, loss, config)
    evaluate: Evaluate
    if config.out_of_fold and taught is not None:
        evaluate = OutOfFold(training.labels, taught, config.thresholds)
    else:
        evaluate = EvaluateLogits(splits[1], config.thresholds, processes, config.chosen_on)
    learnt = replace(splits[0], teacher=taught)
    return Trainable(model, model.backbone, trained, learnt, loss, evaluate)


def build_verbaliser(given: Given) -> Trainable:
    """A language model that answers a template."""
    from valueeval.train.templates.language_model import (
        EvaluateAnswers,
        build_language_model,
        harness_model,
        questions_of,
    )
    from valueeval.train.templates.questions import load_task
    from valueeval.train.templates.verbaliser import MeanLoss, Verbaliser

    config, training, processes = given.config, given.training, given.processes
    template = str(config.template)
    split = "sample_validation" if config.data == "sample" else "validation"
    task = load_task(template, config.paraphrase or 1, split, config.data_dir)
    network = build_language_model(config, given.base, METHODS[config.method], processes.device)
    lm = harness_model(network, given.tokenizer)
    inputs = questions_of(lm, task, training, config)
    learnt = Split(inputs, training.labels, given.taught)
    loss = MeanLoss() if template in GENERATED else answer_loss(config, training, given.taught)
    evaluate = EvaluateAnswers(
        lm, task, given.validation, config.thresholds, processes, config.chosen_on
    )
    model = Verbaliser(network, template)
    return Trainable(model, network, model, learnt, loss, evaluate)


def answer_loss(
    config: TrainConfig, training: DataSet, taught: npt.NDArray[np.float32] | None
) -> nn.Module:
    """The loss of logits (batch, 20), against labels and (if there is one) a teacher."""
    loss = build_loss(config, training.labels)
    return loss if taught is None else DistillationLoss(loss, config.teacher_weight or 0.0)


def build_model(
    config: TrainConfig, base: Base, tokenizer: PreTrainedTokenizerBase
) -> ValueClassifier:
    """The base, prepared for the method, with a new head; what is random depends on the seed."""
    backbone = load_backbone(base.path)
    check_max_length(backbone, tokenizer, config.max_length, config.virtual_tokens or 0)
    head = head_of(config, backbone)
    set_seed(config.seed)
    backbone = METHODS[config.method](backbone, config, base)
    check_reading(backbone, pad_token(tokenizer))
    model = ValueClassifier(backbone, head.pooling, config.dropout, head.kind)
    if config.gradient_checkpointing:
        keep_layer_inputs_only(backbone)
    if not config.compile:  # whatever is compiled has a fast one of its own
        use_fast_dropout(model)
    return model


def inputs_of(
    model: ValueClassifier,
    config: TrainConfig,
    tokenizer: PreTrainedTokenizerBase,
    data: Sequence[DataSet],
    device: torch.device,
) -> tuple[nn.Module, list[Split]]:
    """What is run in every step, and each data set as it takes it.

    That is the model and tokens; or, if the model is frozen, its head and features. A cross-encoder
    is given 20 inputs an argument, in training maybe some of them (the first data set).
    """
    form = form_of(config, model.backbone)
    tokens = [tokenize(part, tokenizer, form) for part in data]
    padding = pad_token(tokenizer)
    trained: nn.Module = model
    inputs: list[Inputs] = [Tokens(part, padding) for part in tokens]
    if config.method == "head":
        trained = model.head
        inputs = [compute_features(model, part, padding, device) for part in tokens]
    if config.heads == "cross-encoder":
        trained = AllValues(trained)
        read = [config.values_per_step] + [None] * (len(inputs) - 1)
        inputs = [EachValue(part, number) for part, number in zip(inputs, read, strict=True)]
    return trained, [Split(part, of.labels) for part, of in zip(inputs, data, strict=True)]


def with_contrast(
    model: ValueClassifier, loss: nn.Module, config: TrainConfig
) -> tuple[nn.Module, nn.Module]:
    """Model and loss of a run with contrastive learning beside the classifier's loss."""
    memory = WithFeatures(model, config.contrastive_queue or 0)
    contrast = ContrastiveLoss(memory, config.contrastive_temperature or 0.0)
    return memory, JointLoss(loss, contrast, config.contrastive_weight or 0.0)


def tokenize(data: DataSet, tokenizer: PreTrainedTokenizerBase, form: InputFormat) -> Encoded:
    """The arguments of a set as tokens; says how many of them were too long."""
    encoded = encode(tokenizer, data.arguments, form)
    if encoded.truncated:
        note(
            f"{data.name}: {encoded.truncated} of {len(data.arguments)} arguments are longer than "
            f"{form.max_length} tokens and were cut"
        )
    return encoded
