"""Scores with one conclusion left out at a time: what every interval and test here is made of.

Arguments that share a conclusion are not independent, so the unit that varies between test sets is
the conclusion. Leaving out each of C conclusions in turn gives C scores; their spread estimates the
variance of the score (the delete-one jackknife; Efron and Tibshirani, 1993, chapter 11, over
clusters; «CR3» in MacKinnon, Nielsen and Webb, 2023):

    V = (C - 1) / C · Σ_c (score without c - their mean)²

Conclusions are uneven: ten of the 103 on the main test set hold four fifths of the arguments. Such
a variance is worth fewer degrees of freedom than C - 1, see :func:`degrees_of_freedom`.

Which values count in a mean is decided on the whole set. If leaving out a conclusion leaves no
positive of a value, its F1 is 0 where it is still predicted (all these predictions are wrong), and
that of the whole set where it is not: there is nothing left to compute it from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from valueeval.tasks.scores.f1 import Counts, f1_per_value, means, precision_recall
from valueeval.tasks.values import VALUE_SLUGS

Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_BLOCK = 16384  # conclusions
_F1_OF = {f"f1_{slug}": value for value, slug in enumerate(VALUE_SLUGS)}


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """A score of several runs on the same arguments, whole and without each conclusion.

    Attributes:
        value: (runs,), on the whole set; NaN where the score is undefined.
        without: (runs, conclusions), with one conclusion left out; NaN where undefined.
        keys: Names of the conclusions, sorted.
        sizes: (conclusions,), how many arguments share each.
        weights: (conclusions,), how many labels of each the score is about: its arguments for a
            mean over values, its positives for the F1 of one value. Degrees of freedom follow from
            them.
    """

    value: Array
    without: Array
    keys: tuple[str, ...]
    sizes: npt.NDArray[np.int64]
    weights: Array

    @property
    def degrees_of_freedom(self) -> float:
        """See :func:`degrees_of_freedom`."""
        return degrees_of_freedom(self.weights)

    @property
    def variance_excess(self) -> float:
        """See :func:`variance_excess`."""
        return variance_excess(self.weights)


def leave_one_out(
    truth: BoolArray,
    predictions: Sequence[BoolArray],
    clusters: Sequence[str],
    metric: str = "macro_f1",
) -> LeaveOneOut:
    """Score runs on the whole set and without each conclusion.

    Args:
        truth: (n, 20).
        predictions: One (n, 20) a run.
        clusters: n keys, one for each argument's conclusion.
        metric: ``macro_f1``, ``official_f1`` or ``f1_<slug>``.

    Raises:
        ValueError: Shapes do not fit, or there is no such metric.
    """
    keys, index, sizes = group(clusters, len(truth))
    counts = count_by_conclusion(truth, np.stack(list(predictions)), index, sizes)
    value, without = score_counts(counts, metric)
    weights = counts.actual[:, _F1_OF[metric]] if metric in _F1_OF else sizes
    return LeaveOneOut(value, without, keys, sizes, weights.astype(np.float64))


def count_by_conclusion(
    truth: BoolArray,
    predictions: BoolArray,
    index: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
) -> Counts:
    """Count hits, predictions and positives of each conclusion.

    Args:
        truth: (n, 20).
        predictions: (runs, n, 20).
        index: (n,), each argument's conclusion.
        sizes: (conclusions,), arguments of each.

    Returns:
        tp and predicted, (runs, conclusions, 20); actual, (conclusions, 20).
    """
    tp, predicted = (_sums(part, index, sizes) for part in (truth & predictions, predictions))
    return Counts(tp, predicted, _sums(truth[None], index, sizes)[0])


def score_counts(counts: Counts, metric: str) -> tuple[Array, Array]:
    """Score runs from their counts by conclusion.

    Args:
        counts: tp and predicted, (runs, conclusions, 20); actual, (conclusions, 20).
        metric: ``macro_f1``, ``official_f1`` or ``f1_<slug>``.

    Returns:
        The score of each run on the whole set, (runs,), and without each conclusion,
        (runs, conclusions).

    Raises:
        ValueError: There is no such metric.
    """
    if metric not in ("macro_f1", "official_f1", *_F1_OF):
        raise ValueError(f"no metric {metric!r}: macro_f1, official_f1 or f1_<slug>")
    tp, predicted, actual = counts
    whole = Counts(
        tp.sum(1), predicted.sum(1), np.broadcast_to(actual.sum(0), (len(tp), actual.shape[1]))
    )
    # In blocks: a million arguments as units would take gigabytes of intermediate results.
    starts = range(0, max(len(actual), 1), _BLOCK)
    blocks = [slice(start, start + _BLOCK) for start in starts]
    without = np.concatenate(
        [
            _score_without(whole, Counts(tp[:, block], predicted[:, block], actual[block]), metric)
            for block in blocks
        ],
        axis=1,
    )
    if metric in _F1_OF:
        f1 = np.where(whole.actual > 0, f1_per_value(whole), np.nan)
        return f1[:, _F1_OF[metric]], without
    return getattr(means(whole), metric), without


def _score_without(whole: Counts, conclusions: Counts, metric: str) -> Array:
    """Score runs without each of some conclusions, (runs, conclusions)."""
    left = Counts(
        whole.tp[:, None] - conclusions.tp,
        whole.predicted[:, None] - conclusions.predicted,
        whole.actual[:, None] - conclusions.actual,
    )
    if metric in _F1_OF:
        value = _F1_OF[metric]
        f1: Array = np.where(left.actual > 0, f1_per_value(left), np.nan)[..., value]
        return f1
    present = whole.actual[0] > 0
    nothing = (left.actual == 0) & (left.predicted == 0)
    if metric == "macro_f1":
        return mean_over(
            np.where(nothing, f1_per_value(whole)[:, None], f1_per_value(left)), present
        )
    precision, recall = (
        mean_over(np.where(nothing, of_whole[:, None], of_left), present)
        for of_whole, of_left in zip(precision_recall(whole), precision_recall(left), strict=True)
    )
    return harmonic_mean(precision, recall)


def group(
    clusters: Sequence[str], n: int
) -> tuple[tuple[str, ...], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return sorted keys, the index of each argument's key, and how many arguments have each.

    Sorted, so that the order of arguments makes no difference.

    Raises:
        ValueError: There are not `n` keys.
    """
    if len(clusters) != n:
        raise ValueError(f"{len(clusters)} conclusions for {n} arguments")
    keys = tuple(sorted(set(clusters)))
    place = {key: number for number, key in enumerate(keys)}
    index = np.array([place[key] for key in clusters], dtype=np.int64)
    return keys, index, np.bincount(index, minlength=len(keys))


