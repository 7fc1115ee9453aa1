"""How much a model reads at once: what is asked for, or some tokens; less where memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from valueeval.adapters.runtime.out_of_memory import free_unused_memory, is_out_of_memory

logger = logging.getLogger(__name__)

S = TypeVar("S")
T = TypeVar("T")


class BatchSizer:
    """Sizes of batches.

    Args:
        size: Items in one forward pass; None: as many as ``tokens`` hold.
        tokens: The most tokens in one forward pass where there is no size.
        what: What messages call the items.
    """

    def __init__(self, size: int | None, tokens: int, what: str) -> None:
        self._size = size
        self._tokens = tokens
        self._what = what

    def fitting(self, longest: int) -> int:
        """How many items are read at once, of which the longest has so many tokens; at least 1."""
        return self._size or max(1, self._tokens // longest)

    def retry_smaller(
        self, items: Sequence[S], answer: Callable[[Sequence[S]], list[T]]
    ) -> list[T]:
        """Answers to the items of a batch: to half as many at a time where memory runs out.

        Nothing so large is tried again.

        Raises:
            RuntimeError: A single item is too much.
        """
        answers: list[T] = []
        while left := len(items) - len(answers):
            some = items[len(answers) :][: self._size or left]
            if (found := self._tried(some, answer)) is None:
                self._size = len(some) // 2
                free_unused_memory()
            else:
                answers += found
        return answers

    def _tried(
        self, items: Sequence[S], answer: Callable[[Sequence[S]], list[T]]
    ) -> list[T] | None:
        """Answers, or None if memory runs out."""
        try:
            return answer(items)
        except (RuntimeError, MemoryError) as error:
            if len(items) == 1 or not is_out_of_memory(error):
                raise
            logger.warning(
                "out of memory with %d %s at once: trying %d",
                len(items),
                self._what,
                len(items) // 2,
            )
            return None
