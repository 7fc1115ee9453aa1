"""Less training data: nested subsets, so that curves over their sizes are smooth.

A seed puts the arguments in one order; a larger subset of the same seed holds every smaller one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from valueeval.tasks.data.dataset import DataSet
from valueeval.tasks.values import VALUE_NAMES
from valueeval.train.config.choice import ConfigError
from valueeval.train.config.config import TrainConfig


def training_subset(data: DataSet, config: TrainConfig) -> DataSet:
    """The part of the training data that the options ask for, in its own order; hash unchanged.

    Raises:
        ConfigError: It has not as many arguments, or not as many of some value.
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


def first_arguments(available: int, size: int, seed: int) -> list[int]:
    """Row numbers of that many arguments, drawn at random."""
    if size > available:
        raise ConfigError(f"train_size: {size}; allowed for this data: at most {available}")
    order: list[int] = np.random.default_rng(seed).permutation(available).tolist()
    return order[:size]


def first_of_each_value(labels: npt.NDArray[np.bool_], size: int, seed: int) -> list[int]:
    """Row numbers of arguments with at least so many positives of each value.

    In round n every value that has not n positives yet gets one more argument, the next in a random
    order; rare values choose first, as theirs bring along the common ones. Common values end up
    with more than they need: arguments have several values.

    Args:
        labels: (arguments, 20).
        size: Positives of each value, and number of rounds.
        seed: Of the random order.
    """
    frequency = labels.sum(axis=0)
    rarest = int(frequency.argmin())
    if size > frequency[rarest]:
        raise ConfigError(
            f"shots_per_value: {size}; allowed for this data: at most {frequency[rarest]}, as many "
            f"as have {VALUE_NAMES[rarest]!r}"
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
