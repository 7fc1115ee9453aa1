"""Distillation: a student learns from labels and from a teacher's probabilities (``--teacher``).

The teacher is an adapter, or the average of several; it reads every training argument once, before
the student's first step, as in an evaluation. The loss is in
`valueeval.train.objectives.losses`.

**No leaked labels.** A teacher passes on what it learnt from the labels that it was trained on. So
each of its members may have seen only labels that the student may see: those of
the same training data, by hash, or of a smaller subset by the same seed; with ``--folds``, of the
same cut with the same fold left out. The average of all folds is therefore no teacher for a student
with a ``--fold``: whatever fold that is, most members have been trained on it, and epoch and
thresholds would be chosen on arguments whose labels have come in through the teacher. Nor is an
adapter that was trained on training alone a teacher for a student with a fold, which holds some of
those arguments. Averages of seeds of one fold are.

**Out of fold.** With ``--folds`` and no ``--fold`` the student is trained on training and
validation together, and its teachers are the adapters of all folds: each argument is read by those
that were not trained on it, so that the teacher's probabilities are as unsure as they are of new
arguments (Wolpert, 1992, «Stacked generalization», has the idea of such predictions). Nothing is
left to choose an epoch on: the last one is kept. Thresholds are tuned on the teachers' out-of-fold
answers, which is cross-validation, but for one thing: the epoch of each teacher was chosen on the
fold that it answers. So these scores are a little too good, as those on validation are, and say
nothing that a test set need not confirm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from valueeval.adapters.classifier.ensemble import load_members
from valueeval.adapters.directory.ensemble import Members, find_members
from valueeval.adapters.directory.manifest import Manifest, TrainingData
from valueeval.tasks.data.dataset import Argument, DataSet
from valueeval.tasks.data.folds import folds_of
from valueeval.tasks.errors import ValueEvalError
from valueeval.train.config.config import TrainConfig
from valueeval.train.config.renamed import current
from valueeval.train.runtime.progress import note, reading
from valueeval.train.storage.atomic_writing import save_tensors

TEACHER_FILE = "teacher.safetensors"
_CHUNK = 512  # arguments between two steps of the bar


def find_teacher(config: TrainConfig) -> Members | None:
    """Read and check the teacher of a run; return None without one.

    Raises:
        ValueEvalError: The teacher cannot be used.
    """
    return None if config.distillation is None else find_members(config.distillation.teacher)


def check_teacher(teacher: Members, config: TrainConfig, data: TrainingData) -> None:
    """Refuse a teacher that has seen labels which the student must not see.

    Args:
        teacher: The teacher's members.
        config: The student's options.
        data: The training data of the student.

    Raises:
        ValueEvalError: Names the member, its training data, and a right choice.
    """
    for folder, manifest in zip(teacher.folders, teacher.manifests, strict=True):
        if manifest.head is None:
            raise ValueEvalError(
                f"--teacher {folder}: template {manifest.template!r} answers in words; a teacher "
                "needs a head"
            )
        if manifest.data.sha256 == data.sha256 and manifest.data.folds != data.folds:
            raise ValueEvalError(
                f"--teacher {folder}: of data in {manifest.data.folds} folds, its student's are in "
                f"{data.folds}: it may hand on labels that the student must not see; take "
                f"--folds {manifest.data.folds}, or teachers of the student's folds"
            )
        same = ("sha256",) + (() if config.out_of_fold else ("left_out",))
        if any(getattr(manifest.data, key) != getattr(data, key) for key in same):
            raise ValueEvalError(
                f"--teacher {folder}: trained on {manifest.data.described}, but its student on "
                f"{data.described}: it may hand on labels that the student must not see; train a "
                "teacher on the same data (with --folds: the same --fold)"
            )
        if not _within_subset(manifest, config):
            raise ValueEvalError(
                f"--teacher {folder}: has seen arguments beside the {data.size} of its student: "
                "train a teacher with the same --train_size or --shots_per_value and the same "
                "--seed"
            )
    if config.out_of_fold:
        _check_folds(teacher, config)


def _check_folds(teacher: Members, config: TrainConfig) -> None:
    """Refuse a teacher without a member for a fold, or with a member that left out none."""
    folds = config.folds or 0
    for folder, manifest in zip(teacher.folders, teacher.manifests, strict=True):
        if len(manifest.data.left_out) != 1:
            raise ValueEvalError(
                f"--teacher {folder}: trained on all of {manifest.data.described}; without --fold "
                f"its student needs adapters of --folds {folds} that have left one out each"
            )
    found = {fold for manifest in teacher.manifests for fold in manifest.data.left_out}
    if missing := sorted(set(range(folds)) - found):
        raise ValueEvalError(
            f"--teacher: no adapter has left out fold {' or '.join(map(str, missing))} of {folds}: "
            f"train it by --folds {folds} --fold {missing[0]} and add it to --teacher; or give the "
            "student a --fold, and the teacher that has left out the same"
        )


def teacher_logits(
    teacher: Members, training: DataSet, folder: Path, folds: int | None = None
) -> npt.NDArray[np.float32]:
    """Return the teacher's logits for each training argument, (arguments, 20).

    They are kept in the run's folder, so that a resumed run learns from the very same numbers.

    Args:
        teacher: The teacher's members.
        training: The training arguments.
        folder: The run's folder.
        folds: Number of folds, if each argument is to be read only by members that were not trained
            on it; else None.

    Raises:
        ValueEvalError: The teacher cannot be loaded, or its kept answers cannot be read.
    """
    kept = folder / TEACHER_FILE
    if not kept.exists():
        if folds:
            note("the teachers read the training arguments that each has not seen")
            answers = out_of_fold_logits(teacher, training, folds)
        else:
            answers = _read(teacher, training)
        if not np.isfinite(answers).all():
            raise ValueEvalError("--teacher: it answers with numbers that are not finite")
        save_tensors({"logits": torch.from_numpy(answers)}, kept)
    try:
        logits: npt.NDArray[np.float32] = load_file(kept)["logits"].numpy()
    except (OSError, KeyError, SafetensorError) as error:
        raise ValueEvalError(
            f"{kept}: cannot be read ({error}); remove it, and the teacher will be asked again"
        ) from error
    return logits


def _read(teacher: Members, training: DataSet) -> npt.NDArray[np.float32]:
    note("the teacher reads the training arguments")
    with reading(len(training.arguments)) as advance:
        return _answers(teacher, training.arguments, advance)


def out_of_fold_logits(members: Members, data: DataSet, folds: int) -> npt.NDArray[np.float32]:
    """Return for each argument the mean logits of the members that left out its fold, (n, 20).

    Args:
        members: At least one adapter for each fold.
        data: n arguments.
        folds: Number of folds that they are cut into.
    """
    fold_of = folds_of(data, folds)
    logits = np.zeros(data.labels.shape, dtype=np.float32)
    with reading(len(data.arguments)) as advance:
        for fold in range(folds):
            rows = np.flatnonzero(fold_of == fold).tolist()
            arguments = tuple(data.arguments[row] for row in rows)
            logits[rows] = _answers(members_without(members, fold), arguments, advance)
    return logits


def members_without(teacher: Members, fold: int) -> Members:
    """Return the members that left out a fold, as a teacher."""
    chosen = [
        (folder, manifest)
        for folder, manifest in zip(teacher.folders, teacher.manifests, strict=True)
        if manifest.data.left_out == (fold,)
    ]
    folders, manifests = zip(*chosen, strict=True)
    return replace(teacher, folders=folders, manifests=manifests)


def _answers(
    teacher: Members, arguments: tuple[Argument, ...], advance: Callable[[int], None]
) -> npt.NDArray[np.float32]:
    classifier = load_members(teacher)
    parts = []
    for start in range(0, len(arguments), _CHUNK):
        parts.append(classifier.logits(arguments[start : start + _CHUNK]))
        advance(len(parts[-1]))
    return np.concatenate(parts)


def _within_subset(manifest: Manifest, config: TrainConfig) -> bool:
    """Return True if an adapter has seen no arguments outside a subset (they nest by seed)."""
    for name in ("train_size", "shots_per_value"):
        if (size := getattr(config, name)) is not None:
            smaller = (current(manifest.config).get(name) or inf) <= size
            return smaller and manifest.seed == config.seed
    return True
