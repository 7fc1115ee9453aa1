"""Thresholds from validation: where a value's probability turns into a decision.

All of this maximises macro_f1, never official_f1, which thresholds per value can inflate at the
cost of every single value's F1.

One threshold for all values ignores that a model is surer of some than of others; the best one of
each value overfits, since some have few positives. So each value's threshold is halfway between
the two, as logits. Chosen on validation alone: over 80 splits of the real validation set into two
halves by conclusion, thresholds from one half scored on the other gave macro_f1 0.433 (one for
all), 0.430 (one for each), 0.438 (halfway; best in 90% of the splits against one for all).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from valueeval.tasks.scoring import Counts, f1_per_value, means

# Candidate probabilities. Finer ones would only fit the noise of validation.
GRID = np.arange(1, 100) / 100
_CUTS = np.log(GRID / (1 - GRID))  # the same as logits


def tune_thresholds(
    truth: npt.NDArray[np.bool_], logits: npt.NDArray[np.float32]
) -> tuple[float, ...]:
    """A threshold for each value: halfway from the best common one to the value's own best.

    Args:
        truth: (arguments, 20).
        logits: (arguments, 20).

    Returns:
        20 probabilities. A value with no positive has the common threshold.
    """
    common = global_threshold(truth, logits)
    f1 = f1_per_value(counts_on_grid(truth, logits))
    own = np.array([GRID[_best_nearest_to(common, column)] for column in f1.T])
    halfway = (_CUTS[np.searchsorted(GRID, own)] + _CUTS[np.searchsorted(GRID, common)]) / 2
    return tuple((1 / (1 + np.exp(-halfway))).tolist())


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


def _best_nearest_to(anchor: float, scores: npt.NDArray[np.float64]) -> int:
    """Index on `GRID` of the best score; of equal ones the nearest to the anchor."""
    scores = np.nan_to_num(scores, nan=-1.0)
    best = np.flatnonzero(scores >= scores.max() - 1e-12)
    return int(best[np.argmin(np.abs(GRID[best] - anchor))])
