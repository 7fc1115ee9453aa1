"""A training run from the data to the adapter directory, the same for every method.

What it trains is put together in `valueeval.train.build`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from peft import PeftModel
from torch import nn
from transformers import PreTrainedTokenizerBase

from valueeval.adapters.classifier.backbones import load_tokenizer, quiet_transformers
from valueeval.adapters.classifier.classifier import ValueClassifier
from valueeval.adapters.classifier.peft_encoder import save_peft
from valueeval.adapters.directory.base import MINILM, MINILM_HUB_ID, Base, fetch_base
from valueeval.adapters.directory.ensemble import Members
from valueeval.adapters.directory.manifest import Manifest
from valueeval.adapters.directory.manifest_file import write_manifest
from valueeval.tasks.data.dataset import DataSet, load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.train.build import Given, Trainable, build
from valueeval.train.config.config import TrainConfig
from valueeval.train.data.folds import joined, split_by_fold
from valueeval.train.data.inputs import Split
from valueeval.train.data.subsets import training_subset
from valueeval.train.loop.optimizer import parameter_groups
from valueeval.train.loop.pretraining import FOLDER as PRETRAINING
from valueeval.train.loop.pretraining import Pretraining
from valueeval.train.loop.tracking import Log, check_tracker, shifted, tracking
from valueeval.train.loop.training import Fit, Training, steps_in
from valueeval.train.objectives.contrastive import WithFeatures
from valueeval.train.objectives.distillation import check_teacher, find_teacher, teacher_logits
from valueeval.train.publish.describe import describe, describe_data, findable_name
from valueeval.train.publish.model_card import write_card
from valueeval.train.publish.push import check_push, push
from valueeval.train.runtime.compiling import check_compiler
from valueeval.train.runtime.memory import enough_memory
from valueeval.train.runtime.processes import Processes, say_what_is_not_used
from valueeval.train.runtime.progress import note
from valueeval.train.storage.checkpoint import newest_step
from valueeval.train.storage.metrics import copy_metrics
from valueeval.train.storage.output import finished_adapter, is_finished, new_adapter, run_folder
from valueeval.train.storage.precision import with_known_precision


def train(config: TrainConfig) -> Manifest:
    """Trains, writes the adapter directory, pushes it if asked to, and returns its manifest.

    Raises:
        ValueEvalError: Data, base model or output directory cannot be used, or training diverged;
            or the adapter, which is then in its directory, could not be pushed.
    """
    processes = Processes()
    say_what_is_not_used()
    processes.from_main(lambda: check_push(config))
    with enough_memory(config):
        manifest = train_adapter(config, processes)
    processes.from_main(lambda: push(config))
    return manifest


def train_adapter(config: TrainConfig, processes: Processes) -> Manifest:
    """Trains, writes the adapter directory and returns its manifest.

    Raises:
        ValueEvalError: Data, base model or output directory cannot be used, or training diverged.
    """
    started = time.monotonic()
    device, output, open_config = processes.device, Path(config.output), config.with_defaults()
    config = processes.from_main(lambda: with_known_precision(open_config, device, output))
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
        with processes.together():
            tokenizer = load_tokenizer(base.path)
            given = Given(config, base, tokenizer, training, validation, taught, processes)
            made = build(given)
        fit = fitted(given, made, folder, started)
        return processes.from_main(lambda: written(given, made, fit, recipe, folder))


def fitted(given: Given, made: Trainable, folder: Path, started: float) -> Fit:
    """Brings what is trained through all stages of a run, from wherever that stands.

    Args:
        given: What the run starts from.
        made: What it trains.
        folder: The run's.
        started: When this part of the run began, as `time.monotonic` told it.

    Raises:
        ValueEvalError: Training diverged, or its checkpoints or log cannot be written.
    """
    config, processes = given.config, given.processes
    with tracking(config, processes, logged_steps(config, made.training, folder)) as log:
        if config.contrastive == "pretrain":
            stage = pretraining(given, made, folder, started, log)
            stage.all_steps()
            log = shifted(log, stage.total_steps)
            # Those of the stage are in no checkpoint of the next one until that has its first.
            started -= 0.0 if newest_step(folder) else stage.earlier_seconds
        return Training(
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


def written(
    given: Given, made: Trainable, fit: Fit, recipe: Mapping[str, Any], folder: Path
) -> Manifest:
    """Puts the adapter directory together, whole, and gives its manifest.

    Args:
        given: What the run has started from.
        made: What it has trained, at its best epoch.
        fit: How that went.
        recipe: The options that the result depends on.
        folder: The run's, which goes away.

    Raises:
        ValueEvalError: It cannot be written.
    """
    config, base, sets = given.config, given.base, (given.training, given.validation)
    with new_adapter(folder, Path(config.output)) as adapter:
        save(made, config, base, given.tokenizer, adapter)
        copy_metrics((folder / PRETRAINING, folder), adapter)
        manifest = describe(config, recipe, base, *sets, made.model, fit, adapter)
        write_card(adapter, manifest, base, sets, fit.evaluation.prediction)
        write_manifest(adapter, manifest)
    return manifest


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
    if not validation.labels.any():
        raise ValueEvalError(
            f"{validation.name}: no argument there has a value, so there is nothing to choose "
            "epoch and thresholds by"
        )
    return training_subset(training, config), validation


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


def pretraining(
    given: Given, made: Trainable, folder: Path, started: float, log: Log
) -> Pretraining:
    """The contrastive stage before the training of the classifier."""
    config = given.config
    classifier = cast(ValueClassifier, made.model)
    memory = WithFeatures(classifier, config.contrastive_queue or 0)
    stage = Pretraining(
        config=config,
        model=memory,
        groups=groups(classifier, config),
        training=made.training,
        folder=folder,
        started=started,
        processes=given.processes,
        log=log,
    )
    if config.contrastive_positives == "views":
        with given.processes.together():
            stage.check_views()
    return stage


def logged_steps(config: TrainConfig, training: Split, folder: Path) -> int:
    """How many steps a run has done, those of a contrastive stage among them."""
    done = newest_step(folder)
    if config.contrastive != "pretrain":
        return done
    if not done:
        return newest_step(folder / PRETRAINING)
    return done + steps_in(training, config.batch_size, config.contrastive_epochs)


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
