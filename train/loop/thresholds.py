"""The thresholds of a trained model, from validation (`valueeval.tasks.scores.thresholds`)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from valueeval.adapters.directory.manifest import Thresholds
from valueeval.tasks.scores.thresholds import tune_thresholds
from valueeval.tasks.values import VALUE_NAMES
from valueeval.train.config.config import ThresholdsName


def choose_thresholds(
    how: ThresholdsName,
    truth: npt.NDArray[np.bool_],
    logits: npt.NDArray[np.float32],
    split: str = "validation",
) -> Thresholds:
    """Return the thresholds that the option ``--thresholds`` asks for.

    Args:
        how: ``half`` tunes nothing; else a rule of `tune_thresholds`.
        truth: Labels of validation, (arguments, 20).
        logits: (arguments, 20).
        split: The manifest's name for these arguments.
    """
    if how == "half":
        return Thresholds((0.5,) * len(VALUE_NAMES), split="none", metric="none")
    values = tune_thresholds(how, truth, logits)
    return Thresholds(tuple(values.tolist()), split=split, metric="macro_f1")
