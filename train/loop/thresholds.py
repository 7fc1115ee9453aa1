"""Thresholds from validation: where a value's probability turns into a decision.

All of this maximises macro_f1, never official_f1, which thresholds per value can inflate at the
cost of every single value's F1.

One threshold for all values (``global``) ignores that a model is surer of some than of others; the
best one of each value (``per-value``) overfits, since some have few positives. ``shrunk`` is the
middle between the two, as logits. Chosen on validation alone: over 80 splits of the real validation
set into two halves by conclusion, thresholds from one half scored on the other gave macro_f1 0.433
(global), 0.430 (per-value), 0.438 (shrunk; best in 90% of the splits against global).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from valueeval.adapters.directory.manifest import Thresholds
from valueeval.tasks.scores.f1 import Counts, f1_per_value, means
from valueeval.tasks.values import VALUE_NAMES
from valueeval.train.config.config import ThresholdsName

# Candidate probabilities. Finer ones would only fit the noise of validation.
GRID = np.arange(1, 100) / 100
_CUTS = np.log(GRID / (1 - GRID))  # the same as logits


def choose_thresholds(
    how: ThresholdsName,
    truth: npt.NDArray[np.bool_],
    logits: npt.NDArray[np.float32],
    split: str = "validation",
) -> Thresholds:
    """The thresholds that the option ``--thresholds`` asks for.

    Args:
        how: ``half`` tunes nothing, ``global`` and ``per-value`` as named, ``shrunk`` between.
        truth: Of validation, (arguments, 20).
        logits: (arguments, 20).
        split: What the manifest calls these arguments.
    """
    if how == "half":
        return Thresholds((0.5,) * len(VALUE_NAMES), split="none", metric="none")
    common = global_threshold(truth, logits)
    values = np.full(len(VALUE_NAMES), common)
    if how != "global":
        own = per_value_thresholds(truth, logits, common)
        values = own if how == "per-value" else _shrunk(own, values)
    return Thresholds(tuple(values.tolist()), split=split, metric="macro_f1")


def per_value_thresholds(
    truth: npt.NDArray[np.bool_], logits: npt.NDArray[np.float32], common: float
) -> npt.NDArray[np.float64]:
    """Each value's threshold with its highest F1; of equals the nearest to the common one.

    Args:
        truth: (arguments, 20).
        logits: (arguments, 20).
        common: The global threshold; a value with no positive has this one.

    Returns:
        20 probabilities of `GRID`.
    """
    f1 = f1_per_value(counts_on_grid(truth, logits))
    return GRID[[_best_nearest_to(common, column) for column in f1.T]]


def global_threshold(truth: npt.NDArray[np.bool_], logits: npt.NDArray[np.float32]) -> float:
    """The one threshold for all values with the highest macro_f1; of equals the nearest to 0.5.

    Args:
        truth: (arguments, 20).
        logits: (arguments, 20).

    Returns:
        A probability of `GRID`.
    """
    macro_f1 = means(counts_on_grid(truth, logits)).macro_f1
    return float(GRID[_best_nearest_to(0.5, macro_f1)])


def counts_on_grid(truth: npt.NDArray[np.bool_], logits: npt.NDArray[np.float32]) -> Counts:
    """What would be predicted at every threshold of `GRID`: counts of shape (99, 20)."""
    predicted, tp = (
        np.stack(
            [
                # Of the logits in increasing order, those to the right of the cut exceed it.
                np.count_nonzero(kept) - np.searchsorted(np.sort(column[kept]), _CUTS, side="right")
                for column, kept in zip(logits.T.astype(np.float64), chosen.T, strict=True)
            ],
            axis=1,
        )
        for chosen in (np.ones_like(truth), truth)
    )
    return Counts(tp, predicted, np.broadcast_to(truth.sum(axis=0), tp.shape))


def _shrunk(
    first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The probabilities whose logits are in the middle between those of two others."""
    middle = (np.log(first / (1 - first)) + np.log(second / (1 - second))) / 2
    return 1 / (1 + np.exp(-middle))


def _best_nearest_to(anchor: float, scores: npt.NDArray[np.float64]) -> int:
    """Index on `GRID` of the best score; of equal ones the nearest to the anchor."""
    scores = np.nan_to_num(scores, nan=-1.0)
    best = np.flatnonzero(scores >= scores.max() - 1e-12)
    return int(best[np.argmin(np.abs(GRID[best] - anchor))])
