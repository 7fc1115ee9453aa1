"""Descriptive statistics of a data set, counted by hand."""

from __future__ import annotations

import numpy as np

from valueeval.tasks.data.dataset import Argument, DataSet, load_set
from valueeval.tasks.data.describe import Lengths, describe


def small_set() -> DataSet:
    """Four arguments about two conclusions; one has no value, one has two."""
    arguments = (
        Argument("1", "Plant trees", "in favor of", "a b c"),
        Argument("2", "plant trees.", "against", "a b"),
        Argument("3", "Cut trees", "in favor of", "a"),
        Argument("4", "Plant trees", "against", "a b c d e"),
    )
    labels = np.zeros((4, 20), dtype=bool)
    labels[0, :2] = labels[1, 0] = labels[2, 19] = True
    known = load_set("sample_training")
    return DataSet(**{**vars(known), "arguments": arguments, "labels": labels})


def test_describes_a_set_counted_by_hand() -> None:
    found = describe(small_set())
    assert (found.arguments, found.in_favor, found.against) == (4, 2, 2)
    assert (found.conclusions, found.largest_cluster) == (2, 3)
    assert (found.unlabelled, found.values_per_argument) == (1, 1.0)
    assert found.premise == Lengths(median=2.5, p95=5, max=5)
    assert found.value_counts == (2, 1, *[0] * 17, 1)
    assert found.share(1) == 0.25


def test_json_names_values_by_slug() -> None:
    content = describe(small_set()).as_json()
    assert content["stance"] == {"in favor of": 2, "against": 2}
    assert content["values"]["self_direction_thought"] == {"count": 2, "share": 0.5}
