"""A training run from the data to the adapter directory, the same for every method.

`valueeval.train.build` puts together what it trains.
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

from valueeval.adapters.classifier.backbones import load_tokenizer, quiet_transformers
from valueeval.adapters.classifier.classifier import ValueClassifier
from valueeval.adapters.classifier.peft_encoder import save_peft
from valueeval.adapters.directory.base import MINILM, MINILM_HUB_ID, fetch_base
from valueeval.adapters.directory.ensemble import Members
from valueeval.adapters.directory.manifest import Manifest
from valueeval.adapters.directory.manifest_file import write_manifest
from valueeval.tasks.data.dataset import DataSet, load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.train.build import RunInputs, Trainable, build
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
from valueeval.train.objectives.contrastive_stages import Joint, Pretrain
from valueeval.train.objectives.distillation import check_teacher, find_teacher, teacher_logits
from valueeval.train.publish.describe import describe, describe_data, findable_name
from valueeval.train.publish.model_card import write_card
from valueeval.train.publish.push import check_push, push
from valueeval.train.runtime.hardware import (
    advise_when_out_of_memory,
    check_compiler,
    resolve_precision,
)
from valueeval.train.runtime.processes import Processes, say_what_is_not_used
from valueeval.train.runtime.progress import note
from valueeval.train.storage.checkpoint import newest_step
from valueeval.train.storage.metrics import copy_metrics
from valueeval.train.storage.output import (
    earlier_recipe,
    finished_adapter,
    is_finished,
    new_adapter,
    run_folder,
)


def train(config: TrainConfig) -> Manifest:
    """Train, write the adapter directory, push it if asked to, and return its manifest.

    Raises:
        ValueEvalError: Data, base model or output directory cannot be used, or training diverged;
            or the adapter, which is then in its directory, could not be pushed.
    """
    processes = Processes()
    say_what_is_not_used()
    processes.from_main(lambda: check_push(config))
    with advise_when_out_of_memory(config):
        manifest = train_adapter(config, processes)
    processes.from_main(lambda: push(config))
    return manifest


def train_adapter(config: TrainConfig, processes: Processes) -> Manifest:
    """Train, write the adapter directory and return its manifest.

    Raises:
        ValueEvalError: Data, base model or output directory cannot be used, or training diverged.
    """
    started = time.monotonic()
    device, output, open_config = processes.device, Path(config.output), config
    earlier = processes.from_main(lambda: earlier_recipe(output) if open_config.resume else {})
    config = resolve_precision(open_config, device, earlier)
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
        # Another process may have ended between the first look and this one's lock.
        if processes.from_main(lambda: is_finished(output, recipe, config.resume)):
            manifest = processes.from_main(lambda: finished_adapter(output, run))
            note(f"{output} is finished already")
            return manifest
        logits = processes.from_main(lambda: read_teacher(teacher, training, folder, config))
        with processes.together():
            tokenizer = load_tokenizer(base.path)
            inputs = RunInputs(config, base, tokenizer, training, validation, logits, processes)
            trainable = build(inputs)
        fit = fit_all_stages(inputs, trainable, folder, started)
        return processes.from_main(lambda: write_adapter(inputs, trainable, fit, recipe, folder))


def fit_all_stages(inputs: RunInputs, trainable: Trainable, folder: Path, started: float) -> Fit:
    """Train through all stages of a run, from wherever it stands.

    Args:
        inputs: Options, base model and data.
        trainable: The model and its loss.
        folder: The run's.
        started: When this part of the run began, as `time.monotonic` told it.

    Raises:
        ValueEvalError: Training diverged, or its checkpoints or log cannot be written.
    """
    config, processes = inputs.config, inputs.processes
    with tracking(config, processes, logged_steps(config, trainable.training, folder)) as log:
        if isinstance(config.contrastive, Pretrain):
            stage = pretraining(inputs, config.contrastive, trainable, folder, started, log)
            stage.all_steps()
            log = shifted(log, stage.total_steps)
            # Those of the stage are in no checkpoint of the next one until that has its first.
            started -= 0.0 if newest_step(folder) else stage.earlier_seconds
        return Training(
            config=config,
            model=trainable.trained,
            groups=groups(trainable.model, config),
            loss=trainable.loss,
            training=trainable.training,
            evaluate=trainable.evaluate,
            folder=folder,
            started=started,
            processes=processes,
            compares=isinstance(config.contrastive, Joint),
            log=log,
        ).run()


def write_adapter(
    inputs: RunInputs, trainable: Trainable, fit: Fit, recipe: Mapping[str, Any], folder: Path
) -> Manifest:
    """Put the adapter directory together, whole, and return its manifest.

    Args:
        inputs: Options, base model and data.
        trainable: The trained model, at its best epoch.
        fit: How that went.
        recipe: The options that the result depends on.
        folder: The run's, which goes away.

    Raises:
        ValueEvalError: It cannot be written.
    """
    config, base, sets = inputs.config, inputs.base, (inputs.training, inputs.validation)
    with new_adapter(folder, Path(config.output)) as adapter:
        save(trainable, inputs, adapter)
        copy_metrics((folder / PRETRAINING, folder), adapter)
        manifest = describe(config, recipe, base, *sets, trainable.model, fit, adapter)
        write_card(adapter, manifest, base, sets, fit.evaluation.prediction)
        write_manifest(adapter, manifest)
    return manifest


def read_teacher(
    teacher: Members | None, training: DataSet, folder: Path, config: TrainConfig
) -> npt.NDArray[np.float32] | None:
    """Return a teacher's logits for the training arguments, (arguments, 20); None without one."""
    if teacher is None:
        return None
    return teacher_logits(teacher, training, folder, config.folds if config.out_of_fold else None)


