"""Compares two systems on the same arguments: differences, intervals, p-values, influence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from valueeval.leaderboard.reading.predictions import Predictions
from valueeval.tasks.scores.average_precision import leave_one_out_ap
from valueeval.tasks.scores.differences import Difference, difference, holm
from valueeval.tasks.scores.influence import Influence, influence
from valueeval.tasks.scores.intervals import LEVEL, contrast, difference_bounds
from valueeval.tasks.scores.jackknife import LeaveOneOut, leave_one_out
from valueeval.tasks.values import VALUE_SLUGS

METRICS = ("macro_f1", "official_f1", "macro_ap")


@dataclass(frozen=True)
class Compared:
    """One score of A and of B.

    Attributes:
        metric: ``macro_f1``, ``official_f1``, ``macro_ap`` or ``f1_<slug>``.
        a, b: The score of each seed.
        difference: Mean of B less mean of A, with the interval and the p of this comparison alone.
        together: The interval that holds at 95 % for all comparisons of the family at once
            (Bonferroni); that of `difference` where the family has one member.
        p_holm: The p, corrected by Holm for the number of comparisons in the family.
    """

    metric: str
    a: tuple[float, ...]
    b: tuple[float, ...]
    difference: Difference
    together: tuple[float, float] | None
    p_holm: float | None

    @property
    def mean_a(self) -> float:
        """Mean over the seeds of A."""
        return float(np.mean(self.a))

    @property
    def mean_b(self) -> float:
        """Mean over the seeds of B."""
        return float(np.mean(self.b))

    @property
    def told_apart(self) -> bool:
        """Return True if A and B differ at 5 % after the correction for the family."""
        return self.p_holm is not None and self.p_holm < 1 - LEVEL


@dataclass(frozen=True)
class Comparison:
    """A and B on one task.

    Attributes:
        conclusions: The number of conclusions.
        overall: The scores of `METRICS`; macro_ap where every run of both has scores. Each is a
            question of its own, so these are not corrected for one another.
        values: F1 of each value that has a positive, one family.
        influence: What single conclusions do to the difference in macro_f1.
    """

    conclusions: int
    overall: tuple[Compared, ...]
    values: tuple[Compared, ...]
    influence: Influence | None


def compare(a: Sequence[Predictions], b: Sequence[Predictions]) -> Comparison:
    """Compare the runs (seeds) of A and of B, which were scored on the same arguments."""
    first = a[0]
    left = {
        metric: found
        for metric in METRICS
        if (found := leave_conclusions_out(a, b, metric)) is not None
    }
    of_a, of_b = range(len(a)), range(len(a), len(a) + len(b))
    present = np.flatnonzero(first.truth.any(axis=0))
    values = [f"f1_{VALUE_SLUGS[value]}" for value in present]
    of_values = [(name, _leave_out(a, b, name), len(a)) for name in values]
    return Comparison(
        conclusions=len(left["macro_f1"].keys),
        overall=tuple(family([(name, left[name], len(a))])[0] for name in left),
        values=tuple(family(of_values)),
        influence=influence(left["macro_f1"], of_b, of_a),
    )


def leave_conclusions_out(
    a: Sequence[Predictions], b: Sequence[Predictions], metric: str
) -> LeaveOneOut | None:
    """Score the runs of A, then those of B, whole and without each conclusion.

    Returns:
        ``None`` for macro_ap where a run has no scores.
    """
    if metric != "macro_ap":
        return _leave_out(a, b, metric)
    scores = [run.scores for run in (*a, *b) if run.scores is not None]
    if len(scores) < len(a) + len(b):
        return None
    return leave_one_out_ap(a[0].truth, scores, a[0].clusters)


def _leave_out(a: Sequence[Predictions], b: Sequence[Predictions], metric: str) -> LeaveOneOut:
    decided = [run.prediction for run in (*a, *b)]
    return leave_one_out(a[0].truth, decided, a[0].clusters, metric)


def family(members: Sequence[tuple[str, LeaveOneOut, int]]) -> list[Compared]:
    """Compare A and B for each member of a family, corrected for their number.

    Args:
        members: Metric, its leave-one-out scores, and how many of the runs are A's; the rest are
            B's.
    """
    differences = [
        difference(left, range(of_a), range(of_a, len(left.value))) for _, left, of_a in members
    ]
    tested = [each.p for each in differences if each.p is not None]
    corrected = iter(holm(tested))
    return [
        Compared(
            metric,
            tuple(map(float, left.value[:of_a])),
            tuple(map(float, left.value[of_a:])),
            found,
            _together(left, of_a, len(tested)),
            None if found.p is None else next(corrected),
        )
        for (metric, left, of_a), found in zip(members, differences, strict=True)
    ]


def _together(left: LeaveOneOut, of_a: int, members: int) -> tuple[float, float] | None:
    value, spread = contrast(left, [(1.0, range(of_a, len(left.value))), (-1.0, range(of_a))])
    if spread is None or not np.isfinite(value):
        return None
    return difference_bounds(value, spread, members)
