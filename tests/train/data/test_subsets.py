"""Subsets of the training data: sizes, nesting, values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.data.dataset import load_set
from valueeval.train.config.choice import ConfigError
from valueeval.train.data.subsets import (
    first_arguments,
    first_of_each_value,
    training_subset,
    validation_subset,
)
from valueeval.train.options import changed, configure


def test_first_of_each_value_by_hand() -> None:
    """Value 0 is rare and comes with value 1: two rounds need nothing but its two arguments."""
    labels = np.ones((6, 20), dtype=bool)
    labels[:4, 0] = False  # arguments 4 and 5 alone have value 0; all have the others
    assert sorted(first_of_each_value(labels, 2, seed=0)) == [4, 5]
    assert first_of_each_value(labels, 1, seed=0)[0] in (4, 5)
    with pytest.raises(ConfigError, match="shots_per_value: 3; allowed for this data: at most 2"):
        first_of_each_value(labels, 3, seed=0)


@given(seed=st.integers(0, 2**32 - 1), density=st.floats(0.1, 0.6))
def test_every_value_has_enough_and_subsets_are_nested(seed: int, density: float) -> None:
    random = np.random.default_rng(seed)
    labels = random.random((40, 20)) < density
    labels[:4] = True
    smaller: list[int] = []
    for size in range(1, 5):
        rows = first_of_each_value(labels, size, seed)
        assert len(set(rows)) == len(rows) <= 20 * size
        assert labels[rows].sum(axis=0).min() >= size
        assert rows[: len(smaller)] == smaller
        smaller = rows


@given(available=st.integers(1, 50), seed=st.integers(0, 2**32 - 1))
def test_first_arguments_are_nested(available: int, seed: int) -> None:
    order = first_arguments(available, available, seed)
    assert sorted(order) == list(range(available))
    for size in range(1, available):
        assert first_arguments(available, size, seed) == order[:size]


def test_subset_of_a_data_set() -> None:
    data = load_set("sample_training")
    subset = training_subset(data, configure("x", train_size=10))
    assert len(subset.arguments) == len(subset.labels) == 10
    rows = [data.ids.index(name) for name in subset.ids]
    assert rows == sorted(rows)
    assert (data.labels[rows] == subset.labels).all()
    assert subset.sha256 == data.sha256
    other = training_subset(data, configure("x", train_size=10, seed=1))
    assert other.ids != subset.ids
    assert training_subset(data, configure("x")) is data
    five = training_subset(data, configure("x", shots_per_value=5))
    assert five.labels.sum(axis=0).min() >= 5
    with pytest.raises(ConfigError, match=f"train_size: 1000000; .* at most {len(data.ids)}"):
        training_subset(data, configure("x", train_size=1_000_000))


def test_one_way_to_choose_at_a_time() -> None:
    config = configure("x", train_size=10)
    with pytest.raises(ConfigError, match="train_size and shots_per_value: choose one"):
        changed(config, shots_per_value=5)


@pytest.mark.parametrize("size", [5, 12, 20])
def test_a_part_of_validation_is_of_whole_conclusions_and_fixed(size: int) -> None:
    data = load_set("sample_training")  # larger than sample_validation
    parts = [
        validation_subset(data, configure("x", data="sample", validation_size=size, seed=seed))
        for seed in (0, 7)
    ]
    assert parts[0].ids == parts[1].ids
    assert 0 < len(parts[0].arguments) <= size
    assert parts[0].sha256 == data.sha256
    keys = {conclusion_key(conclusion) for conclusion in parts[0].conclusions}
    whole = [one.id for one in data.arguments if conclusion_key(one.conclusion) in keys]
    assert list(parts[0].ids) == whole
    rows = [data.ids.index(id) for id in parts[0].ids]
    assert (parts[0].labels == data.labels[rows]).all()


def test_a_part_of_texts_that_stand_alone() -> None:
    data = load_set("sample_validation")
    texts = replace(data, arguments=tuple(replace(one, conclusion="") for one in data.arguments))
    part = validation_subset(texts, configure("x", data="sample", validation_size=20))
    assert len(part.arguments) == 20


def test_a_part_of_validation_that_cannot_be() -> None:
    data = load_set("sample_validation")
    assert validation_subset(data, configure("x", data="sample")) is data
    with pytest.raises(ConfigError, match="validation_size: 0; allowed: 1 or more"):
        configure("x", data="sample", validation_size=0)
    with pytest.raises(ConfigError, match="validation_size: 9 has no meaning with --folds"):
        configure("x", data="sample", folds=3, fold=0, validation_size=9)
    together = replace(data, arguments=tuple(replace(a, conclusion="c") for a in data.arguments))
    with pytest.raises(ConfigError, match="validation_size: 2 is too small"):
        validation_subset(together, configure("x", data="sample", validation_size=2))
