"""Which conclusions a score or a difference hangs on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from valueeval.tasks.scores.intervals import deviations
from valueeval.tasks.scores.jackknife import LeaveOneOut


@dataclass(frozen=True)
class Moved:
    """One conclusion's part in a score.

    Attributes:
        key: Its name, see :func:`valueeval.tasks.data.conclusions.conclusion_key`.
        arguments: How many arguments share it.
        without: The score when it is left out.
        change: `without` less the score of the whole set.
        share: Its share of the variance over conclusions, in [0, 1].
    """

    key: str
    arguments: int
    without: float
    change: float
    share: float


@dataclass(frozen=True)
class Influence:
    """The influence of single conclusions on a score or difference.

    Attributes:
        low, high: The range of the score when any one conclusion is left out.
        conclusions: Those that move it most, the most first.
    """

    low: float
    high: float
    conclusions: tuple[Moved, ...]


def influence(
    left: LeaveOneOut, runs: Sequence[int], minus: Sequence[int] = (), most: int = 5
) -> Influence | None:
    """Return how far single conclusions move a score, or a difference between two systems.

    Args:
        left: The score of all runs.
        runs: Which of them are the system's seeds.
        minus: The seeds of the system whose score is taken off, for a difference.
        most: How many conclusions to name.

    Returns:
        ``None`` where there are fewer than two conclusions, or the score is undefined on the whole
        set or without one of them.
    """
    value = left.value[list(runs)].mean()
    without = left.without[list(runs)].mean(0)
    if len(minus):
        value = value - left.value[list(minus)].mean()
        without = without - left.without[list(minus)].mean(0)
    if len(without) < 2 or not np.isfinite(value) or not np.isfinite(without).all():
        return None
    squares = deviations(without) ** 2
    shares = squares / squares.sum() if squares.sum() > 0 else squares
    change = without - value
    order = np.lexsort((np.arange(len(change)), -np.abs(change)))[:most]
    return Influence(
        float(without.min()),
        float(without.max()),
        tuple(
            Moved(
                left.keys[c], int(left.sizes[c]), float(without[c]), float(change[c]),
                float(shares[c]),
            )
            for c in order
        ),
    )  # fmt: skip
