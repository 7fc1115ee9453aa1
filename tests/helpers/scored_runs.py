"""Runs and scores that tests of statistics count by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from valueeval.tasks.scores.jackknife import LeaveOneOut

T8 = 2.306004135204166  # the 97.5 % quantile of t with 8 degrees of freedom
NINE = [3, -3, 0, 0, 0, 0, 0, 0, 0]  # sum of squares 18; times 8/9: 16, a standard error of 4


def left_out(values: Sequence[float], changes: Sequence[Sequence[float]]) -> LeaveOneOut:
    """Scores and how they change without each of some conclusions of the same size."""
    value = np.array(values, dtype=float)
    without = value[:, None] + np.array(changes, dtype=float)
    n = without.shape[1]
    keys = tuple(f"c{c}" for c in range(n))
    return LeaveOneOut(value, without, keys, np.full(n, 10), np.ones(n))


def rows(*sets: set[int]) -> np.ndarray:
    """One row of 20 labels a set of positive columns."""
    return np.array([[column in s for column in range(20)] for s in sets], dtype=bool)


def random_run(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    clusters = [f"c{int(c)}" for c in rng.integers(0, 9, n)]
    return rng.random((n, 20)) < 0.3, rng.random((n, 20)) < 0.3, clusters
