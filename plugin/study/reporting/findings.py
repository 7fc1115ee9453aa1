"""Tests the hypotheses of a study: difference, interval over its family, corrected p, verdict.

The two sides of a hypothesis are cells. Where they differ in other factors than those that the
hypothesis names (two bases, each trained by three methods), like is compared with like: the
difference is the mean over what both sides have in common, and only seeds are repetitions. A cell
that several blocks list is one run.

A family is corrected for all hypotheses that the file names, measured or not: a study that is read
half-way tests no fewer. A hypothesis is tested when every cell of both sides is finished.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from valueeval.leaderboard.inference.comparison import leave_conclusions_out
from valueeval.leaderboard.reading.predictions import Predictions
from valueeval.study.cells import Cell
from valueeval.study.design import CellDesign, Hypothesis, Study
from valueeval.study.reporting.measured import Measured
from valueeval.tasks.scores.differences import holm
from valueeval.tasks.scores.intervals import LEVEL, Spread, contrast, difference_bounds


class Verdict(Enum):
    """What the cells say of a claim."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    OPEN = "open"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Finding:
    """A hypothesis and what was measured.

    Attributes:
        hypothesis: The claim.
        cells: How many cells it is about, both sides together.
        done: How many of them are finished.
        better, than: Mean score of each side; None until all of its cells are finished.
        difference: Of the side that is claimed to be better, less the other.
        low, high: The interval that holds at 95 % for all hypotheses of the family at once
            (Bonferroni).
        p: Two-sided, corrected by Holm (1979) for the number of hypotheses in the family.
        strata: How many pairs of configurations the difference is the mean of.
        reason: Why nothing is tested; empty if something is.
    """

    hypothesis: Hypothesis
    cells: int
    done: int
    better: float | None = None
    than: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    strata: int = 0
    reason: str = ""

    @property
    def verdict(self) -> Verdict:
        """What may be said of the claim at 5 %."""
        if self.difference is None:
            return Verdict.NOT_MEASURED
        if self.p is None or self.p >= 1 - LEVEL:
            return Verdict.OPEN
        return Verdict.SUPPORTED if self.difference > 0 else Verdict.CONTRADICTED


@dataclass(frozen=True)
class _Contrast:
    better: float
    than: float
    value: float
    spread: Spread | None
    strata: int


def check_hypotheses(
    study: Study, cells: Sequence[Cell], measured: Mapping[str, Measured]
) -> list[Finding]:
    """Return a finding for each hypothesis, in the order of the file.

    Args:
        study: The study.
        cells: All of its cells, with their addresses.
        measured: The finished ones by key.
    """
    keys = {id(cell.design): cell.key for cell in cells}
    findings: dict[int, Finding] = {}
    for family in dict.fromkeys(hypothesis.family for hypothesis in study.hypotheses):
        members = [each for each in study.hypotheses if each.family == family]
        for each in zip(members, _test_family(study, members, keys, measured), strict=True):
            findings[id(each[0])] = each[1]
    return [findings[id(hypothesis)] for hypothesis in study.hypotheses]


def _test_family(
    study: Study,
    members: Sequence[Hypothesis],
    keys: Mapping[int, str],
    measured: Mapping[str, Measured],
) -> list[Finding]:
    contrasts: list[_Contrast | None] = []
    findings = []
    for hypothesis in members:
        strata = [
            (_unique(better, keys), _unique(than, keys))
            for better, than in study.strata(hypothesis)
        ]
        cells = [key for pair in strata for side in pair for key in side]
        found = Finding(hypothesis, len(cells), sum(key in measured for key in cells))
        each = _contrast(hypothesis.metric, strata, measured) if found.done == found.cells else None
        if isinstance(each, str):
            found, each = replace(found, reason=each), None
        contrasts.append(each)
        findings.append(found)
    return [
        found if each is None else _with_contrast(found, each, p, len(members))
        for found, each, p in zip(findings, contrasts, _corrected(contrasts), strict=True)
    ]


def _unique(side: Sequence[CellDesign], keys: Mapping[int, str]) -> list[str]:
    """Return the keys of some cells, each once."""
    return list(dict.fromkeys(keys[id(cell)] for cell in side))


def _contrast(
    metric: str,
    strata: Sequence[tuple[Sequence[str], Sequence[str]]],
    measured: Mapping[str, Measured],
) -> _Contrast | str:
    """Return the difference, or why there is none."""
    runs: list[Predictions] = []
    weighted: list[tuple[float, range]] = []
    for pair in strata:
        for sign, side in zip((1.0, -1.0), pair, strict=True):
            weighted.append((sign / len(strata), range(len(runs), len(runs) + len(side))))
            runs += [measured[key].predictions for key in side]
    left = leave_conclusions_out(runs, [], metric)
    if left is None:
        return f"not every cell has scores, which {metric} needs"
    better, than = (
        sum(abs(weight) * float(left.value[list(at)].mean()) for weight, at in weighted[side::2])
        for side in (0, 1)
    )
    value, spread = contrast(left, weighted)
    return _Contrast(better, than, value, spread, len(strata))


def _corrected(contrasts: Sequence[_Contrast | None]) -> list[float | None]:
    """Return Holm's p of each; what is not measured counts as p = 1."""
    raw = [
        1.0 if each is None or each.spread is None else each.spread.p(each.value)
        for each in contrasts
    ]
    return [
        None if each is None or each.spread is None else p
        for each, p in zip(contrasts, holm(raw), strict=True)
    ]


def _with_contrast(found: Finding, each: _Contrast, p: float | None, members: int) -> Finding:
    low = high = None
    if each.spread is not None:
        low, high = difference_bounds(each.value, each.spread, members)
    return replace(
        found, better=each.better, than=each.than, difference=each.value,
        low=low, high=high, p=p, strata=each.strata,
    )  # fmt: skip
