"""The studentised cluster bootstrap, which intervals rested on before: for comparison only.

The centre is the jackknife's bias-corrected estimate, the standard error the jackknife's, the
quantile that of |t*|, where t* = (resampled score less the mean of the resampled scores) /
(standard error linearised within the resample); Efron and Tibshirani (1993), chapter 12; Cameron,
Gelbach and Miller (2008).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from valueeval.tasks.scores.f1 import Counts, quotient
from valueeval.tasks.scores.jackknife import score_counts

Array = npt.NDArray[np.float64]


def half_width(
    counts: Counts, metric: str, resamples: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Return centre and half the width of the 95 % intervals.

    Args:
        counts: Of one run, or of two: tp and predicted (runs, conclusions, 20), actual
            (conclusions, 20).
        metric: ``macro_f1`` or ``official_f1``.
        resamples: How many.
        rng: Draws them.

    Returns:
        Each (1,) for one run; (3,) for two: of each, and of the first less the second.
    """
    contrast = np.array([[1.0]]) if len(counts.tp) == 1 else np.array([[1, 0], [0, 1], [1, -1.0]])
    value, without = (contrast @ part for part in score_counts(counts, metric))
    n = without.shape[1]
    bias = (n - 1) * (without.mean(1) - value)
    error = np.sqrt((n - 1) / n * ((without - without.mean(1, keepdims=True)) ** 2).sum(1))
    weights = rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)
    drawn, influences = [], []
    for tp, predicted in zip(counts.tp, counts.predicted, strict=True):
        parts = (tp, predicted, counts.actual)
        score, gradient = _GRADIENTS[metric](*(weights @ part for part in parts))
        drawn.append(score)
        influences.append(gradient @ np.concatenate(parts, axis=1).T * np.sqrt(weights))
    values = contrast @ np.stack(drawn)
    spread = np.sqrt((np.tensordot(contrast, np.stack(influences), axes=1) ** 2).sum(-1))
    t = quotient(np.abs(values - values.mean(1, keepdims=True)), spread)
    return value - bias, np.quantile(t, 0.95, axis=1) * error


def _macro_f1(tp: Array, predicted: Array, actual: Array) -> tuple[Array, Array]:
    """Return the mean F1 (…,) and its gradient by the 60 totals (…, 60)."""
    present, each = _present(actual)
    both = predicted + actual
    f1 = quotient(2 * tp, both) * present
    scale = quotient(each, both) * present
    slope = -f1 * scale
    value = quotient(f1.sum(-1), present.sum(-1))
    return value, np.concatenate([2 * scale, slope, slope], axis=-1)


def _official_f1(tp: Array, predicted: Array, actual: Array) -> tuple[Array, Array]:
    """Return the shared task's score (…,) and its gradient by the 60 totals (…, 60)."""
    present, each = _present(actual)
    precisions, recalls = quotient(tp, predicted) * present, quotient(tp, actual)
    precision = (precisions * each).sum(-1, keepdims=True)
    recall = (recalls * each).sum(-1, keepdims=True)
    total = precision + recall
    by_precision = 2 * quotient(recall, total) ** 2
    by_recall = 2 * quotient(precision, total) ** 2
    per_predicted = quotient(each, predicted) * present * by_precision
    per_actual = quotient(each, actual) * by_recall
    gradient = [per_predicted + per_actual, -precisions * per_predicted, -recalls * per_actual]
    value = quotient(2 * precision * recall, total)[..., 0]
    return value, np.concatenate(gradient, axis=-1)


def _present(actual: Array) -> tuple[Array, Array]:
    """Return which values have a positive (…, 20), and the weight of each in a mean (…, 1)."""
    present = (actual > 0).astype(np.float64)
    return present, quotient(np.ones(()), present.sum(-1, keepdims=True))


_GRADIENTS = {"macro_f1": _macro_f1, "official_f1": _official_f1}
