"""Two systems on the same arguments: difference, interval, p and a verdict in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from valueeval.tasks.scores.intervals import LEVEL, contrast, difference_bounds
from valueeval.tasks.scores.jackknife import LeaveOneOut

_SIGNIFICANT = 1 - LEVEL


@dataclass(frozen=True)
class Difference:
    """Score of B less that of A, above 0 where B is better; ``None`` where undefined.

    Attributes:
        value: The difference.
        stderr: Its standard error.
        low, high: Its 95 % interval, within [-1, 1].
        p: Two-sided; below 0.05 exactly where the interval leaves out 0.
    """

    value: float | None
    stderr: float | None
    low: float | None
    high: float | None
    p: float | None

    @property
    def told_apart(self) -> bool:
        """Return True if the interval does not contain 0."""
        return self.p is not None and self.p < _SIGNIFICANT

    def verdict(self, a: str = "A", b: str = "B") -> str:
        """Return the finding in words, e.g. «B is better by 0.024 (0.004 to 0.043)».

        Args:
            a: What to call A.
            b: What to call B.
        """
        if self.value is None:
            return "no difference can be computed"
        if self.low is None or self.high is None:
            return f"{b} - {a} is {_number(self.value)}; too few conclusions for an interval"
        if not self.told_apart:
            return (
                f"cannot be told apart: differences {b} - {a} from {_number(self.low)} to "
                f"{_number(self.high)} fit"
            )
        better, ends = (
            (b, (self.low, self.high)) if self.value > 0 else (a, (-self.high, -self.low))
        )
        return (
            f"{better} is better by {_number(abs(self.value))} "
            f"({_number(ends[0])} to {_number(ends[1])})"
        )


def difference(left: LeaveOneOut, a: Sequence[int], b: Sequence[int]) -> Difference:
    """Compare two systems by the paired jackknife.

    Args:
        left: The score of all runs.
        a: Which of them are the seeds of A.
        b: Which of them are the seeds of B.

    Returns:
        The difference alone where there are too few conclusions.
    """
    value, spread = contrast(left, [(1.0, b), (-1.0, a)])
    if np.isnan(value):
        return Difference(None, None, None, None, None)
    if spread is None:
        return Difference(value, None, None, None, None)
    low, high = difference_bounds(value, spread)
    return Difference(value, spread.stderr, low, high, spread.p(value))


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm's step-down method (1979), as ordered."""
    order = sorted(range(len(p)), key=lambda index: p[index])
    adjusted, running = [0.0] * len(p), 0.0
    for place, index in enumerate(order):
        running = max(running, min(1.0, (len(p) - place) * p[index]))
        adjusted[index] = running
    return adjusted


def _number(value: float) -> str:
    """Three decimals; one significant digit where these would show 0 for what is not 0."""
    text = f"{value:.3f}"
    if float(text) != 0:
        return text
    return f"{value:.1g}" if abs(value) >= 1e-9 else "0.000"
