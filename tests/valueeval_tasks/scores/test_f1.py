"""F1 from counts, on numbers that can be checked in the head."""

from __future__ import annotations

import numpy as np

from valueeval.tasks.scores.f1 import Counts, f1_per_value, means, precision_recall


def counts(tp: list[int], predicted: list[int], actual: list[int]) -> Counts:
    return Counts(np.array(tp), np.array(predicted), np.array(actual))


def test_f1_of_each_value() -> None:
    """2 tp / (predicted + actual); 0, and not NaN, where there is nothing."""
    found = f1_per_value(counts([2, 0, 0, 1], [2, 3, 0, 1], [2, 1, 0, 3]))
    assert found.tolist() == [1, 0, 0, 1 / 2]


def test_precision_and_recall() -> None:
    precision, recall = precision_recall(counts([1, 0], [4, 0], [2, 5]))
    assert (precision.tolist(), recall.tolist()) == ([1 / 4, 0], [1 / 2, 0])


def test_means_leave_out_values_without_a_positive() -> None:
    """The second value is predicted, but never true."""
    found = means(counts([1, 0, 1], [1, 9, 4], [1, 0, 1]))
    assert found.macro_precision == (1 + 1 / 4) / 2
    assert found.macro_recall == 1
    assert found.macro_f1 == (1 + 2 / 5) / 2
    assert found.official_f1 == 2 * 0.625 / 1.625


def test_no_positive_at_all_is_no_number() -> None:
    assert all(np.isnan(mean) for mean in means(counts([0], [3], [0])))


def test_runs_in_the_leading_axis() -> None:
    found = means(counts([[1, 1], [0, 1]], [[1, 1], [1, 1]], [[1, 1], [1, 1]]))
    assert found.macro_f1.tolist() == [1, 1 / 2]
