"""Distillation: a student learns from labels and from a teacher's probabilities (``--teacher``).

The teacher is an adapter, or the average of several; it reads every training argument once, before
the student's first step, as it would in an evaluation. The loss is in `valueeval.train.losses`.

**What is honest.** A teacher knows the labels that it was trained on, and hands on what it learnt
from them. So each of its members must have seen no other labels than the student may see: those of
the same training data, by hash, or of a smaller subset by the same seed; with ``--folds``, of the
same cut with the same fold left out. The average of all folds is therefore no teacher: whatever
fold the student leaves out, most members have been trained on it, and epoch and thresholds would be
chosen on arguments whose labels have come in through the teacher. Nor is an adapter that was
trained on training alone a teacher for a student with a fold, which holds some of those arguments.
Averages of seeds of one fold are.
"""

from __future__ import annotations

from math import inf
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from valueeval.adapters.average import load_members
from valueeval.adapters.manifest import Manifest, TrainingData
from valueeval.adapters.members import Members, find_members
from valueeval.tasks.data import Argument
from valueeval.tasks.errors import ValueEvalError
from valueeval.train.checkpoint import save_tensors
from valueeval.train.config import TrainConfig
from valueeval.train.progress import note, reading

TEACHER_FILE = "teacher.safetensors"
_CHUNK = 512  # arguments between two steps of the bar


def find_teacher(config: TrainConfig) -> Members | None:
    """The teacher that a run asks for, read and checked; None without one.

    Raises:
        ValueEvalError: It cannot be used.
    """
    return None if config.teacher is None else find_members(config.teacher)


def check_teacher(teacher: Members, config: TrainConfig, data: TrainingData) -> None:
    """Refuses a teacher that has seen labels which the student must not see.

    Args:
        teacher: Its members.
        config: The student's options.
        data: What the student is trained on.

    Raises:
        ValueEvalError: Which member it is, what that was trained on, what would be right.
    """
    for folder, manifest in zip(teacher.folders, teacher.manifests, strict=True):
        if manifest.head is None:
            raise ValueEvalError(
                f"--teacher {folder}: template {manifest.template!r} answers in words; a teacher "
                "needs a head"
            )
        same = ("sha256", "folds", "left_out")
        if any(getattr(manifest.data, key) != getattr(data, key) for key in same):
            raise ValueEvalError(
                f"--teacher {folder}: trained on {manifest.data.described}, but its student on "
                f"{data.described}: it may hand on labels that the student must not see; train a "
                "teacher on the same data (with --folds: the same --fold)"
            )
        if not _within_subset(manifest, config):
            raise ValueEvalError(
                f"--teacher {folder}: has seen arguments beside the {data.size} of its student: "
                "train a teacher with the same --train_size or --per_value and the same --seed"
            )


def teacher_logits(
    teacher: Members, arguments: tuple[Argument, ...], folder: Path
) -> npt.NDArray[np.float32]:
    """What the teacher says of each training argument: logits, (arguments, 20).

    They are kept in the run's folder, so that a resumed run learns from the very same numbers.

    Raises:
        ValueEvalError: The teacher cannot be loaded, or what was kept cannot be read.
    """
    kept = folder / TEACHER_FILE
    if not kept.exists():
        save_tensors({"logits": torch.from_numpy(_read(teacher, arguments))}, kept)
    try:
        logits: npt.NDArray[np.float32] = load_file(kept)["logits"].numpy()
    except (OSError, KeyError, SafetensorError) as error:
        raise ValueEvalError(
            f"{kept}: cannot be read ({error}); remove it, and the teacher is asked again"
        ) from error
    return logits


def _read(teacher: Members, arguments: tuple[Argument, ...]) -> npt.NDArray[np.float32]:
    note("the teacher reads the training arguments")
    classifier = load_members(teacher)
    parts = []
    with reading(len(arguments)) as advance:
        for start in range(0, len(arguments), _CHUNK):
            parts.append(classifier.logits(arguments[start : start + _CHUNK]))
            advance(len(parts[-1]))
    logits = np.concatenate(parts)
    if not np.isfinite(logits).all():
        raise ValueEvalError("--teacher: it answers with numbers that are not finite")
    return logits


def _within_subset(manifest: Manifest, config: TrainConfig) -> bool:
    """Whether an adapter has seen no arguments beside those of a subset (which nest by seed)."""
    for name in ("train_size", "per_value"):
        if (size := getattr(config, name)) is not None:
            smaller = (manifest.config.get(name) or inf) <= size
            return smaller and manifest.seed == config.seed
    return True
