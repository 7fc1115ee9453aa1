"""Which conclusions a score hangs on."""

from __future__ import annotations

import numpy as np
import pytest
from scored_runs import left_out

from valueeval.tasks.scores.influence import influence


def test_influence_by_hand() -> None:
    left = left_out([0.5], [[0.03, -0.04, 0.01, 0, 0]])
    found = influence(left, [0], most=2)
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(0.46), pytest.approx(0.53))
    assert [one.key for one in found.conclusions] == ["c1", "c0"]
    first = found.conclusions[0]
    assert (first.arguments, first.without, first.change) == (
        10, pytest.approx(0.46), pytest.approx(-0.04),
    )  # fmt: skip
    assert first.share == pytest.approx(16 / 26)


def test_influence_on_a_difference_is_that_of_its_sides() -> None:
    left = left_out([0.5, 0.4], [[0.03, 0, 0], [0.02, 0, 0]])
    found = influence(left, [0], minus=[1])
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(0.1), pytest.approx(0.11))
    same = influence(left, [0], minus=[0])
    assert same is not None
    assert [one.share for one in same.conclusions] == [0, 0, 0]


def test_one_conclusion_has_no_influence_to_speak_of() -> None:
    assert influence(left_out([0.5], [[0.1]]), [0]) is None
    assert influence(left_out([np.nan], [[0.1, 0.2]]), [0]) is None
