"""A training run from the data to the adapter directory, the same for every method.

`valueeval.train.build` puts together what it trains.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from peft import PeftModel

from valueeval.adapters.classifier.backbones import load_tokenizer, quiet_transformers
from valueeval.adapters.classifier.classifier import ValueClassifier
from valueeval.adapters.classifier.peft_encoder import save_peft
from valueeval.adapters.directory.base import MINILM, MINILM_HUB_ID, Base, fetch_base
from valueeval.adapters.directory.ensemble import Members
from valueeval.adapters.directory.manifest import Manifest
from valueeval.adapters.directory.manifest_file import MANIFEST_FILE, write_manifest
from valueeval.tasks.data.dataset import CV, DataSet, joined, load_set
from valueeval.tasks.data.folds import split_by_fold, split_for_cv
from valueeval.tasks.errors import ValueEvalError
from valueeval.train.build import Trainable, build
from valueeval.train.config.config import DATA_SETS, TrainConfig
from valueeval.train.data.inputs import Split
from valueeval.train.data.own_tables import (
    load_table_sets,
    merged,
    note_shared_conclusions,
    split_of_each,
)
from valueeval.train.data.run_inputs import RunInputs
from valueeval.train.data.subsets import training_subset, validation_subset
from valueeval.train.loop.evaluation import TEXT_ALONE_SCORE
from valueeval.train.loop.optimizer import parameter_groups
from valueeval.train.loop.pretraining import FOLDER as PRETRAINING
from valueeval.train.loop.pretraining import Pretraining
from valueeval.train.loop.tracking import check_tracker, shifted, tracking
from valueeval.train.loop.training import Fit, RunContext, Stage, Training, steps_in
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
from valueeval.train.runtime.processes import Processes, note_unused_settings
from valueeval.train.runtime.progress import note
from valueeval.train.storage.checkpoint import newest_step
from valueeval.train.storage.metrics import copy_metrics
from valueeval.train.storage.output import (
    check_name,
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
    note_unused_settings()
    with processes.together():
        if processes.is_main:
            check_push(config)
    with advise_when_out_of_memory(config):
        manifest = train_adapter(config, processes)
    with processes.together():
        if processes.is_main:
            push(config)
    return manifest


def train_adapter(config: TrainConfig, processes: Processes) -> Manifest:
    """Train, write the adapter directory and return its manifest.

    Raises:
        ValueEvalError: Data, base model or output directory cannot be used, or training diverged.
    """
    started, output = time.monotonic(), Path(config.output)
    with processes.together():
        check_name(output)
        earlier = earlier_recipe(output) if config.resume and processes.is_main else {}
    config = processes.from_main(resolve_precision(config, processes.device, earlier))
    with processes.together():
        teacher = find_teacher(config)
    recipe = config.recipe()
    if teacher is not None:
        recipe["teacher_sha256"] = teacher.manifest.weights_sha256
    finished = is_finished_in_main(output, recipe, config.resume, processes)
    with processes.together():
        if not finished:
            check_tracker(config)
            if config.compile:
                check_compiler(processes.device)
        training, validation = load_splits(config)
        if teacher is not None:
            check_teacher(teacher, config, describe_data(config, training, validation))
        base = find_base(config)
    run = {
        "config": recipe,
        "training_sha256": training.sha256,
        "validation_sha256": validation.sha256,
        "base_sha256": base.sha256,
    }
    manifest: Manifest | None = None
    if not finished:
        with run_folder(output, run, config.resume, processes) as folder:
            # Another process may have ended between the first look and this one's lock.
            if not is_finished_in_main(output, recipe, config.resume, processes):
                logits = None
                with processes.together():
                    if teacher is not None and processes.is_main:
                        logits = read_teacher(teacher, training, folder, config)
                logits = processes.from_main(logits)
                with processes.together():
                    tokenizer = load_tokenizer(base.path)
                    inputs = RunInputs(
                        config, recipe, base, tokenizer, training, validation, logits, processes
                    )
                    trainable = build(inputs)
                fit = fit_all_stages(inputs, trainable, folder, started)
                with processes.together():
                    if processes.is_main:
                        manifest = write_adapter(inputs, trainable, fit, folder)
                return cast(Manifest, processes.from_main(manifest))
    with processes.together():
        if processes.is_main:
            manifest = finished_adapter(output, run)
    note(f"{output} is already finished")
    return cast(Manifest, processes.from_main(manifest))


def is_finished_in_main(
    output: Path, recipe: Mapping[str, Any], resume: bool, processes: Processes
) -> bool:
    """Return the main process's answer to `is_finished`.

    Raises:
        ValueEvalError: The adapter cannot be put there.
    """
    with processes.together():
        finished = processes.is_main and is_finished(output, recipe, resume)
    return processes.from_main(finished)


def fit_all_stages(inputs: RunInputs, trainable: Trainable, folder: Path, started: float) -> Fit:
    """Train through all stages of a run, from its newest checkpoint if it has one.

    Args:
        inputs: Options, base model and data.
        trainable: The model and its loss.
        folder: The run's folder.
        started: `time.monotonic()` when this part of the run began.

    Raises:
        ValueEvalError: Training diverged, or its checkpoints or log cannot be written.
    """
    config, processes = inputs.config, inputs.processes
    with tracking(config, processes, logged_steps(config, trainable.training, folder)) as log:
        context = RunContext(folder, started, processes, log)
        if isinstance(config.contrastive, Pretrain):
            classifier = cast(ValueClassifier, trainable.model)
            stage = Pretraining(config, config.contrastive, classifier, trainable.training, context)
            if config.contrastive.positives == "views":
                with processes.together():
                    stage.check_views()
            stage.all_steps()
            # The seconds of the stage are in no checkpoint of the next one before its first.
            started -= 0.0 if newest_step(folder) else stage.earlier_seconds
            context = RunContext(folder, started, processes, shifted(log, stage.total_steps))
            # Its optimizer holds two moments of every weight, its CUDA graphs memory of the GPU;
            # these refer back to it, so that it is freed only by a collection.
            del stage
            gc.collect()
        fit = Training(
            config,
            Stage(
                model=trainable.trained,
                groups=parameter_groups(trainable.model, config.optimisation),
                loss=trainable.loss,
                training=trainable.training,
                evaluate=trainable.evaluate,
                compares=isinstance(config.contrastive, Joint),
            ),
            context,
        ).run()
    if trainable.evaluate_alone is None:
        return fit
    alone = trainable.evaluate_alone.macro_f1(trainable.trained, fit.evaluation.thresholds)
    scores = {**fit.evaluation.scores, TEXT_ALONE_SCORE: processes.from_main(alone)}
    return replace(fit, evaluation=replace(fit.evaluation, scores=scores))


def write_adapter(inputs: RunInputs, trainable: Trainable, fit: Fit, folder: Path) -> Manifest:
    """Write the adapter directory and return its manifest.

    Args:
        inputs: Options, base model and data.
        trainable: The trained model, at its best epoch.
        fit: The result of the training.
        folder: The run's folder, which is removed.

    Raises:
        ValueEvalError: The directory cannot be written.
    """
    sets = (inputs.training, inputs.validation)
    with new_adapter(folder, Path(inputs.config.output)) as adapter:
        save(trainable, inputs, adapter)
        copy_metrics((folder / PRETRAINING, folder), adapter)
        manifest = describe(inputs, trainable.model, fit, adapter)
        write_card(adapter, manifest, inputs.base, sets, fit.evaluation.prediction)
        write_manifest(adapter, manifest)
    return manifest


def read_teacher(
    teacher: Members, training: DataSet, folder: Path, config: TrainConfig
) -> npt.NDArray[np.float32]:
    """Return a teacher's logits for the training arguments, (arguments, 20)."""
    return teacher_logits(teacher, training, folder, config.folds if config.out_of_fold else None)


