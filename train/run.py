"""A training run from the data to the adapter directory, the same for every method.

What a method trains is in a file of its own: `valueeval.train.full`, `valueeval.train.head`, ….
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from accelerate.utils import set_seed
from peft import PeftModel
from torch import nn
from transformers import PreTrainedTokenizerBase

from valueeval.adapters.backbones import (
    check_max_length,
    load_backbone,
    load_tokenizer,
    pad_token,
    quiet_transformers,
)
from valueeval.adapters.base import MINILM, MINILM_HUB_ID, Base, fetch_base
from valueeval.adapters.classifier import Encoded, ValueClassifier, encode
from valueeval.adapters.manifest import (
    InputFormat,
    Manifest,
    write_manifest,
)
from valueeval.adapters.members import Members
from valueeval.adapters.peft_encoder import save_peft
from valueeval.tasks.data import DataSet, load_set
from valueeval.train import full, head, lora, p_tuning, prefix_tuning, prompt_tuning
from valueeval.train.base_defaults import form_of, head_of
from valueeval.train.checkpoint import newest_step
from valueeval.train.choices import GENERATED
from valueeval.train.compiling import check_compiler
from valueeval.train.config import TrainConfig
from valueeval.train.contrastive import ContrastiveLoss, JointLoss, WithFeatures
from valueeval.train.cross_encoder import AllValues, EachValue, SampledLoss
from valueeval.train.describe import describe, describe_data, findable_name
from valueeval.train.distillation import check_teacher, find_teacher, teacher_logits
from valueeval.train.dropout import use_fast_dropout
from valueeval.train.evaluation import Evaluate, EvaluateLogits, OutOfFold
from valueeval.train.folds import joined, split_by_fold
from valueeval.train.head import compute_features
from valueeval.train.inputs import Inputs, Split, Tokens
from valueeval.train.loop import METRICS_FILE, Training
from valueeval.train.losses import DistillationLoss, build_loss
from valueeval.train.memory import enough_memory, keep_layer_inputs_only
from valueeval.train.model_card import write_card
from valueeval.train.optimizer import parameter_groups
from valueeval.train.output import finished_adapter, is_finished, new_adapter, run_folder
from valueeval.train.precision import with_known_precision
from valueeval.train.pretraining import Pretraining
from valueeval.train.probe import check_reading
from valueeval.train.processes import Processes
from valueeval.train.progress import note
from valueeval.train.push import check_push, push
from valueeval.train.subsets import training_subset
from valueeval.train.tracking import check_tracker, tracking

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


def train(config: TrainConfig) -> Manifest:
    """Trains, writes the adapter directory, pushes it if asked to, and returns its manifest.

    Raises:
        ValueEvalError: Data, base model or output directory cannot be used, or training diverged;
            or the adapter, which is then in its directory, could not be pushed.
    """
    processes = Processes()
    processes.from_main(lambda: check_push(config))
    with enough_memory(config):
        manifest = train_adapter(config, processes)
    processes.from_main(lambda: push(config, manifest))
    return manifest


def train_adapter(config: TrainConfig, processes: Processes) -> Manifest:
    """Trains, writes the adapter directory and returns its manifest.

    Raises:
        ValueEvalError: Data, base model or output directory cannot be used, or training diverged.
    """
    started = time.monotonic()
    device, given = processes.device, config.with_defaults()
    config = processes.from_main(lambda: with_known_precision(given, device))
    if processes.number > 1 and config.contrastive != "none":
        raise processes.failure(
            f"contrastive: {config.contrastive!r} compares the arguments of a step with each "
            "other, and several processes would each see a part of them: start one process, or "
            "take --contrastive none"
        )
    output = Path(config.output)
    with processes.together():
        teacher = find_teacher(config)
    recipe = config.recipe()
    if teacher is not None:
        recipe["teacher_sha256"] = teacher.manifest.weights_sha256
    finished = processes.from_main(lambda: is_finished(output, recipe, config.resume))
    with processes.together():
        if not finished:
            check_tracker(config)
            if config.compile:
                check_compiler(processes.device)
        training, validation = load_splits(config)
        if teacher is not None:
            check_teacher(teacher, config, describe_data(config, training, validation))
        base = fetch_base(config.base, config.revision)
    run = {
        "config": recipe,
        "training_sha256": training.sha256,
        "validation_sha256": validation.sha256,
        "base_sha256": base.sha256,
    }
    if finished:
        manifest = processes.from_main(lambda: finished_adapter(output, run))
        note(f"{output} is finished already")
        return manifest
    with run_folder(output, run, config.resume, processes) as folder:
        taught = processes.from_main(lambda: taught_by(teacher, training, folder, config))
        build = build_classifier if config.template is None else build_verbaliser
        with processes.together():
            tokenizer = load_tokenizer(base.path)
            made = build(config, base, tokenizer, training, validation, taught, processes)
        with tracking(config, processes, newest_step(folder)) as log:
            if config.contrastive == "pretrain":
                classifier = cast(ValueClassifier, made.model)
                started -= pretrain(classifier, config, made.training, folder, started, processes)
            fit = Training(
                config=config,
                model=made.trained,
                groups=groups(made.model, config),
                loss=made.loss,
                training=made.training,
                evaluate=made.evaluate,
                folder=folder,
                started=started,
                processes=processes,
                compares=config.contrastive == "joint",
                log=log,
            ).run()

        def write() -> Manifest:
            sets, prediction = (training, validation), fit.evaluation.prediction
            with new_adapter(folder, output) as adapter:
                save(made, config, base, tokenizer, adapter)
                shutil.copyfile(folder / METRICS_FILE, adapter / METRICS_FILE)
                manifest = describe(config, recipe, base, *sets, made.model, fit, adapter)
                write_card(adapter, manifest, base, sets, prediction)
                write_manifest(adapter, manifest)
            return manifest

        return processes.from_main(write)


def taught_by(
    teacher: Members | None, training: DataSet, folder: Path, config: TrainConfig
) -> npt.NDArray[np.float32] | None:
    """What a teacher, if there is one, says of the training arguments: logits, (arguments, 20)."""
    if teacher is None:
        return None
    return teacher_logits(teacher, training, folder, config.folds if config.out_of_fold else None)


def load_splits(config: TrainConfig) -> tuple[DataSet, DataSet]:
    """What is trained on, and what epochs and thresholds are chosen on.

    Out of fold both are the same: the latter is read by teachers, a part by each.
    """
    prefix = "sample_" if config.data == "sample" else ""
    training = load_set(f"{prefix}training", config.data_dir)
    validation = load_set(f"{prefix}validation", config.data_dir)
    if config.folds is not None and config.fold is not None:
        training, validation = split_by_fold(training, validation, config.folds, config.fold)
    elif config.out_of_fold:
        training = validation = joined(training, validation)
    return training_subset(training, config), validation


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


def build_classifier(
    config: TrainConfig,
    base: Base,
    tokenizer: PreTrainedTokenizerBase,
    training: DataSet,
    validation: DataSet,
    taught: npt.NDArray[np.float32] | None,
    processes: Processes,
) -> Trainable:
    """A classifier with a head."""
    model = build_model(config, base, tokenizer)
    sets = (training,) if config.out_of_fold else (training, validation)
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


def build_verbaliser(
    config: TrainConfig,
    base: Base,
    tokenizer: PreTrainedTokenizerBase,
    training: DataSet,
    validation: DataSet,
    taught: npt.NDArray[np.float32] | None,
    processes: Processes,
) -> Trainable:
    """A language model that answers a template."""
    from valueeval.train.language_model import (
        EvaluateAnswers,
        build_language_model,
        harness_model,
        questions_of,
    )
    from valueeval.train.questions import load_task
    from valueeval.train.verbaliser import MeanLoss, Verbaliser

    template = str(config.template)
    split = "sample_validation" if config.data == "sample" else "validation"
    task = load_task(template, config.paraphrase or 1, split, config.data_dir)
    network = build_language_model(config, base, METHODS[config.method], processes.device)
    lm = harness_model(network, tokenizer)
    inputs = questions_of(lm, task, training, config)
    learnt = Split(inputs, training.labels, taught)
    loss = MeanLoss() if template in GENERATED else answer_loss(config, training, taught)
    evaluate = EvaluateAnswers(lm, task, validation, config.thresholds, processes, config.chosen_on)
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


def save(
    made: Trainable,
    config: TrainConfig,
    base: Base,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
) -> None:
    """Writes what was trained: all weights, or PEFT's files; and the head, if there is one."""
    if isinstance(made.model, ValueClassifier):
        made.model.save_head(folder)
    if config.method in ("full", "prompt+full"):
        with quiet_transformers():
            cast(Any, made.network).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    if isinstance(made.network, PeftModel):
        name = findable_name(base)
        # A name that anyone's PEFT understands.
        known = MINILM_HUB_ID if name == MINILM else name
        made.network.peft_config["default"].base_model_name_or_path = known
        save_peft(made.network, folder)


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


