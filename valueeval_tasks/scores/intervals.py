"""Intervals of a score and of a difference, by t and a standard error.

The variance of a mean over seeds has two parts, added up:

- conclusions: the jackknife's variance of the mean (:mod:`valueeval.tasks.scores.jackknife`), with
  the degrees of freedom that the sizes of the conclusions leave;
- seeds: s² / K for K seeds, with K - 1 degrees of freedom; a single run has no such part, and its
  interval is about this run, not about other trainings. What seeds do on single conclusions counts
  in both parts, which errs on the careful side: with it taken off, as the intersection is in
  two-way clustering (Cameron, Gelbach and Miller, 2011), some of 26 equal systems with three seeds
  was excluded in 10.7 % of the simulated tables of one world.

The sum's degrees of freedom are Satterthwaite's (1946), as in Welch's test. An interval is never
narrower than what the seeds alone give (t over the seeds): two or three seeds can agree by chance.

- A difference has the interval value ± t · SE, with what the jackknife's variance is too large by
  taken off (:func:`valueeval.tasks.scores.jackknife.variance_excess`). Test and interval agree,
  since both are made of the same statistic: p < 0.05 exactly where the 95 % interval leaves out 0.
- A score has an interval that is symmetric on the scale of 1 / score, where F1 is the mean of
  1 / precision and 1 / recall. A set that happens to hold few of the conclusions that a system does
  well on gives a score that is too low together with a standard error that is too small
  (correlation 0.3 to 0.5 on real conclusions), so an interval must reach further up than down, and
  the jackknife's variance is left as it is. A difference has no such direction. Where t · SE is
  more than half the score, which happens to very low scores, both ends stay in proportion to it.

What an interval is meant to cover is the expected score on a test set made like this one: as many
conclusions with as many arguments each (a test set's macro_f1 is biased for «F1 over infinitely
many conclusions», and correcting that bias does not reduce the error). How often it does, what each
choice is worth, and where it does not suffice, is in ``benchmarks/interval_coverage.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from valueeval.tasks.scores.jackknife import Array, LeaveOneOut

LEVEL = 0.95
MIN_DF = 5
"""With fewer degrees of freedom no interval is given."""

MAX_SKEW = 0.5
"""Reach by score up to which the interval of a score is symmetric about 1 / score."""

_ROUNDING = 1e-12  # differences below are of arithmetic, not of systems


@dataclass(frozen=True)
class Interval:
    """A score with its uncertainty, in the score's unit (0 to 1); ``None`` where undefined."""

    estimate: float | None
    stderr: float | None
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True)
class Spread:
    """The sources of variation of a contrast of runs.

    Attributes:
        conclusions: Variance over conclusions, with `df_conclusions` degrees of freedom.
        seeds: Variance over seeds, with `df_seeds` degrees of freedom (0 where there are none).
    """

    conclusions: float
    df_conclusions: float
    seeds: float
    df_seeds: float

    @property
    def stderr(self) -> float:
        """The standard error over both."""
        return float(np.sqrt(self.conclusions + self.seeds))

    @property
    def df(self) -> float:
        """Satterthwaite's degrees of freedom of `stderr`."""
        if self.seeds == 0:
            return self.df_conclusions
        square = self.conclusions**2 / self.df_conclusions + self.seeds**2 / self.df_seeds
        return (self.conclusions + self.seeds) ** 2 / square

    def reach(self, level: float = LEVEL) -> float:
        """Return half the width of the interval."""
        reach = _quantile(level, self.df) * self.stderr
        if self.seeds > 0:
            reach = max(reach, _quantile(level, self.df_seeds) * float(np.sqrt(self.seeds)))
        return reach

    def p(self, value: float) -> float:
        """Return the two-sided p of `value` against 0."""
        p = _tail(value, self.stderr, self.df)
        if self.seeds > 0:
            p = max(p, _tail(value, float(np.sqrt(self.seeds)), self.df_seeds))
        return p


def interval(left: LeaveOneOut, runs: Sequence[int]) -> Interval:
    """Return a system's score, the mean over its seeds, with its 95 % interval within [0, 1].

    Args:
        left: The score of all runs.
        runs: Which of them are the system's seeds.

    Returns:
        The score alone where there are too few conclusions.
    """
    value, spread = contrast(left, [(1.0, runs)])
    if np.isnan(value):
        return Interval(None, None, None, None)
    if spread is None:
        return Interval(value, None, None, None)
    return Interval(value, spread.stderr, *score_bounds(value, spread.reach()))


