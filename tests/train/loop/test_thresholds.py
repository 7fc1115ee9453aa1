"""Thresholds, checked by hand and against all others."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valueeval.tasks.scores.scoring import f1_per_value, per_value_counts, score
from valueeval.tasks.scores.thresholds import (
    GRID,
    Rule,
    counts_on_grid,
    global_threshold,
    tune_cuts,
    tune_thresholds,
)
from valueeval.train.config.config import ThresholdsName
from valueeval.train.loop.thresholds import choose_thresholds


def logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


def test_global_threshold_by_hand() -> None:
    """Value 0: positives at 0.8 and 0.6, negatives at 0.3 and 0.1; every cut between is right."""
    truth = np.zeros((4, 20), dtype=bool)
    logits = np.full((4, 20), -9.0, dtype=np.float32)
    truth[:2, 0] = True
    logits[:, 0] = [logit(p) for p in (0.8, 0.6, 0.3, 0.1)]
    assert global_threshold(truth, logits) == 0.5  # of 0.30 to 0.59 the nearest to 0.5
    logits[1, 0] = logit(0.395)
    assert global_threshold(truth, logits) == 0.39
    # A third positive at 0.2, below the negative at 0.3: F1 is 6/7 with both, 4/5 with neither.
    truth[3, 0] = True
    logits[3, 0] = logit(0.195)
    assert global_threshold(truth, logits) == 0.19


def test_counts_on_grid_agree_with_deciding() -> None:
    random = np.random.default_rng(0)
    truth = random.random((30, 20)) < 0.3
    logits = random.normal(size=(30, 20)).astype(np.float32)
    counts = counts_on_grid(truth, logits)
    for row in (0, 49, 98):
        prediction = logits > np.log(GRID[row] / (1 - GRID[row]))
        assert (counts.predicted[row] == prediction.sum(axis=0)).all()
        assert (counts.tp[row] == (prediction & truth).sum(axis=0)).all()
        assert (counts.actual[row] == truth.sum(axis=0)).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_no_other_global_threshold_is_better(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = random.random((12, 20)) < 0.3
    logits = (random.normal(size=(12, 20)) + truth).astype(np.float32)

    def macro_f1(threshold: float) -> float:
        return score(truth, logits > logit(threshold))["macro_f1"] or 0.0

    best = macro_f1(global_threshold(truth, logits))
    assert best == pytest.approx(max(macro_f1(threshold) for threshold in GRID.tolist()))


@pytest.mark.parametrize("rule", get_args(Rule))
def test_scores_of_a_prompted_model_may_be_large(rule: Rule) -> None:
    """Nats are not probabilities: the same scores, shifted or stretched, are cut as well."""
    random = np.random.default_rng(0)
    truth = random.random((400, 20)) < 0.2
    scores = random.normal(size=(400, 20)) + 2.0 * truth - 1.0

    def macro_f1(given: np.ndarray) -> float:
        return score(truth, given > tune_cuts(rule, truth, given))["macro_f1"] or 0.0

    usual = macro_f1(scores)
    assert usual > 0.6
    within = tune_thresholds(rule, truth, scores)
    np.testing.assert_allclose(tune_cuts(rule, truth, scores), np.log(within / (1 - within)))
    for changed in (scores + 9, scores - 9, scores * 10, scores * 10 + 50):
        assert macro_f1(changed) == pytest.approx(usual, abs=0.03)


def test_threshold_without_any_positive_is_a_half() -> None:
    truth = np.zeros((3, 20), dtype=bool)
    assert global_threshold(truth, np.zeros((3, 20), dtype=np.float32)) == 0.5


def test_choices_of_thresholds() -> None:
    """19 values are cut well at 0.5 only, the first at 0.8 only: the common threshold is 0.5."""
    truth = np.zeros((4, 20), dtype=bool)
    truth[:2] = True
    logits = np.empty((4, 20), dtype=np.float32)
    logits[:] = [[logit(0.505)], [logit(0.505)], [logit(0.495)], [logit(0.495)]]
    logits[:, 0] = [logit(p) for p in (0.805, 0.805, 0.795, 0.795)]
    # 0.8 is a logit of log 4, 0.5 of 0; halfway, log 2, is a probability of 2/3.
    firsts = {"half": 0.5, "global": 0.5, "per-value": 0.8, "shrunk": 2 / 3}
    assert set(firsts) == set(get_args(ThresholdsName))
    for how in get_args(ThresholdsName):
        thresholds = choose_thresholds(how, truth, logits)
        assert thresholds.values == pytest.approx([firsts[how]] + [0.5] * 19)
        tuned = ("none", "none") if how == "half" else ("validation", "macro_f1")
        assert (thresholds.split, thresholds.metric) == tuned


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_no_other_threshold_of_a_value_is_better(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = random.random((9, 20)) < 0.4
    logits = (random.normal(size=(9, 20)) + truth).astype(np.float32)
    f1 = f1_per_value(counts_on_grid(truth, logits))
    chosen = choose_thresholds("per-value", truth, logits).decide(logits)
    np.testing.assert_allclose(f1_per_value(per_value_counts(truth, chosen)), f1.max(axis=0))


@pytest.mark.parametrize("how", ["global", "per-value", "shrunk"])
def test_a_value_without_positives_has_the_common_threshold(how: ThresholdsName) -> None:
    truth = np.zeros((2, 20), dtype=bool)
    truth[0, 1:] = True
    logits = np.empty((2, 20), dtype=np.float32)
    logits[:] = [[logit(0.305)], [logit(0.295)]]
    assert choose_thresholds(how, truth, logits).values == pytest.approx([0.3] * 20)
