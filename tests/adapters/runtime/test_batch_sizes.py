"""Batches by rows, by tokens and by what is held; smaller ones after memory has run out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from valueeval.adapters.runtime.batch_sizes import BatchLimits, BatchSizer


def sizes(
    sizer: BatchSizer, lengths: Sequence[int], *, before: int = 0, fails_from: int = 10**9
) -> list[int]:
    """The rows of each batch; those with as many tokens as ``fails_from`` do not fit."""
    tried = []
    for batch in sizer.batches(range(len(lengths)), lengths, before):
        tried.append(len(batch.rows))
        with batch.retry_smaller():
            if len(batch.rows) * lengths[batch.rows[0]] >= fails_from:
                raise torch.OutOfMemoryError("CUDA out of memory")
    return tried


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (BatchLimits(2), [2, 2, 1]),
        (BatchLimits(None, 100), [2, 3]),
        (BatchLimits(1, 100), [1, 1, 1, 1, 1]),
        (BatchLimits(None, 10), [1, 1, 1, 1, 1]),
        (BatchLimits(None, 100, 200), [1, 1, 2, 1]),
    ],
    ids=["rows", "tokens", "both", "one is always tried", "held"],
)
def test_batches_by_hand(limits: BatchLimits, expected: list[int]) -> None:
    """Rows of 50, 50, 20, 20 and 20 tokens behind 80; the longest row gives the size."""
    assert sizes(BatchSizer(limits, "rows"), [50, 50, 20, 20, 20], before=80) == expected


def test_after_too_many_rows_no_batch_has_as_many() -> None:
    sizer = BatchSizer(BatchLimits(8), "rows")
    assert sizes(sizer, [10] * 8, fails_from=50) == [8, 4, 4]
    assert sizes(sizer, [10] * 8) == [4, 4]


def test_after_too_many_tokens_no_batch_has_as_many() -> None:
    """Also one of longer rows, and one of shorter rows is no smaller than it must be."""
    sizer = BatchSizer(BatchLimits(None, 80), "rows")
    assert sizes(sizer, [10] * 8, fails_from=50) == [8, 4, 4]
    assert sizes(sizer, [20] * 4) == [2, 2]
    assert sizes(sizer, [5] * 8) == [8]
    assert sizes(sizer, [50] * 2) == [1, 1]
