"""Batch sizes: rows as asked for, or as a number of tokens holds; fewer on little memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from valueeval.adapters.runtime.out_of_memory import free_unused_memory, is_out_of_memory

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class BatchLimits:
    """How much goes into one forward pass.

    Attributes:
        rows: Number of rows; None: as many as ``tokens`` hold.
        tokens: Number of tokens where ``rows`` is None.
    """

    rows: int | None
    tokens: int = 0


class BatchSizer:
    """Divides rows into batches, and into smaller ones where memory does not suffice.

    Args:
        limits: Limits of a batch.
        unit: Name of a row in messages, in the plural.
    """

    def __init__(self, limits: BatchLimits, unit: str) -> None:
        self._rows = limits.rows
        self._tokens = limits.tokens
        self._unit = unit

    def batches(self, rows: Sequence[T], lengths: Sequence[int] = ()) -> Iterator[Batch[T]]:
        """Yield batches of rows, in order.

        A batch that ran out of memory (see `Batch.retry_smaller`) comes again in smaller parts, and
        no later batch is as large.

        Args:
            rows: What is to be read, longest first.
            lengths: Tokens of each row; needed where `BatchLimits.rows` is None.
        """
        start = 0
        while start < len(rows):
            size = self._rows or max(1, self._tokens // lengths[start])
            batch = Batch(list(rows[start : start + size]), self._unit)
            yield batch
            if batch.failed:
                self._rows = len(batch.rows) // 2
                # Only here is the error gone, and with it the tensors that its traceback held.
                free_unused_memory()
            else:
                start += len(batch.rows)


@dataclass
class Batch(Generic[T]):
    """Rows that are read in one forward pass.

    Attributes:
        rows: The rows.
        unit: Name of a row in messages, in the plural.
        failed: Whether memory did not suffice.
    """

    rows: list[T]
    unit: str
    failed: bool = field(default=False, init=False)

    @contextmanager
    def retry_smaller(self) -> Iterator[None]:
        """Suppress an out-of-memory error in the block, and note that the batch failed.

        Raises:
            RuntimeError: Memory does not suffice for a single row; other errors pass through.
        """
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if len(self.rows) == 1 or not is_out_of_memory(error):
                raise
            self.failed = True
            half = len(self.rows) // 2
            logger.warning(
                "out of memory with %d %s at once: trying %d", len(self.rows), self.unit, half
            )
