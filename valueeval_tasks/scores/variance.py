"""How much scores vary with each factor of a design: components of variance.

The model has random main effects: score = mean + effect of each factor's level + rest, where the
rest holds seeds and whatever factors do together. In a balanced design (every combination of levels
equally often) a factor with ``a`` levels, each in ``m`` scores, has the mean square

    MS = m · variance of the level means,   a - 1 degrees of freedom,

with expectation σ²(rest) + m · σ²(factor), so σ²(factor) = (MS - MS(rest)) / m. Intervals are those
of Ting, Burdick, Graybill, Jeyaratnam and Lu (1990), «Confidence intervals on linear combinations
of variance components that are unrestricted in sign»; that of the rest is the one by χ². All scores
are of one test set, so its own uncertainty is no part of any component.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2, f

from valueeval.tasks.scores.intervals import LEVEL

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Component:
    """How much scores vary with a factor, in the unit of the score.

    Attributes:
        factor: Its name; ``""`` for the rest.
        levels: How many levels were tried; for the rest, its degrees of freedom.
        sd: Standard deviation of the effects; 0 where the levels differ no more than the rest.
        low, high: Its 95 % interval.
    """

    factor: str
    levels: int
    sd: float
    low: float
    high: float


def variance_components(
    levels: Mapping[str, Sequence[Hashable]], scores: npt.ArrayLike
) -> list[Component] | None:
    """Return a component for each factor, in order, and one for the rest.

    Args:
        levels: For each factor with at least two levels, the level of each score.
        scores: (n,).

    Returns:
        ``None`` where the design is not balanced or nothing is left for the rest.
    """
    values = np.asarray(scores, dtype=np.float64)
    if not _balanced(levels, len(values)):
        return None
    squares: dict[str, tuple[float, int]] = {}
    for name, of in levels.items():
        means = _level_means(of, values)
        repeats = len(values) // len(means)
        squares[name] = (repeats * float(means.var(ddof=1)), len(means) - 1)
    df = len(values) - 1 - sum(each for _, each in squares.values())
    if df < 1:
        return None
    total = float(((values - values.mean()) ** 2).sum())
    rest = max(total - sum(square * each for square, each in squares.values()), 0.0) / df
    found = [
        _component(name, square, own, rest, df, len(values) // (own + 1))
        for name, (square, own) in squares.items()
    ]
    low, high = (rest * df / chi2.ppf(q, df) for q in ((1 + LEVEL) / 2, (1 - LEVEL) / 2))
    return [*found, Component("", df, *(float(np.sqrt(v)) for v in (rest, low, high)))]


def _balanced(levels: Mapping[str, Sequence[Hashable]], n: int) -> bool:
    combinations = list(zip(*levels.values(), strict=True)) if levels else [()] * n
    counts = {each: combinations.count(each) for each in set(combinations)}
    possible = int(np.prod([len(set(of)) for of in levels.values()])) if levels else 1
    return len(counts) == possible and len(set(counts.values())) == 1


def _level_means(of: Sequence[Hashable], values: Array) -> Array:
    return np.array(
        [np.mean([v for v, own in zip(values, of, strict=True) if own == level])
         for level in dict.fromkeys(of)]
    )  # fmt: skip


def _component(
    name: str, square: float, df: int, rest: float, df_rest: int, repeats: int
) -> Component:
    """Return (MS - MS(rest)) / repeats with the interval of Ting et al. (1990), eq. 2.3 and 2.4."""
    tail = (1 - LEVEL) / 2

    def upper(df: int) -> float:  # 1 - 1 / F(1 - tail; df, ∞)
        return 1 - df / float(chi2.ppf(1 - tail, df))

    def lower(df: int) -> float:  # 1 / F(tail; df, ∞) - 1
        return df / float(chi2.ppf(tail, df)) - 1

    high_f, low_f = float(f.ppf(1 - tail, df, df_rest)), float(f.ppf(tail, df, df_rest))
    g1, h1, g2, h2 = upper(df), lower(df), upper(df_rest), lower(df_rest)
    g12 = ((high_f - 1) ** 2 - g1**2 * high_f**2 - h2**2) / high_f
    h12 = ((1 - low_f) ** 2 - h1**2 * low_f**2 - g2**2) / low_f
    value = square - rest
    below = g1**2 * square**2 + h2**2 * rest**2 + g12 * square * rest
    above = h1**2 * square**2 + g2**2 * rest**2 + h12 * square * rest
    ends = value, value - np.sqrt(max(below, 0.0)), value + np.sqrt(max(above, 0.0))
    sd, low, high = (float(np.sqrt(max(each, 0.0) / repeats)) for each in ends)
    return Component(name, df + 1, sd, low, high)
