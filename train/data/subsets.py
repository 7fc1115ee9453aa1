"""Draw nested subsets of the training data, so that curves over their sizes are smooth.

A seed puts the arguments in one order; a larger subset of a seed contains every smaller one.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.data.dataset import DataSet
from valueeval.tasks.values import VALUE_NAMES
from valueeval.train.config.choice import ConfigError
from valueeval.train.config.config import TrainConfig


def training_subset(data: DataSet, config: TrainConfig) -> DataSet:
    """Return the part of the training data that the options ask for, in its order; hash unchanged.

    Raises:
        ConfigError: The data has fewer arguments, or fewer of some value.
    """
    if config.train_size is not None:
        chosen = first_arguments(len(data.arguments), config.train_size, config.seed)
    elif config.shots_per_value is not None:
        chosen = first_of_each_value(data.labels, config.shots_per_value, config.seed)
    else:
        return data
    rows = sorted(chosen)
    return replace(
        data, arguments=tuple(data.arguments[row] for row in rows), labels=data.labels[rows]
    )


def validation_subset(data: DataSet, config: TrainConfig) -> DataSet:
    """Return the part of validation that the options ask for, in its order; hash unchanged.

    Conclusions (or texts that stand alone) are taken whole, in an order by the hash of their words,
    and left out where there is no room for them: the part depends on data and size alone.

    Raises:
        ConfigError: No conclusion has so few arguments.
    """
    if config.validation_size is None:
        return data
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, group in enumerate(data.groups):
        rows_of[conclusion_key(group)].append(row)
    chosen: list[int] = []
    for key in sorted(rows_of, key=lambda key: hashlib.sha256(key.encode()).digest()):
        if len(chosen) + len(rows_of[key]) <= config.validation_size:
            chosen += rows_of[key]
    if not data.labels[chosen].any():
        raise ConfigError(
            f"validation_size: {config.validation_size} is too small: whole conclusions that fit "
            "have no argument with a value"
        )
    rows = sorted(chosen)
    return replace(
        data, arguments=tuple(data.arguments[row] for row in rows), labels=data.labels[rows]
    )


def first_arguments(available: int, size: int, seed: int) -> list[int]:
    """Return the row numbers of `size` arguments, drawn at random."""
    if size > available:
        raise ConfigError(f"train_size: {size}; allowed for this data: at most {available}")
    order: list[int] = np.random.default_rng(seed).permutation(available).tolist()
    return order[:size]


def first_of_each_value(labels: npt.NDArray[np.bool_], size: int, seed: int) -> list[int]:
    """Return row numbers of arguments with at least `size` positives per value.

    In round n every value with fewer than n positives gets one more argument, the next in a random
    order. Rare values choose first, as their arguments often have common values too; common values
    end up with more positives than needed.

    Args:
        labels: (arguments, 20).
        size: Positives of each value, and number of rounds.
        seed: Seed of the random order.
    """
    frequency = labels.sum(axis=0)
    rarest = int(frequency.argmin())
    if size > frequency[rarest]:
        raise ConfigError(
            f"shots_per_value: {size}; allowed for this data: at most {frequency[rarest]}, the "
            f"number of arguments with {VALUE_NAMES[rarest]!r}"
        )
    order = np.random.default_rng(seed).permutation(len(labels))
    queues = {value: iter(order[labels[order, value]].tolist()) for value in range(labels.shape[1])}
    chosen: dict[int, None] = {}  # in the order of choice
    counts = np.zeros_like(frequency)
    for wanted in range(1, size + 1):
        for value in np.argsort(frequency, kind="stable").tolist():
            if counts[value] < wanted:
                row = next(row for row in queues[value] if row not in chosen)
                chosen[row] = None
                counts += labels[row]
    return list(chosen)