def load_splits(config: TrainConfig) -> tuple[DataSet, DataSet]:
    """Return the training data, and the data that epochs and thresholds are chosen on.

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


def save(trainable: Trainable, inputs: RunInputs, folder: Path) -> None:
    """Write what was trained: all weights, or PEFT's files; and the head, if there is one."""
    if isinstance(trainable.model, ValueClassifier):
        trainable.model.save_head(folder)
    if inputs.config.method.whole:
        with quiet_transformers():
            cast(Any, trainable.network).save_pretrained(folder)
        inputs.tokenizer.save_pretrained(folder)
    if isinstance(trainable.network, PeftModel):
        name = findable_name(inputs.base)
        # A name that anyone's PEFT understands.
        known = MINILM_HUB_ID if name == MINILM else name
        trainable.network.peft_config["default"].base_model_name_or_path = known
        save_peft(trainable.network, folder)


def pretraining(
    inputs: RunInputs,
    stage: Pretrain,
    trainable: Trainable,
    folder: Path,
    started: float,
    log: Log,
) -> Pretraining:
    """Return the contrastive stage before the training of the classifier."""
    classifier = cast(ValueClassifier, trainable.model)
    training = Pretraining(
        config=inputs.config,
        stage=stage,
        model=WithFeatures(classifier, stage.queue),
        groups=groups(classifier, inputs.config),
        training=trainable.training,
        folder=folder,
        started=started,
        processes=inputs.processes,
        log=log,
    )
    if stage.positives == "views":
        with inputs.processes.together():
            training.check_views()
    return training


def logged_steps(config: TrainConfig, training: Split, folder: Path) -> int:
    """Return how many steps a run has done, those of a contrastive stage among them."""
    done = newest_step(folder)
    if not isinstance(config.contrastive, Pretrain):
        return done
    if not done:
        return newest_step(folder / PRETRAINING)
    batch_size = config.optimisation.batch_size
    return done + steps_in(training, batch_size, config.contrastive.epochs)


def groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Return the trainable parameters as the optimizer takes them."""
    optimisation = config.optimisation
    return parameter_groups(
        model,
        optimisation.learning_rate,
        1.0 if optimisation.layer_decay is None else optimisation.layer_decay,
        optimisation.weight_decay,
        optimisation.head_learning_rate,
    )
