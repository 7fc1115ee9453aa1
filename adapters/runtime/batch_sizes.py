"""Batch sizes: rows as asked for, or as a number of tokens holds; fewer on little memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from valueeval.adapters.runtime.out_of_memory import free_unused_memory, is_out_of_memory

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class BatchLimits:
    """How much goes into one forward pass; None: no limit.

    Attributes:
        rows: Number of rows.
        tokens: Number of tokens that are read.
        held: Number of tokens whose keys and values are held: those that are read, and for each row
            those before it.
    """

    rows: int | None
    tokens: int | None = None
    held: int | None = None


class BatchSizer:
    """Divides rows into batches, and into smaller ones where memory does not suffice.

    Args:
        limits: Limits of a batch.
        unit: Name of a row in messages, in the plural.
    """

    def __init__(self, limits: BatchLimits, unit: str) -> None:
        self._limits = limits
        self._unit = unit

    def batches(
        self, rows: Sequence[T], lengths: Sequence[int] = (), before: int = 0
    ) -> Iterator[Batch[T]]:
        """Yield batches of rows, in order.

        A batch that ran out of memory (see `Batch.retry_smaller`) comes again in smaller parts, and
        no later batch is as large.

        Args:
            rows: What is to be read, longest first.
            lengths: Tokens of each row; needed where `BatchLimits.rows` is None.
            before: Tokens before each row, of which it holds a copy.
        """
        start = 0
        while start < len(rows):
            length = lengths[start] if lengths else 0
            batch = Batch(list(rows[start : start + self._size(length, before)]), self._unit)
            yield batch
            if batch.failed:
                self._halve(len(batch.rows), length)
                # Only here is the error gone, and with it the tensors that its traceback held.
                free_unused_memory()
            else:
                start += len(batch.rows)

    def _size(self, length: int, before: int) -> int:
        """Return how many rows of a length fit; at least one is tried."""
        rows, tokens, held = self._limits.rows, self._limits.tokens, self._limits.held
        fit = [] if rows is None else [rows]
        if tokens is not None:
            fit.append(tokens // length)
        if held is not None:
            fit.append(held // (before + length))
        return max(1, min(fit))

    def _halve(self, rows: int, length: int) -> None:
        """Allow half of these rows: rows of other lengths as many tokens, if those are limited."""
        half = rows // 2
        if self._limits.tokens is None:
            self._limits = replace(self._limits, rows=half)
        else:
            self._limits = replace(self._limits, tokens=half * length)


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
