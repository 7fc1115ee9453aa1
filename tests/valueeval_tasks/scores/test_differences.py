"""Intervals, tests and verdicts on numbers that can be checked in the head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored_runs import NINE, T8, left_out

from valueeval.tasks.scores.differences import Difference, difference, holm
from valueeval.tasks.scores.intervals import Interval, interval
from valueeval.tasks.scores.jackknife import leave_one_out

# ------------------------------------------------------------------------------- intervals


def test_no_variation_at_all_is_certainty() -> None:
    left = left_out([1.0, 0.0], np.zeros((2, 9)))
    assert interval(left, [0]) == Interval(1.0, 0.0, 1.0, 1.0)
    found = difference(left, [1], [0])
    assert (found.value, found.low, found.high, found.p) == (1, 1, 1, 0)


# ------------------------------------------------------------------------------- differences


def test_a_system_does_not_differ_from_itself() -> None:
    rng = np.random.default_rng(0)
    truth, prediction = rng.random((90, 20)) < 0.3, rng.random((90, 20)) < 0.3
    left = leave_one_out(truth, [prediction, prediction.copy()], [str(i % 9) for i in range(90)])
    found = difference(left, [0], [1])
    assert (found.value, found.stderr, found.low, found.high, found.p) == (0, 0, 0, 0, 1)
    assert found.verdict() == "cannot be told apart: differences B - A from 0.000 to 0.000 fit"


def test_what_both_share_cancels() -> None:
    """A large influence on both systems, a small one on the difference."""
    common = np.array([9, -4, -5, 3, -3, 0, 0, 0, 0]) / 10
    left = left_out([0.5, 0.52], [common, common + np.array(NINE) / 4000])
    found = difference(left, [0], [1])
    assert found.stderr == pytest.approx(0.001)
    assert found.low == pytest.approx(0.02 - T8 / 1000)
    assert found.told_apart


def test_a_difference_leaves_out_what_the_jackknifes_variance_is_too_large_by() -> None:
    left = left_out([0.5, 0.52], [np.zeros(9), np.array(NINE) / 4000])
    uneven = replace(left, weights=np.array([5.0] * 3 + [3.0] * 6))
    excess = uneven.variance_excess
    assert excess > 1
    found = difference(uneven, [0], [1])
    assert found.stderr == pytest.approx(0.001 / np.sqrt(excess))
    alone = interval(uneven, [1])
    assert alone.stderr == pytest.approx(0.001)


def test_a_difference_is_turned_round_with_its_sides() -> None:
    left = left_out([0.5, 0.52], [np.array(NINE) / 400, np.roll(NINE, 1) / 300])
    one, other = difference(left, [0], [1]), difference(left, [1], [0])
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))
    assert one.p == pytest.approx(other.p)


def test_verdicts() -> None:
    better = Difference(0.0238, 0.01, 0.0041, 0.0434, 0.02)
    assert better.verdict() == "B is better by 0.024 (0.004 to 0.043)"
    worse = Difference(-0.0238, 0.01, -0.0434, -0.0041, 0.02)
    assert worse.verdict() == "A is better by 0.024 (0.004 to 0.043)"
    assert worse.verdict("lora", "full") == "lora is better by 0.024 (0.004 to 0.043)"
    same = Difference(0.01, 0.01, -0.01, 0.03, 0.3)
    assert same.verdict() == "cannot be told apart: differences B - A from -0.010 to 0.030 fit"
    hair = Difference(0.02, 0.01, 0.0002, 0.04, 0.049)
    assert hair.verdict() == "B is better by 0.020 (0.0002 to 0.040)"


@given(st.integers(0, 10_000), st.floats(0, 4), st.integers(1, 4), st.integers(1, 4))
def test_test_and_interval_agree(seed: int, shift: float, a: int, b: int) -> None:
    """P is below 0.05 exactly where the interval leaves out 0, with seeds and without."""
    rng = np.random.default_rng(seed)
    values = 0.5 + rng.normal(size=a + b) / 200
    values[a:] += shift / 100
    left = left_out(values, rng.normal(size=(a + b, 12)) / 100)
    found = difference(left, list(range(a)), list(range(a, a + b)))
    assert found.low is not None
    assert found.high is not None
    assert found.told_apart == (not found.low <= 0 <= found.high)


# ------------------------------------------------------------------------------- seeds


def test_seeds_alone_give_the_t_interval_over_seeds() -> None:
    """0.49 and 0.51: mean 0.5, variance 0.0002, of the mean 0.0001; t with 1 degree is 12.706."""
    found = interval(left_out([0.49, 0.51], np.zeros((2, 9))), [0, 1])
    assert found.stderr == pytest.approx(0.01)
    assert found.ci_low == pytest.approx(0.5 / (1 + 0.12706 / 0.5), abs=1e-5)


def test_seeds_and_conclusions_add_up() -> None:
    changes = np.array(NINE) / 400
    found = interval(left_out([0.49, 0.51], [changes, changes]), [0, 1])
    assert found.stderr == pytest.approx(np.sqrt(2) / 100)
    # Satterthwaite: (1 + 1)² / (1/8 + 1/1) = 3.56 degrees, t = 2.917; the seeds alone ask for more.
    assert found.ci_low == pytest.approx(0.5 / (1 + 0.12706 / 0.5), abs=1e-5)


@given(st.integers(0, 10_000), st.integers(2, 5))
def test_an_interval_is_never_narrower_than_the_seeds_alone(seed: int, seeds: int) -> None:
    rng = np.random.default_rng(seed)
    values = 0.5 + rng.normal(size=seeds) / 1000
    changes = rng.normal(size=(seeds, 12)) / 300
    whole = interval(left_out(values, changes), list(range(seeds)))
    alone = interval(left_out(values, np.zeros_like(changes)), list(range(seeds)))
    assert whole.ci_low <= alone.ci_low + 1e-12  # type: ignore[operator]
    assert whole.ci_high >= alone.ci_high - 1e-12  # type: ignore[operator]


def test_seeds_on_one_side_count_on_that_side() -> None:
    left = left_out([0.49, 0.51, 0.5], np.zeros((3, 9)))
    found = difference(left, [2], [0, 1])
    assert (found.value, found.stderr) == (pytest.approx(0), pytest.approx(0.01))
    assert found.high == pytest.approx(0.12706, abs=1e-5)


def test_equal_seeds_add_nothing() -> None:
    changes = np.array(NINE) / 400
    two = interval(left_out([0.5, 0.5], [changes, changes]), [0, 1])
    assert two == interval(left_out([0.5], [changes]), [0])


# ------------------------------------------------------------------------------- Holm


def test_holm_by_hand() -> None:
    # 0.01 x 3, 0.02 x 2, 0.04 x 1
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


# ------------------------------------------------------------------------------- influence
