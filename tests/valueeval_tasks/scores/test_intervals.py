"""Intervals of a score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scored_runs import NINE, T8, left_out

from valueeval.tasks.scores.differences import Difference, difference
from valueeval.tasks.scores.intervals import Interval, interval, score_bounds


def test_an_interval_by_hand() -> None:
    left = left_out([0.5], [np.array(NINE) / 400])
    found = interval(left, [0])
    assert found.estimate == 0.5
    assert found.stderr == pytest.approx(0.01)
    # 1 / 0.5 is 2, its standard error 0.01 / 0.5² = 0.04.
    assert (found.ci_low, found.ci_high) == (
        pytest.approx(1 / (2 + T8 * 0.04)), pytest.approx(1 / (2 - T8 * 0.04)),
    )  # fmt: skip
    assert found.ci_high - 0.5 > 0.5 - found.ci_low  # type: ignore[operator]


def test_an_interval_ends_where_scores_do() -> None:
    low = interval(left_out([0.01], [np.array(NINE) / 400]), [0])
    assert low.ci_low == 0
    high = interval(left_out([0.99], [np.array(NINE) / 400]), [0])
    assert high.ci_high == 1
    assert interval(left_out([0.0], np.zeros((1, 9))), [0]) == Interval(0.0, 0.0, 0.0, 0.0)


def test_an_interval_of_a_score_as_low_as_its_standard_error_has_two_ends() -> None:
    """Symmetric about 1 / score it would be 0.003 to 1."""
    found = interval(left_out([0.01], [np.array(NINE) / 400]), [0])
    assert found.stderr == pytest.approx(0.01)
    assert found.ci_high == pytest.approx(0.01 + 2 * T8 * 0.01)
    # The ends of a count's interval (Garwood, 1936): of 5, 1.62 to 11.67; of 10, 4.80 to 18.39.
    for count, low, high in ((5, 1.62, 11.67), (10, 4.80, 18.39)):
        ends = score_bounds(count / 1000, 1.96 * np.sqrt(count) / 1000)
        assert ends == (pytest.approx(low / 1000, rel=0.3), pytest.approx(high / 1000, rel=0.25))


def test_the_ends_go_on_from_where_the_scale_of_1_by_score_stops() -> None:
    for reach in (0.0, 0.02, 0.049, 0.05):
        assert score_bounds(0.1, reach) == (
            pytest.approx(1 / (10 + reach * 100)), pytest.approx(1 / (10 - reach * 100)),
        )  # fmt: skip
    lows, highs = np.array([score_bounds(0.1, reach) for reach in np.linspace(0, 0.2, 201)]).T
    assert (np.diff(lows) <= 0).all()
    assert (np.diff(highs) > 0).all()
    assert max(-np.diff(lows).min(), np.diff(highs).max()) < 0.005, "no jump"


@pytest.mark.parametrize("n", [1, 2, 4])
def test_few_conclusions_have_a_score_alone(n: int) -> None:
    left = left_out([0.5, 0.6], np.zeros((2, n)))
    assert interval(left, [0]) == Interval(0.5, None, None, None)
    found = difference(left, [0], [1])
    assert found.value == pytest.approx(0.1)
    assert (found.stderr, found.low, found.high, found.p) == (None,) * 4
    assert found.verdict() == "B - A is 0.100; too few conclusions for an interval"


def test_many_conclusions_of_which_four_hold_nearly_all_positives_are_few() -> None:
    left = left_out([0.5], np.zeros((1, 40)))
    for large, enough in ((4, False), (6, True)):
        weights = np.array([1000.0] * large + [1.0] * (40 - large))
        some = replace(left, weights=weights)
        assert (interval(some, [0]).ci_low is not None) == enough


def test_an_undefined_score_has_nothing() -> None:
    left = left_out([np.nan, 0.5], np.zeros((2, 9)))
    assert interval(left, [0]) == Interval(None, None, None, None)
    assert difference(left, [0], [1]) == Difference(None, None, None, None, None)
    assert difference(left, [0], [1]).verdict() == "no difference can be computed"
    left.without[1, 3] = np.nan
    assert interval(left, [1]) == Interval(0.5, None, None, None)
