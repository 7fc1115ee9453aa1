"""The scores of the shared task, their intervals, and their form as lm-eval metrics.

Truth and prediction have shape (arguments, 20), columns in the order of ``VALUES``. Values with no
positive in truth are left out of every mean over values. What cannot be computed is ``None``, never
NaN, so that everything here can be written as strict JSON.

Sources: ``official_f1`` is the ranking score of SemEval-2023 Task 4 (Kiesel et al., 2023), the
harmonic mean of macro-precision and macro-recall; ``macro_f1`` is the mean of the per-value F1
(:mod:`valueeval.tasks.scores.f1`); ``macro_ap`` is the mean average precision
(:mod:`valueeval.tasks.scores.average_precision`). Intervals are over conclusions, since arguments
that share one are not independent (:mod:`valueeval.tasks.scores.intervals`).
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.scores.average_precision import macro_ap
from valueeval.tasks.scores.f1 import Counts, f1_per_value, means
from valueeval.tasks.scores.intervals import LEVEL, Interval, interval
from valueeval.tasks.scores.jackknife import leave_one_out
from valueeval.tasks.values import VALUE_SLUGS

BoolArray = npt.NDArray[np.bool_]

_N_VALUES = len(VALUE_SLUGS)
_POINTS = ("macro_f1", "official_f1")
_INTERVALS = ("stderr", "ci_low", "ci_high")
_F1_METRICS = tuple(f"f1_{slug}" for slug in VALUE_SLUGS)

METRICS: tuple[str, ...] = (
    *(name for point in _POINTS for name in (point, *(f"{point}_{part}" for part in _INTERVALS))),
    "macro_ap",
    "micro_f1",
    "macro_precision",
    "macro_recall",
    "subset_accuracy",
    "predicted_rate",
    "unparsed",
    "answer_mass",
    *_F1_METRICS,
)
"""Every metric that a task reports, in the order of its table."""


@dataclass(frozen=True)
class Intervals:
    """Intervals of the two F1 scores.

    Attributes:
        macro_f1: The interval of the mean per-value F1.
        official_f1: The interval of the shared task's score.
        units: The number of conclusions, or arguments, that they rest on.
        level: Nominal coverage of ``ci_low`` to ``ci_high``.
    """

    macro_f1: Interval
    official_f1: Interval
    units: int
    level: float


# ------------------------------------------------------------------------------- point scores


def per_value_counts(truth: npt.ArrayLike, prediction: npt.ArrayLike) -> Counts:
    """Count hits, predictions and positives of each value over all arguments.

    Args:
        truth: (n, 20), bool or 0/1.
        prediction: (n, 20), bool or 0/1.

    Returns:
        tp, predicted, actual: each (20,) int.

    Raises:
        ValueError: Shapes differ, or are not (n, 20), or something is neither 0 nor 1.
    """
    t, p = _as_labels(truth, prediction)
    return Counts((t & p).sum(0), p.sum(0), t.sum(0))


def score(
    truth: npt.ArrayLike, prediction: npt.ArrayLike, unparsed: npt.ArrayLike | None = None
) -> dict[str, float | None]:
    """Score one run.

    Args:
        truth: (n, 20), bool or 0/1.
        prediction: (n, 20), bool or 0/1.
        unparsed: (n,), share of each argument's answers that could not be read.

    Returns:
        ``official_f1``, ``macro_f1``, ``micro_f1``, ``macro_precision``, ``macro_recall``,
        ``subset_accuracy``, ``predicted_rate`` (share of the 20 n decisions that are positive),
        ``f1_<slug>`` for each value, ``unparsed``; each in [0, 1] or ``None``:
        ``f1_<slug>`` of a value with no positive in truth, every F1, precision and recall if no
        value has one, everything if there is no argument, ``unparsed`` if it was not given.
        ``micro_f1`` pools the decisions of all 20 values, and ``subset_accuracy`` asks for all 20
        to be right: neither is a mean over values, so they leave none out.

    Raises:
        ValueError: Shapes differ, or are not (n, 20), or something is neither 0 nor 1.
    """
    t, p = _as_labels(truth, prediction)
    counts = per_value_counts(t, p)
    macro = means(counts)
    any_positive = bool(counts.actual.any())
    micro = 2 * counts.tp.sum() / (counts.predicted + counts.actual).sum() if any_positive else None
    f1 = np.where(counts.actual > 0, f1_per_value(counts), np.nan)
    return {
        "official_f1": _or_none(macro.official_f1),
        "macro_f1": _or_none(macro.macro_f1),
        "micro_f1": _or_none(micro),
        "macro_precision": _or_none(macro.macro_precision),
        "macro_recall": _or_none(macro.macro_recall),
        "subset_accuracy": _or_none((t == p).all(1).mean() if len(t) else None),
        "predicted_rate": _or_none(p.mean() if len(t) else None),
        **{name: _or_none(value) for name, value in zip(_F1_METRICS, f1, strict=True)},
        "unparsed": _mean_or_none(unparsed),
    }


# --------------------------------------------------------------------------------- intervals


def intervals(
    truth: npt.ArrayLike, prediction: npt.ArrayLike, clusters: Sequence[Hashable] | None = None
) -> Intervals:
    """Return standard errors and 95 % intervals of ``macro_f1`` and ``official_f1``.

    Args:
        truth: (n, 20).
        prediction: (n, 20).
        clusters: The key of each argument's conclusion; ``None``: as if arguments were independent,
            which is too narrow for this data.

    Returns:
        ``None`` in an interval where nothing is positive in truth, or where there are too few
        units (``intervals.enough_conclusions``) to say how scores vary between them.

    Raises:
        ValueError: Shapes do not fit.
    """
    t, p = _as_labels(truth, prediction)
    keys = [str(cluster) for cluster in (range(len(t)) if clusters is None else clusters)]
    macro, official = (interval(leave_one_out(t, [p], keys, name), [0]) for name in _POINTS)
    return Intervals(macro, official, len(set(keys)), LEVEL)


# --------------------------------------------------------------------- as metrics of lm-eval


def metric_entries(
    *,
    id: str,
    conclusion: str,
    labels: Sequence[int | bool],
    prediction: Sequence[int | bool],
    scores: Sequence[float] | None,
    unparsed: float,
    answer_mass: float | None = None,
) -> dict[str, Any]:
    """Return what one argument contributes to each metric: ``process_results`` of every task.

    Args:
        id: The argument's id.
        conclusion: Its conclusion; intervals are over conclusions.
        labels: 20, each 0 or 1.
        prediction: 20, each 0 or 1.
        scores: 20 differences of log-likelihoods (predicted where > 0); ``None`` for parsed text.
        unparsed: The share of its answers that could not be read, in [0, 1].
        answer_mass: The probability of saying one of the answers that are scored; ``None`` for
            text that was parsed, and for classifiers.

    Returns:
        Metric → entry, in the order of :data:`METRICS`. ``macro_f1`` holds all in plain form;
        ``f1_<slug>`` is ``"TP"``, ``"FP"``, ``"FN"`` or ``"TN"``; ``unparsed`` and ``answer_mass``
        are the numbers; the rest a short string (cluster key, labels and prediction as hexadecimal
        bits, first value leftmost; for ``macro_ap`` also the scores in base64), so that a sample
        stays small.
    """
    truth = [int(x) for x in labels]
    predicted = [int(x) for x in prediction]
    compact = f"{conclusion_key(conclusion)}:{_to_hex(truth)}:{_to_hex(predicted)}"
    entries: dict[str, Any] = dict.fromkeys(METRICS, compact)
    entries["macro_ap"] = f"{_to_hex(truth)}:{'' if scores is None else _to_base64(scores)}"
    entries["macro_f1"] = {
        "id": id,
        "labels": truth,
        "prediction": predicted,
        "scores": None if scores is None else [float(x) for x in scores],
        "unparsed": float(unparsed),
    }
    entries["unparsed"] = float(unparsed)
    entries["answer_mass"] = answer_mass
    for name, t, p in zip(_F1_METRICS, truth, predicted, strict=True):
        entries[name] = ("T" if t == p else "F") + ("P" if p else "N")
    return entries


def _from_compact(entries: Sequence[str]) -> tuple[list[str], BoolArray, BoolArray]:
    """Return keys of conclusions, truth and prediction from compact entries."""
    keys, labels, predictions = zip(*(entry.split(":") for entry in entries), strict=True)
    return list(keys), _from_hex(labels), _from_hex(predictions)


@lru_cache(maxsize=16)
def _score_compact(entries: tuple[str, ...]) -> dict[str, float | None]:
    _, truth, prediction = _from_compact(entries)
    return score(truth, prediction)


@lru_cache(maxsize=16)
def _intervals_compact(entries: tuple[str, ...]) -> Intervals:
    keys, truth, prediction = _from_compact(entries)
    return intervals(truth, prediction, clusters=keys)


def _aggregate_macro_f1(entries: Sequence[dict[str, Any]]) -> float | None:
    return score([e["labels"] for e in entries], [e["prediction"] for e in entries])["macro_f1"]


def _aggregate_score(metric: str, entries: Sequence[str]) -> float | None:
    return _score_compact(tuple(sorted(entries)))[metric]


def _aggregate_interval(point: str, part: str, entries: Sequence[str]) -> float | str | None:
    """Return one bound or standard error; all six are computed once (memoised on content)."""
    interval = getattr(_intervals_compact(tuple(sorted(entries))), point)
    value: float | None = getattr(interval, part)
    # lm-eval formats the stderr column as a number unless it is its own word for «none».
    return "N/A" if value is None and part == "stderr" else value


def _aggregate_macro_ap(entries: Sequence[str]) -> float | None:
    """``None`` unless every argument has scores."""
    labels, scores = zip(*(entry.split(":") for entry in entries), strict=True)
    return macro_ap(_from_hex(labels), _from_base64(scores)) if all(scores) else None


def _aggregate_answer_mass(entries: Sequence[float | None]) -> float | None:
    """``None`` unless every argument has one."""
    known = [entry for entry in entries if entry is not None]
    return _mean_or_none(known) if len(known) == len(entries) else None


def _aggregate_f1(entries: Sequence[str]) -> float | None:
    tp, fp, fn = (sum(entry == kind for entry in entries) for kind in ("TP", "FP", "FN"))
    return 2 * tp / (2 * tp + fp + fn) if tp + fn else None


def _mean_or_none(values: npt.ArrayLike | None) -> float | None:
    array = np.asarray([] if values is None else values, dtype=np.float64)
    return float(array.mean()) if array.size else None


AGGREGATIONS: dict[str, Callable[[list[Any]], Any]] = {
    "macro_f1": _aggregate_macro_f1,
    **{
        f"{point}_{part}": partial(_aggregate_interval, point, part)
        for point in _POINTS
        for part in _INTERVALS
    },
    **{
        name: partial(_aggregate_score, name)
        for name in (
            "official_f1",
            "micro_f1",
            "macro_precision",
            "macro_recall",
            "subset_accuracy",
            "predicted_rate",
        )
    },
    "macro_ap": _aggregate_macro_ap,
    "unparsed": _mean_or_none,
    "answer_mass": _aggregate_answer_mass,
    **dict.fromkeys(_F1_METRICS, _aggregate_f1),
}
"""Metric → aggregation over the entries of :func:`metric_entries`: a number, or ``None`` where it
is undefined (the two ``…_stderr``: lm-eval's ``"N/A"``). The order of entries does not matter."""


# ----------------------------------------------------------------------------------- helpers


def _as_labels(truth: npt.ArrayLike, prediction: npt.ArrayLike) -> tuple[BoolArray, BoolArray]:
    """Return both as bool arrays of one shape (n, 20)."""
    arrays = []
    for name, given in (("truth", truth), ("prediction", prediction)):
        array = np.asarray(given)
        if array.size == 0:
            array = np.zeros((0, _N_VALUES), dtype=bool)
        if array.ndim != 2 or array.shape[1] != _N_VALUES:
            raise ValueError(f"{name}: shape (arguments, {_N_VALUES}) expected, got {array.shape}")
        if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
            raise ValueError(f"{name}: only 0 and 1 are allowed")
        arrays.append(array.astype(np.bool_))
    t, p = arrays
    if t.shape != p.shape:
        raise ValueError(f"truth has {len(t)} arguments, prediction {len(p)}")
    return t, p


def _or_none(value: Any) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _to_hex(bits: Sequence[int]) -> str:
    return f"{int(''.join(map(str, bits)), 2):05x}"


def _from_hex(words: Sequence[str]) -> BoolArray:
    """(n, 20) from n words of five hexadecimal digits, the first value leftmost."""
    numbers = np.array([int(word, 16) for word in words])
    bits: BoolArray = (numbers[:, None] >> np.arange(_N_VALUES - 1, -1, -1)) & 1 == 1
    return bits


def _to_base64(scores: Sequence[float]) -> str:
    """Return 20 scores without loss: float64, little-endian."""
    return base64.b64encode(np.asarray(scores, dtype="<f8").tobytes()).decode()


def _from_base64(words: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return the scores of n arguments, (n, 20)."""
    packed = b"".join(base64.b64decode(word) for word in words)
    return np.frombuffer(packed, dtype="<f8").reshape(len(words), _N_VALUES)
