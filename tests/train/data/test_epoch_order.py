"""The order in which an epoch reads the arguments."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from valueeval.train.data.epoch_order import epoch_batches


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=300),
    batch_size=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 5),
)
def test_an_epoch_reads_every_argument_once(
    lengths: list[int], batch_size: int, seed: int, epoch: int
) -> None:
    batches = epoch_batches(lengths, batch_size, seed, epoch)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // batch_size)
    assert max(len(batch) for batch in batches) <= batch_size
    assert batches == epoch_batches(lengths, batch_size, seed, epoch)


def test_epochs_and_seeds_differ_in_order() -> None:
    lengths = list(range(50))
    orders = [epoch_batches(lengths, 4, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(a != b for i, a in enumerate(orders) for b in orders[:i])


def test_batches_are_of_like_length() -> None:
    lengths = np.random.default_rng(0).integers(10, 100, size=2000).tolist()
    batches = epoch_batches(lengths, 8, 0, 0)
    padded = sum(max(lengths[row] for row in batch) * len(batch) for batch in batches)
    assert padded < 1.05 * sum(lengths)  # against about 1.7 in random batches of 8
