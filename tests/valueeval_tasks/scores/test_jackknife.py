"""Scores without one conclusion, and what the spread of these is worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored_runs import random_run, rows

from valueeval.tasks.scores.average_precision import leave_one_out_ap
from valueeval.tasks.scores.jackknife import degrees_of_freedom, leave_one_out, variance_excess
from valueeval.tasks.scores.scoring import score
from valueeval.tasks.values import VALUE_SLUGS

# ------------------------------------------------------------------------------- leaving out


@pytest.mark.parametrize("metric", ["macro_f1", "official_f1", "f1_hedonism"])
def test_leaving_out_is_scoring_the_rest(metric: str) -> None:
    truth, prediction, clusters = random_run(0)
    left = leave_one_out(truth, [prediction, truth], clusters, metric)
    assert left.value[0] == pytest.approx(score(truth, prediction)[metric], abs=1e-12)
    assert (left.value[1], *left.without[1]) == (1.0,) * 10
    assert left.keys == tuple(sorted(set(clusters)))
    for place, key in enumerate(left.keys):
        kept = np.array([cluster != key for cluster in clusters])
        assert left.sizes[place] == (~kept).sum()
        expected = score(truth[kept], prediction[kept])[metric]
        assert left.without[0, place] == pytest.approx(expected, abs=1e-12)


def test_the_order_of_arguments_makes_no_difference() -> None:
    truth, prediction, clusters = random_run(1)
    order = np.random.default_rng(2).permutation(len(truth))
    one = leave_one_out(truth, [prediction], clusters)
    other = leave_one_out(truth[order], [prediction[order]], [clusters[i] for i in order])
    assert np.array_equal(one.without, other.without)
    assert one.keys == other.keys


def test_the_values_that_count_are_those_of_the_whole_set() -> None:
    """Value 1 occurs in conclusion b alone, and is predicted in a as well: without b its F1 is 0.

    Value 0 is right everywhere. Whole: (1 + 2/3) / 2; without b: (1 + 0) / 2; without a: 1.
    """
    truth = rows({0}, {0, 1})
    prediction = rows({0, 1}, {0, 1})
    left = leave_one_out(truth, [prediction], ["a", "b"])
    assert left.value[0] == pytest.approx((1 + 2 / 3) / 2)
    assert left.without[0] == pytest.approx([1, 1 / 2])


def test_a_value_of_which_nothing_is_left_keeps_its_score() -> None:
    """Value 1 occurs in b alone and is predicted nowhere else: nothing to compute F1 from."""
    truth = rows({0}, {0, 1}, {0, 1})
    prediction = rows({0}, {0, 1}, {0})
    for metric in ("macro_f1", "official_f1"):
        left = leave_one_out(truth, [truth, prediction], ["a", "b", "b"], metric)
        assert left.without[0].tolist() == [1, 1]
        assert left.without[1, 1] == pytest.approx(left.value[1])
    # Of one value alone there is then nothing to say.
    left = leave_one_out(truth, [prediction], ["a", "b", "b"], "f1_self_direction_action")
    assert left.value[0] == pytest.approx(2 / 3)
    assert np.isnan(left.without[0]).tolist() == [False, True]


def test_no_positive_and_no_argument_are_undefined() -> None:
    for truth in (rows(set(), set()), np.zeros((0, 20), dtype=bool)):
        for metric in ("macro_f1", "official_f1"):
            left = leave_one_out(truth, [truth], ["a", "b"][: len(truth)], metric)
            assert np.isnan(left.value).all()
            assert np.isnan(left.without).all()


def test_nonsense_is_refused() -> None:
    truth = rows({1}, {2})
    with pytest.raises(ValueError, match="1 conclusions for 2 arguments"):
        leave_one_out(truth, [truth], ["a"])
    with pytest.raises(ValueError, match="no metric 'accuracy'"):
        leave_one_out(truth, [truth], ["a", "b"], "accuracy")


# ------------------------------------------------------------------------------- macro_ap


# ------------------------------------------------------------------------------- degrees of freedom


@pytest.mark.parametrize("n", [2, 5, 100])
def test_equal_conclusions_are_worth_their_number_less_one(n: int) -> None:
    assert degrees_of_freedom([7] * n) == pytest.approx(n - 1)


def test_small_conclusions_beside_large_ones_are_worth_little() -> None:
    assert degrees_of_freedom([1000] * 10 + [1] * 50) == pytest.approx(9, abs=0.2)
    assert degrees_of_freedom([10_000] + [1] * 50) == pytest.approx(1, abs=0.05)
    assert degrees_of_freedom([3]) == degrees_of_freedom([]) == 0


def test_a_conclusion_that_holds_all_positives_leaves_nothing_to_compare() -> None:
    assert degrees_of_freedom([1, 0, 0]) == 0
    assert degrees_of_freedom([0, 0]) == 0


def test_a_mean_over_values_rests_on_arguments_and_one_value_on_its_positives() -> None:
    truth = np.zeros((6, 20), dtype=bool)
    truth[[0, 1, 2, 3], [0, 0, 0, 1]] = True
    clusters = ["a", "a", "b", "b", "b", "c"]
    assert leave_one_out(truth, [truth], clusters).weights.tolist() == [2, 3, 1]
    one = leave_one_out(truth, [truth], clusters, f"f1_{VALUE_SLUGS[0]}")
    assert one.weights.tolist() == [2, 1, 0]
    assert leave_one_out_ap(truth, [truth.astype(float)], clusters).weights.tolist() == [2, 3, 1]


def test_degrees_of_freedom_of_the_main_test_set(real_data_dir: object) -> None:
    from valueeval.tasks.data.conclusions import conclusion_key
    from valueeval.tasks.data.dataset import load_set

    data = load_set("main", real_data_dir)  # type: ignore[arg-type]
    keys = [conclusion_key(text) for text in data.conclusions]

    def of(metric: str) -> float:
        return leave_one_out(data.labels, [data.labels], keys, metric).degrees_of_freedom

    assert len(set(keys)) == 103
    assert of("macro_f1") == of("official_f1") == pytest.approx(8.0, abs=0.01)
    single = [of(f"f1_{slug}") for slug in VALUE_SLUGS]
    assert (min(single), max(single)) == (pytest.approx(1.1, abs=0.1), pytest.approx(7.1, abs=0.1))


def test_the_jackknifes_variance_exceeds_the_true_one_where_sizes_are_uneven() -> None:
    assert variance_excess([7] * 9) == pytest.approx(1)
    assert variance_excess([5, 0, 0]) == variance_excess([]) == 1
    # Weights 1/2, 1/4, 1/4 of own scores with variance 1: the true variance is 3/8. By hand from
    # the three scores without: (1/2, 1/2), (2/3, 1/3), (2/3, 1/3) of the other two.
    without = np.array([[0, 1 / 2, 1 / 2], [2 / 3, 0, 1 / 3], [2 / 3, 1 / 3, 0]])
    centred = without - without.mean(0)
    assert variance_excess([2, 1, 1]) == pytest.approx(2 / 3 * (centred**2).sum() / (3 / 8))


@given(st.lists(st.integers(1, 200), min_size=2, max_size=30))
def test_degrees_of_freedom_are_those_of_the_quadratic_form(sizes: list[int]) -> None:
    n = np.array(sizes, dtype=float)
    w = n / n.sum()
    # Row c: the score without conclusion c, as a linear function of the conclusions' own scores.
    without = np.tile(n, (len(n), 1)) * ~np.eye(len(n), dtype=bool)
    without /= without.sum(1, keepdims=True)
    deviations = without - without.mean(0)
    form = deviations.T @ deviations
    expected = np.trace(form) ** 2 / np.trace(form @ form)
    assert degrees_of_freedom(sizes) == pytest.approx(expected, rel=1e-6)
    assert 0.99 < degrees_of_freedom(sizes) < len(sizes) - 1 + 1e-6
    assert degrees_of_freedom(w) == pytest.approx(expected, rel=1e-6)
