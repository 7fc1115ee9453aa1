"""The F1 scores as functions of counts.

Per value v: tp = arguments where truth and prediction hold v, predicted = where the prediction
does, actual = where the truth does; precision = tp / predicted (0 if never predicted), recall =
tp / actual, F1 = 2 tp / (predicted + actual). Values with no positive in truth are left out of
every mean over values.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


class Counts(NamedTuple):
    """Counts per value; each of shape (20,), or (…, 20) over runs or conclusions."""

    tp: npt.NDArray[Any]
    predicted: npt.NDArray[Any]
    actual: npt.NDArray[Any]


class Means(NamedTuple):
    """Means over the values that have a positive; NaN where none has. Shape: the leading axes."""

    macro_f1: Array
    official_f1: Array
    macro_precision: Array
    macro_recall: Array


def f1_per_value(counts: Counts) -> Array:
    """Return the F1 of each value, (…, 20); 0 where a value is neither predicted nor true."""
    return quotient(2 * counts.tp, counts.predicted + counts.actual)


def precision_recall(counts: Counts) -> tuple[Array, Array]:
    """Return precision and recall of each value, (…, 20); 0 where the denominator is 0."""
    return quotient(counts.tp, counts.predicted), quotient(counts.tp, counts.actual)


def means(counts: Counts) -> Means:
    """Return the macro scores of counts (…, 20), over the values with ``actual`` > 0."""
    present = counts.actual > 0
    n = present.sum(-1)

    def mean(per_value: Array) -> Array:
        total = (per_value * present).sum(-1)
        out = np.full(np.shape(n), np.nan)
        np.divide(total, n, out=out, where=n > 0)
        return out

    precision, recall = (mean(each) for each in precision_recall(counts))
    official = np.where(n > 0, quotient(2 * precision * recall, precision + recall), np.nan)
    return Means(mean(f1_per_value(counts)), official, precision, recall)


def quotient(numerator: npt.NDArray[Any], denominator: npt.NDArray[Any]) -> Array:
    """Return the quotient of non-negative arrays that broadcast, 0 where the denominator is 0."""
    out = np.zeros(np.broadcast_shapes(numerator.shape, denominator.shape))
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out
