"""Components of variance: cases to check in the head, and how often intervals cover."""

from __future__ import annotations

import numpy as np
import pytest

from valueeval.tasks.scores.variance import variance_components


def test_by_hand() -> None:
    """Two templates of two seeds: 0.2 and 0.4, 0.6 and 0.8."""
    found = variance_components({"template": ["a", "a", "b", "b"]}, [0.2, 0.4, 0.6, 0.8])
    assert found is not None
    template, rest = found
    # Level means 0.3 and 0.7: MS = 2 · 0.08 = 0.16; rest (0.02 + 0.02) / 2 = 0.02.
    assert template.sd == pytest.approx(np.sqrt((0.16 - 0.02) / 2))
    assert rest.sd == pytest.approx(np.sqrt(0.02))
    assert (template.factor, template.levels) == ("template", 2)
    assert (rest.factor, rest.levels) == ("", 2)
    assert template.low <= template.sd <= template.high
    assert rest.low < rest.sd < rest.high


def test_levels_that_differ_no_more_than_the_rest() -> None:
    found = variance_components({"template": ["a", "a", "b", "b"]}, [0.2, 0.8, 0.2, 0.8])
    assert found is not None
    assert (found[0].sd, found[0].low) == (0, 0)


def test_two_factors_are_told_apart() -> None:
    levels = {"template": ["a", "a", "b", "b"] * 2, "wording": ["1", "2"] * 4}
    scores = [0.1, 0.1, 0.5, 0.5, 0.1001, 0.1001, 0.5001, 0.5001]
    found = variance_components(levels, scores)
    assert found is not None
    assert found[0].sd == pytest.approx(0.4 / np.sqrt(2), rel=1e-3)
    assert found[1].sd == 0


def test_seeds_alone() -> None:
    found = variance_components({}, [0.4, 0.5, 0.6])
    assert found is not None
    assert found[0].sd == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("levels", "scores"),
    [
        ({"template": ["a", "a", "b"]}, [0.1, 0.2, 0.3]),  # one more often than the other
        ({"template": ["a", "b"], "wording": ["1", "2"]}, [0.1, 0.2]),  # combinations missing
        ({"template": ["a", "b"]}, [0.1, 0.2]),  # nothing left for the rest
    ],
)
def test_no_components(levels: dict[str, list[str]], scores: list[float]) -> None:
    assert variance_components(levels, scores) is None


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.1])
def test_intervals_cover(spread: float) -> None:
    """Five levels, three seeds of spread 0.02: the truth is inside in about 95 % of samples."""
    random = np.random.default_rng(0)
    levels = {"template": [level for level in "abcde" for _ in range(3)]}
    inside = 0
    for _ in range(600):
        effects = np.repeat(random.normal(0, spread, 5), 3)
        found = variance_components(levels, effects + random.normal(0, 0.02, 15))
        assert found is not None
        inside += found[0].low <= spread <= found[0].high
    assert 0.92 <= inside / 600 <= 0.985
