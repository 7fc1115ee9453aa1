"""The order in which training reads arguments: shuffled, in batches of like length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Lengths are sorted within this many batches: enough to pad little, few enough to mix well.
_BATCHES_IN_POOL = 50


def epoch_batches(
    lengths: Sequence[int], batch_size: int, seed: int, epoch: int
) -> list[list[int]]:
    """Return the batches of one epoch, each argument in exactly one.

    The arguments are shuffled, sorted by length within pools of 50 batches, cut into batches, and
    the batches shuffled. The order depends only on the arguments of this function, so a resumed
    run finds its place by its step alone.

    Args:
        lengths: Tokens of each argument.
        batch_size: Arguments in a batch; the last one may be smaller.
        seed: The run's seed.
        epoch: Number of the epoch, from 0.

    Returns:
        Lists of row numbers; every epoch has the same number of batches.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    tokens = np.asarray(lengths)
    pool = batch_size * _BATCHES_IN_POOL
    batches = []
    for start in range(0, len(order), pool):
        rows = order[start : start + pool]
        rows = rows[np.argsort(tokens[rows], kind="stable")]
        batches += [
            rows[first : first + batch_size].tolist() for first in range(0, len(rows), batch_size)
        ]
    return [batches[number] for number in random.permutation(len(batches))]