def pretrain(
    model: ValueClassifier,
    config: TrainConfig,
    training: Split,
    folder: Path,
    started: float,
    processes: Processes,
) -> float:
    """Brings the model to the end of the contrastive stage, from wherever that stands.

    Returns:
        Seconds of earlier parts of the run that are in no checkpoint of the stage after it.
    """
    memory = WithFeatures(model, config.contrastive_queue or 0)
    stage = Pretraining(config, memory, groups(model, config), training, folder, started, processes)
    stage.all_steps()
    return 0.0 if newest_step(folder) else stage.earlier_seconds


def tokenize(data: DataSet, tokenizer: PreTrainedTokenizerBase, form: InputFormat) -> Encoded:
    """The arguments of a set as tokens; says how many of them were too long."""
    encoded = encode(tokenizer, data.arguments, form)
    if encoded.truncated:
        note(
            f"{data.name}: {encoded.truncated} of {len(data.arguments)} arguments are longer than "
            f"{form.max_length} tokens and were cut"
        )
    return encoded


def groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """The trainable parameters as the optimizer takes them."""
    assert config.learning_rate is not None  # noqa: S101 (for the type checker)
    return parameter_groups(
        model,
        config.learning_rate,
        1.0 if config.layer_decay is None else config.layer_decay,
        config.weight_decay,
        config.head_learning_rate,
    )