def find_base(config: TrainConfig) -> Base:
    """Return the base model on this machine, fetched from the hub if necessary.

    Raises:
        ValueEvalError: It cannot be used, or is an adapter of ours.
    """
    refuse_adapter(config.base, Path(config.base))  # one of PEFT holds no model to be fetched
    base = fetch_base(config.base, config.revision)
    refuse_adapter(config.base, base.path)
    return base


def refuse_adapter(name: str, folder: Path) -> None:
    """Refuse an adapter directory as a base model.

    Raises:
        ValueEvalError: The folder has a manifest.
    """
    # False of a name that is too long for a path.
    if os.path.isfile(folder / MANIFEST_FILE):
        raise ValueEvalError(
            f"base model {name!r} is an adapter of valueeval train: its head would be dropped, and "
            "the new manifest would not say which labels it has seen. Name the base model that it "
            f"was trained on (base_model in its {MANIFEST_FILE}); to learn from its answers as "
            f"well: --teacher {name}"
        )


def load_splits(config: TrainConfig) -> tuple[DataSet, DataSet]:
    """Return the training data, and the data that epochs and thresholds are chosen on.

    Out of fold both are the same: the latter is read by teachers, a part by each.
    """
    if config.protocol == "cv" and config.fold is not None:
        training, validation = split_for_cv(load_set(CV, config.data_dir), config.fold)
        return training_subset(training, config), validation_subset(validation, config)
    training, validation = (merged(parts) for parts in zip(*load_parts(config), strict=True))
    if config.template is not None and not all(training.conclusions + validation.conclusions):
        raise ValueEvalError(
            f"--data {config.data}: has texts without a conclusion, which a --template needs for "
            "its questions: train a head, without --template"
        )
    if config.folds is not None and config.fold is not None:
        training, validation = split_by_fold(
            joined(training, validation), config.folds, config.fold
        )
    elif config.out_of_fold:
        training = validation = joined(training, validation)
    else:
        note_shared_conclusions(training, validation)
    if not validation.labels.any():
        raise ValueEvalError(
            f"{validation.name}: no argument there has a value, so there is nothing to choose "
            "epoch and thresholds by"
        )
    return training_subset(training, config), validation_subset(validation, config)


