"""Thresholds from validation: where a value's probability turns into a decision.

All of this maximises macro_f1, never official_f1, which thresholds per value can inflate at the
cost of every single value's F1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from valueeval.tasks.scoring import Counts, means

# Candidate probabilities. Finer ones would only fit the noise of validation.
GRID = np.arange(1, 100) / 100


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
    cuts = np.log(GRID / (1 - GRID))
    predicted, tp = (
        np.stack(
            [
                # Of the logits in increasing order, those to the right of the cut exceed it.
                np.count_nonzero(kept) - np.searchsorted(np.sort(column[kept]), cuts, side="right")
                for column, kept in zip(logits.T.astype(np.float64), chosen.T, strict=True)
            ],
            axis=1,
        )
        for chosen in (np.ones_like(truth), truth)
    )
    return Counts(tp, predicted, np.broadcast_to(truth.sum(axis=0), tp.shape))


def _best_nearest_to(anchor: float, scores: npt.NDArray[np.float64]) -> int:
    """Index on `GRID` of the best score; of equal ones the nearest to the anchor."""
    scores = np.nan_to_num(scores, nan=-1.0)
    best = np.flatnonzero(scores >= scores.max() - 1e-12)
    return int(best[np.argmin(np.abs(GRID[best] - anchor))])


def tune_thresholds(truth, logits, conclusions):
    return (global_threshold(truth, logits),) * 20
