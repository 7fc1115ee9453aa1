"""Calibration by fold, and selection among configurations, on tables that a reader can check."""

from __future__ import annotations

import numpy as np
import pytest

from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.cross_validation import calibrate_by_fold, select
from valueeval.tasks.scores.scoring import score

Array = np.ndarray


def biased_folds() -> tuple[Array, Array, Array]:
    """Scores of 1 or -1 by the label in five folds of 20 arguments, each fold moved otherwise."""
    rng = np.random.default_rng(0)
    folds = np.repeat(np.arange(5), 20)
    truth = rng.random((100, 20)) < 0.3
    return np.where(truth, 1.0, -1.0) + 3.0, truth, folds


def test_a_fold_is_calibrated_on_the_next_one_alone() -> None:
    scores, truth, folds = biased_folds()
    calibrated = calibrate_by_fold(scores, truth, folds, "global")
    assert score(truth, scores > 0)["macro_f1"] != 1.0
    assert score(truth, calibrated > 0)["macro_f1"] == 1.0
    # Other labels in the folds that nothing is tuned on for fold 0 change nothing about it.
    other = np.where((folds == 1)[:, None], truth, ~truth)
    again = calibrate_by_fold(scores, other, folds, "global")
    assert (again[folds == 0] == calibrated[folds == 0]).all()
    # Those of its inner fold, 1, do.
    inner = np.where((folds == 1)[:, None], ~truth, truth)
    moved = calibrate_by_fold(scores, inner, folds, "global")
    assert (moved[folds == 0] != calibrated[folds == 0]).any()
    assert (moved[folds == 1] == calibrated[folds == 1]).all()


def test_the_last_fold_is_calibrated_on_the_first() -> None:
    scores, truth, folds = biased_folds()
    scores[folds == 0] += 7.0
    calibrated = calibrate_by_fold(scores, truth, folds, "shrunk")
    mean_of = scores[folds == 0].mean(axis=0)
    shift = (scores - calibrated)[folds == 4] - mean_of
    assert np.allclose(shift, shift[0])  # the thresholds, the same for all
    assert np.abs(shift).max() < 5


def test_all_folds_are_needed() -> None:
    scores, truth, folds = biased_folds()
    folds[folds == 3] = 2
    with pytest.raises(ValueEvalError, match="no argument of fold 3: all 5 folds are needed"):
        calibrate_by_fold(scores, truth, folds, "global")


def world(conclusions: int = 40, size: int = 5) -> tuple[Array, list[str]]:
    rng = np.random.default_rng(1)
    n = conclusions * size
    return rng.random((n, 20)) < 0.3, [f"c{row // size}" for row in range(n)]


def noisy(truth: Array, errors: float, seed: int) -> Array:
    """The truth with a share of its decisions turned round."""
    wrong = np.random.default_rng(seed).random(truth.shape) < errors
    return np.asarray(truth ^ wrong)


def test_the_best_by_far_is_always_chosen() -> None:
    truth, clusters = world()
    predictions = {
        "worse": [noisy(truth, 0.3, 11)],
        "better": [noisy(truth, 0.05, seed) for seed in (12, 13)],
        "worst": [noisy(truth, 0.5, 14)],
    }
    found = select(truth, predictions, clusters)
    assert (found.chosen, found.arguments, found.conclusions) == ("better", 200, 40)
    assert [one.name for one in found.candidates] == ["better", "worse", "worst"]
    first, second, _ = found.candidates
    expected = np.mean([score(truth, run)["macro_f1"] for run in predictions["better"]])
    assert first.macro_f1.estimate == pytest.approx(expected)
    assert (first.difference.value, first.chosen_share, first.can_be_best) == (0.0, 1.0, True)
    assert (second.chosen_share, second.can_be_best) == (0.0, False)
    assert second.macro_f1.estimate is not None
    assert second.difference.value == pytest.approx(second.macro_f1.estimate - expected)
    assert second.difference.high is not None
    assert second.difference.high < 0


def test_equals_share_the_choice() -> None:
    truth, clusters = world()
    predictions = {name: [noisy(truth, 0.2, seed)] for seed, name in enumerate("abc", start=21)}
    found = select(truth, predictions, clusters)
    shares = [one.chosen_share for one in found.candidates]
    assert sum(shares) == pytest.approx(1.0)
    assert max(shares) < 0.95
    assert all(one.can_be_best for one in found.candidates)
    again = select(truth[::-1], {k: [v[0][::-1]] for k, v in predictions.items()}, clusters[::-1])
    assert again == found  # the order of arguments makes no difference


def test_the_first_of_equal_ones_is_chosen() -> None:
    truth, clusters = world()
    run = noisy(truth, 0.2, 21)
    found = select(truth, {"a": [run], "b": [run]}, clusters)
    assert [one.chosen_share for one in found.candidates] == [1.0, 0.0]
    assert found.chosen == "a"
    with pytest.raises(ValueError, match="two configurations at least"):
        select(truth, {"a": [run]}, clusters)