def load_parts(config: TrainConfig) -> list[tuple[DataSet, DataSet]]:
    """Return training and validation data of each data set, in the order of the option."""
    loaded: dict[str, tuple[DataSet, DataSet]] = {}
    # Published sets first: tables are split so that conclusions stay where these have them.
    for part in sorted(config.data_parts, key=lambda part: part not in DATA_SETS):
        if part in DATA_SETS:
            loaded[part] = load_published(part, config.data_dir)
        else:
            elsewhere = split_of_each(loaded.values()) if loaded else None
            loaded[part] = load_table_sets(part, elsewhere)
    return [loaded[part] for part in config.data_parts]


def load_published(name: str, data_dir: str | None) -> tuple[DataSet, DataSet]:
    """Return training and validation data of one of `DATA_SETS`."""
    prefix = "sample_" if name == "sample" else ""
    training, validation = (f"{prefix}{split}" for split in ("training", "validation"))
    return load_set(training, data_dir), load_set(validation, data_dir)


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
        peft_config = trainable.network.peft_config["default"]
        peft_config.base_model_name_or_path = known
        peft_config.revision = inputs.base.revision
        save_peft(trainable.network, folder)


def logged_steps(config: TrainConfig, training: Split, folder: Path) -> int:
    """Return how many steps a run has done, those of a contrastive stage among them."""
    done = newest_step(folder)
    if not isinstance(config.contrastive, Pretrain):
        return done
    if not done:
        return newest_step(folder / PRETRAINING)
    batch_size = config.optimisation.batch_size
    return done + steps_in(training, batch_size, config.contrastive.epochs)