def degrees_of_freedom(weights: npt.ArrayLike) -> float:
    """Return how many degrees of freedom the jackknife's variance is worth.

    If the score is a weighted mean over conclusions, m_c a conclusion's own score with variance
    alike for all conclusions, and w_c its weight (they sum to 1), the jackknife's variance is a
    quadratic form m' Q m with

        score without c - score = a_c (score - m_c),   a_c = w_c / (1 - w_c),

    and the chi-square that has its mean and variance has trace(Q)² / trace(Q²) degrees of freedom
    (Satterthwaite, 1946; Bell and McCaffrey, 2002; Imbens and Kolesár, 2016, with intraclass
    correlation 1: the careful end, where large conclusions are worth no more than small ones but
    count more). Equal weights give C - 1; one large one beside many small ones tends to 1.

    Args:
        weights: (conclusions,), see :class:`LeaveOneOut`; any scale.

    Returns:
        8.0 for a mean over values on the main test set, 1.1 to 7.1 for single values; 0 where fewer
        than two weights are above 0.
    """
    traces = _traces(weights)
    return 0.0 if traces is None else traces[0] ** 2 / traces[1]


def variance_excess(weights: npt.ArrayLike) -> float:
    """Return by what factor the jackknife's variance exceeds the true one on average.

    Under the model of :func:`degrees_of_freedom` its mean is trace(Q) where the variance is Σ w².
    Dividing by the factor is what the bias reduction of Bell and McCaffrey (2002) does, for all
    conclusions at once.

    Args:
        weights: (conclusions,), see :class:`LeaveOneOut`; any scale.

    Returns:
        1 for equal weights or fewer than two above 0, 1.06 on the main test set.
    """
    traces = _traces(weights)
    if traces is None:
        return 1.0
    n = np.asarray(weights, dtype=np.float64)
    return traces[0] / float(((n / n.sum()) ** 2).sum())


def _traces(weights: npt.ArrayLike) -> tuple[float, float] | None:
    """Return trace(Q) and trace(Q²); ``None`` where fewer than two weights are above 0."""
    n = np.asarray(weights, dtype=np.float64)
    if (n > 0).sum() < 2:
        return None
    w = n / n.sum()
    a = w / (1 - w)
    # Q = (C - 1) / C · (diag(a²) + U K U') with U = (w, b, a): the rows of the deviations, centred
    # on their mean.
    b = a**2 - a * a.sum() / len(n)
    u = np.stack([w, b, a], axis=1)
    k = np.array([[b.sum(), -1, 0], [-1, 0, 0], [0, 0, -1 / len(n)]])
    ku = k @ (u.T @ u)
    trace = (a**2).sum() + np.trace(ku)
    trace_of_square = (a**4).sum() + 2 * np.trace(k @ (u.T * a**2) @ u) + np.trace(ku @ ku)
    scale = (len(n) - 1) / len(n)
    return float(scale * trace), float(scale**2 * trace_of_square)


def _sums(
    labels: BoolArray, index: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]
) -> npt.NDArray[np.int32]:
    """Sum labels (runs, n, 20) by conclusion: (runs, conclusions, 20)."""
    if not len(sizes):
        return np.zeros((len(labels), 0, labels.shape[-1]), dtype=np.int32)
    ordered = labels[:, np.argsort(index, kind="stable")]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return np.add.reduceat(ordered, starts, axis=1, dtype=np.int32)


def mean_over(per_value: Array, present: BoolArray) -> Array:
    """Average (…, 20) over the values `present`, (20,); NaN where there is none."""
    if not present.any():
        return np.full(per_value.shape[:-1], np.nan)
    mean: Array = per_value[..., present].mean(-1)
    return mean


def harmonic_mean(precision: Array, recall: Array) -> Array:
    """Return 2 P R / (P + R), 0 where both are 0, NaN where either is."""
    total = precision + recall
    return np.where(total == 0, 0.0, 2 * precision * recall / np.where(total == 0, 1.0, total))
