"""Mean average precision over values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_runs import random_run, rows
from sklearn.metrics import average_precision_score

from valueeval.tasks.scores.average_precision import leave_one_out_ap, macro_ap


def test_average_precision_by_hand() -> None:
    """Ranks of the positives 1 and 3: (1/1 + 2/3) / 2; all scores alike: the share of positives."""
    truth = rows({0}, set(), {0}, set())
    scores = np.zeros((4, 20))
    assert macro_ap(truth, scores) == 1 / 2
    scores[:, 0] = [4, 3, 2, 1]
    assert macro_ap(truth, scores) == pytest.approx((1 + 2 / 3) / 2)
    left = leave_one_out_ap(truth, [scores], ["a", "b", "c", "c"])
    # Without a: one positive of rank 2; without b: perfect; without c: perfect.
    assert left.without[0] == pytest.approx([1 / 2, 1, 1])


def test_average_precision_without_any_positive_left_is_that_of_the_whole_set() -> None:
    truth, scores = rows({0}, set()), np.zeros((2, 20))
    left = leave_one_out_ap(truth, [scores], ["a", "b"])
    assert (left.value[0], *left.without[0]) == (0.5, 0.5, 1.0)


def test_nothing_to_average_is_none() -> None:
    assert macro_ap(rows(set()), np.zeros((1, 20))) is None
    assert macro_ap(np.zeros((0, 20)), np.zeros((0, 20))) is None


def test_scores_that_cannot_be_ranked_are_refused() -> None:
    truth = rows({0})
    with pytest.raises(ValueError, match="finite"):
        macro_ap(truth, np.full((1, 20), np.nan))
    with pytest.raises(ValueError, match="shape"):
        macro_ap(truth, np.zeros((1, 19)))


@settings(max_examples=30)  # 500 calls of scikit-learn each
@given(st.integers(0, 10_000), st.sampled_from([0, 1, 6]))
def test_average_precision_is_that_of_scikit_learn(seed: int, decimals: int) -> None:
    """Few decimals: many ties."""
    truth, _, clusters = random_run(seed, n=25)
    scores = np.random.default_rng(seed).random(truth.shape).round(decimals)
    left = leave_one_out_ap(truth, [scores], clusters)

    def expected(kept: np.ndarray) -> float:
        present = np.flatnonzero(truth.any(axis=0))
        each = []
        for v in present:
            use = kept if truth[kept, v].any() else np.ones_like(kept)
            each.append(average_precision_score(truth[use, v], scores[use, v]))
        return float(np.mean(each))

    assert left.value[0] == pytest.approx(expected(np.ones(25, dtype=bool)), abs=1e-12)
    for place, key in enumerate(left.keys):
        kept = np.array([cluster != key for cluster in clusters])
        assert left.without[0, place] == pytest.approx(expected(kept), abs=1e-12)
