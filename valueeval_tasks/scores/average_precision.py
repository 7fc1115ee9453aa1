"""``macro_ap``: mean average precision over values; needs scores, not decisions.

The average precision of a value is scikit-learn's: the sum over positives of the precision among
all arguments that score at least as high as the positive, divided by the number of positives. It
looks at the order of scores alone, so it compares systems whatever their thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from valueeval.tasks.scores.f1 import quotient
from valueeval.tasks.scores.jackknife import (
    Array,
    BoolArray,
    LeaveOneOut,
    group,
    mean_over,
)


def macro_ap(truth: npt.ArrayLike, scores: npt.ArrayLike) -> float | None:
    """Return the mean average precision over the values that have a positive.

    Args:
        truth: (n, 20), bool or 0/1.
        scores: (n, 20), higher where the value is more likely.

    Returns:
        ``None`` where no value has a positive.

    Raises:
        ValueError: Shapes differ, or a score is not finite.
    """
    t = np.asarray(truth, dtype=np.bool_)
    left = leave_one_out_ap(t, [np.asarray(scores, dtype=np.float64)], ["whole"] * len(t))
    value = float(left.value[0])
    return None if np.isnan(value) else value


def leave_one_out_ap(
    truth: BoolArray, scores: Sequence[Array], clusters: Sequence[str]
) -> LeaveOneOut:
    """Compute ``macro_ap`` of runs on the whole set and without each conclusion.

    Args:
        truth: (n, 20).
        scores: One (n, 20) a run.
        clusters: n keys, one for each argument's conclusion.

    Raises:
        ValueError: Shapes differ, or a score is not finite.
    """
    for each in scores:
        if each.shape != truth.shape:
            raise ValueError(f"scores of shape {each.shape} for truth of shape {truth.shape}")
        if not np.isfinite(each).all():
            raise ValueError("scores must be finite numbers")
    keys, index, sizes = group(clusters, len(truth))
    present = np.asarray(truth.any(axis=0))
    whole = np.zeros((len(scores), truth.shape[1]))
    without = np.zeros((len(scores), len(keys), truth.shape[1]))
    for run, each in enumerate(scores):
        for value in np.flatnonzero(present):
            whole[run, value], without[run, :, value] = _average_precision(
                truth[:, value], each[:, value], index, len(keys)
            )
    return LeaveOneOut(
        mean_over(whole, present),
        mean_over(without, present),
        keys,
        sizes,
        sizes.astype(np.float64),
    )


def _average_precision(
    truth: BoolArray, scores: Array, index: npt.NDArray[np.int64], groups: int
) -> tuple[float, Array]:
    """Return the average precision of one value with a positive, and without each conclusion.

    Without a conclusion that holds all positives it is that of the whole set.
    """
    levels = np.unique(scores[truth])[::-1]  # distinct scores of positives, the highest first
    # The first level that an argument reaches; len(levels) if it is below all of them.
    reached = np.searchsorted(-levels, -scores)
    cells = reached * groups + index
    shape = (len(levels) + 1, groups)
    above = np.bincount(cells, minlength=shape[0] * groups).reshape(shape)[:-1].cumsum(0)
    own = np.bincount(cells[truth], minlength=shape[0] * groups).reshape(shape)[:-1]
    positives = own.cumsum(0)  # (levels, conclusions) at or above the level, as `above`
    ranked, right = above.sum(1), positives.sum(1)
    whole = float((own.sum(1) * right / ranked).sum() / right[-1])
    precision = quotient(right[:, None] - positives, ranked[:, None] - above)
    remaining = right[-1] - positives[-1]
    total = ((own.sum(1)[:, None] - own) * precision).sum(0)
    return whole, np.where(remaining > 0, quotient(total, remaining), whole)