def score_bounds(value: float, reach: float) -> tuple[float, float]:
    """Return the ends of a score's interval: symmetric about 1 / score, within [0, 1].

    On that scale an interval reaches reach / (1 + skew) down and reach / (1 - skew) up, where skew
    is reach / score. It has no upper end where the reach is as large as the score. So the skew
    stops at a half: from there on both ends move in proportion to the reach, 2/3 of it down and
    twice as far up.

    Args:
        value: The score, in [0, 1].
        reach: t · standard error of the score.
    """
    skew = min(reach / value, MAX_SKEW) if value > 0 else 0.0
    return max(value - reach / (1 + skew), 0.0), min(value + reach / (1 - skew), 1.0)


def difference_bounds(value: float, spread: Spread, comparisons: int = 1) -> tuple[float, float]:
    """Return the ends of a difference's interval, within [-1, 1].

    Args:
        value: The difference.
        spread: What it varies by.
        comparisons: Number of comparisons for which the intervals hold at 95 % together
            (Bonferroni).
    """
    reach = spread.reach(1 - (1 - LEVEL) / comparisons)
    return max(value - reach, -1.0), min(value + reach, 1.0)


def contrast(
    left: LeaveOneOut,
    sides: Sequence[tuple[float, Sequence[int]]],
    even_if_few: bool = False,
) -> tuple[float, Spread | None]:
    """Return a weighted sum of systems' scores and what it varies by.

    A sum whose weights sum to 0 is a difference.

    Args:
        left: The score of all runs.
        sides: Weight and runs (seeds) of each system.
        even_if_few: Whether to give a spread with few conclusions, down to two.

    Returns:
        ``None`` for the spread where there are too few conclusions or the score is undefined
        without one of them.
    """
    value, without, seeds, df_seeds_inverse = 0.0, np.zeros(len(left.keys)), 0.0, 0.0
    for weight, runs in sides:
        scores = left.value[list(runs)]
        value += weight * float(scores.mean())
        without = without + weight * left.without[list(runs)].mean(0)
        if len(runs) > 1:
            variance = weight**2 * seed_variance(scores)
            seeds += variance
            df_seeds_inverse += variance**2 / (len(runs) - 1)
    enough = enough_conclusions(left) or (even_if_few and len(left.keys) > 1)
    if not enough or not np.isfinite(without).all():
        return value, None
    df_seeds = seeds**2 / df_seeds_inverse if seeds > 0 else 0.0
    conclusions = float((deviations(without) ** 2).sum())
    if sum(weight for weight, _ in sides) == 0:
        conclusions /= left.variance_excess
    return value, Spread(conclusions, left.degrees_of_freedom, seeds, df_seeds)


def enough_conclusions(left: LeaveOneOut) -> bool:
    """Return whether conclusions are enough for an interval: whether they leave ``MIN_DF``.

    That takes six conclusions at least, and more where some are larger than others. With fewer
    degrees of freedom simulated intervals still cover, but often cannot even say that a classifier
    beats predicting every value (``benchmarks/interval_coverage.md``, «Few conclusions»).
    """
    return left.degrees_of_freedom > MIN_DF - 1e-9  # six equal conclusions leave 5 but for rounding


def deviations(without: Array) -> Array:
    """Return the parts whose squares sum to the jackknife's variance, (…, conclusions)."""
    n = without.shape[-1]
    parts = np.sqrt((n - 1) / n) * (without - without.mean(-1, keepdims=True))
    return np.where(np.abs(parts) < _ROUNDING, 0.0, parts)


def seed_variance(scores: Array) -> float:
    """Return the variance of the mean over seeds; 0 for a single run."""
    if len(scores) < 2 or np.ptp(scores) < _ROUNDING:
        return 0.0
    return float(scores.var(ddof=1)) / len(scores)


def _quantile(level: float, df: float) -> float:
    return float(stdtrit(df, (1 + level) / 2))


def _tail(value: float, stderr: float, df: float) -> float:
    """Two-sided p of a t statistic; no difference at all is no evidence (p = 1)."""
    if abs(value) < _ROUNDING:
        return 1.0
    return 2 * float(stdtr(df, -abs(value) / stderr)) if stderr > 0 else 0.0
