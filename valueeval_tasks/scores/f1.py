"""The F1 scores as functions of counts.

Per value v: tp = arguments where truth and prediction hold v, predicted = where the prediction
does, actual = where the truth does; precision = tp / predicted (0 if never predicted), recall =
tp / actual, F1 = 2 tp / (predicted + actual). Values with no positive in truth are left out of
every mean over values.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


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


# The rest is of the studentised bootstrap (:mod:`valueeval.tasks.scores.uncertainty`).


@dataclass(frozen=True, eq=False)
class ClusterCounts:
    """Counts per run, cluster and value.

    Attributes:
        tp: (runs, clusters, 20), true positives.
        predicted: (runs, clusters, 20).
        actual: (clusters, 20), positives in truth.
    """

    tp: Array
    predicted: Array
    actual: Array

    @property
    def clusters(self) -> int:
        """How many clusters there are."""
        return len(self.actual)


def count(
    truth: BoolArray, predictions: Sequence[BoolArray], clusters: Sequence[Hashable]
) -> ClusterCounts:
    """Counts of `predictions`, each (n, 20), against `truth`, (n, 20), by cluster of each argument.

    Clusters are taken in sorted order, so that the order of arguments makes no difference.
    """
    _, index = np.unique(np.array([str(cluster) for cluster in clusters]), return_inverse=True)
    # (clusters, n) with a one where the argument belongs to the cluster
    member = np.zeros((index.max(initial=-1) + 1, len(truth)))
    member[index, np.arange(len(truth))] = 1
    tp = np.stack([member @ (truth & prediction) for prediction in predictions])
    predicted = np.stack([member @ prediction for prediction in predictions])
    return ClusterCounts(tp, predicted, member @ truth)


# A metric maps totals (tp, predicted, actual), each (…, 20), to its value (…) and its gradient by
# the 60 totals (…, 60). Being a ratio of totals (homogeneous of degree 0), its linear change when a
# cluster is weighted up is just the gradient times the counts of that cluster.
Metric = Callable[[Array, Array, Array], tuple[Array, Array]]


def macro_f1(tp: Array, predicted: Array, actual: Array) -> tuple[Array, Array]:
    """Mean F1 over the values that have a positive; NaN if none has."""
    present, each = _present(actual)
    both = predicted + actual
    f1 = quotient(2 * tp, both) * present
    scale = quotient(each, both) * present
    slope = -f1 * scale
    value = np.where(each[..., 0] > 0, quotient(f1.sum(-1), present.sum(-1)), np.nan)
    return value, np.concatenate([2 * scale, slope, slope], axis=-1)


def official_f1(tp: Array, predicted: Array, actual: Array) -> tuple[Array, Array]:
    """Harmonic mean of macro-precision and macro-recall; NaN if no value has a positive."""
    present, each = _present(actual)
    precisions, recalls = quotient(tp, predicted) * present, quotient(tp, actual)
    precision = (precisions * each).sum(-1, keepdims=True)
    recall = (recalls * each).sum(-1, keepdims=True)
    total = precision + recall
    by_precision = 2 * quotient(recall, total) ** 2
    by_recall = 2 * quotient(precision, total) ** 2
    per_predicted = quotient(each, predicted) * present * by_precision
    per_actual = quotient(each, actual) * by_recall
    value = np.where(each[..., 0] > 0, quotient(2 * precision * recall, total)[..., 0], np.nan)
    gradient = [per_predicted + per_actual, -precisions * per_predicted, -recalls * per_actual]
    return value, np.concatenate(gradient, axis=-1)


def _present(actual: Array) -> tuple[Array, Array]:
    """Which values have a positive (…, 20), and the weight of each in a mean (…, 1)."""
    present = (actual > 0).astype(np.float64)
    return present, quotient(np.ones(()), present.sum(-1, keepdims=True))


def f1_of_value(value: int) -> Metric:
    """The F1 of one value as a metric; NaN where it has no positive."""

    def metric(tp: Array, predicted: Array, actual: Array) -> tuple[Array, Array]:
        only = np.zeros(tp.shape[-1])
        only[value] = 1
        return macro_f1(tp * only, predicted * only, actual * only)

    return metric
