"""Choose few-shot examples from the training arguments, balanced over the 20 values.

The choice depends on the pool, the number and the seed alone, so every argument of a run sees the
same examples (one shared prefix), whatever the rank, limit or order.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from valueeval.tasks.data.conclusions import normalise_conclusion
from valueeval.tasks.errors import ValueEvalError


class Example(NamedTuple):
    """One example: an argument's index in the pool and, for per-value templates, the value."""

    argument: int
    value: int | None


class _Pool:
    """Arguments not yet picked, in random order; prefers conclusions not yet picked."""

    def __init__(self, conclusions: Sequence[str], n: int, rng: np.random.Generator) -> None:
        if n > len(conclusions):
            raise ValueEvalError(
                f"{n} few-shot examples asked for, but the few-shot set has only "
                f"{len(conclusions)} arguments: lower --num_fewshot"
            )
        plain = [normalise_conclusion(conclusion) for conclusion in conclusions]
        _, self._group = np.unique(plain, return_inverse=True)
        self._order = rng.permutation(len(conclusions))
        self._free = np.ones(len(conclusions), dtype=bool)
        self._fresh = np.ones(self._group.max(initial=0) + 1, dtype=bool)

    def among(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Return indices where ``mask`` holds and nothing was picked, in random order.

        Only those with a fresh conclusion, if there are any.
        """
        free = self._order[(self._free & mask)[self._order]]
        fresh = free[self._fresh[self._group[free]]]
        return fresh if len(fresh) else free

    def pick(self, index: int) -> int:
        """Mark an argument and its conclusion as picked; return its index."""
        self._free[index] = False
        self._fresh[self._group[index]] = False
        return index


def pick_arguments(
    labels: npt.NDArray[np.bool_], conclusions: Sequence[str], n: int, seed: int
) -> list[Example]:
    """Choose examples for templates that ask about all values at once (mbc, cot).

    Numbers of values per argument are drawn as they occur in the pool, so that examples do not
    teach a model to name few or many; given its number, each pick is the argument that keeps the
    values' counts most even (least sum of squares).

    Args:
        labels: (m, 20) bool, the pool.
        conclusions: m strings; one is used twice only if there are too few.
        n: Number of examples.
        seed: Seed of every random choice.

    Raises:
        ValueEvalError: the pool is smaller than ``n``, counting arguments with a value.
    """
    rng = np.random.default_rng(seed)
    sizes = labels.sum(1)
    held = np.flatnonzero(sizes)
    pool = _Pool([conclusions[int(i)] for i in held], n, rng)
    labels, sizes = labels[held], sizes[held]
    counts = np.zeros(labels.shape[1], dtype=np.int64)
    examples = []
    for size in rng.permutation(sizes)[:n]:
        candidates = pool.among(sizes == size)
        squares = ((counts + labels[candidates]) ** 2).sum(1)
        chosen = pool.pick(int(candidates[squares.argmin()]))
        counts += labels[chosen]
        examples.append(Example(int(held[chosen]), None))
    return examples


def pick_pairs(
    labels: npt.NDArray[np.bool_],
    conclusions: Sequence[str],
    n: int,
    seed: int,
    answers: Sequence[bool] = (True, False),
) -> list[Example]:
    """Choose examples for templates that ask about one value: an argument and the value.

    Every value is used before one is used again, and answers alternate; so counts of values and
    of answers differ by at most one wherever the pool has an argument for each.

    Args:
        labels: (m, 20) bool, the pool.
        conclusions: m strings; one is used twice only if there are too few.
        n: Number of examples.
        seed: Seed of every random choice.
        answers: (True, False) for bca and oa; (True,) where only held values are shown (cls).

    Raises:
        ValueEvalError: the pool is smaller than ``n``, or has too few arguments with such answers.
    """
    rng = np.random.default_rng(seed)
    pool = _Pool(conclusions, n, rng)
    values = rng.permutation(labels.shape[1])
    cells = [
        (int(value), answers[(position + turn) % len(answers)])
        for turn in range(n * len(answers))
        for position, value in enumerate(values)
    ]
    # The scarcest first, before its arguments serve as examples of something else.
    wanted = sorted(cells[:n], key=lambda cell: int((labels[:, cell[0]] == cell[1]).sum()))
    examples: list[Example] = []
    for value, answer in itertools.chain(wanted, cells[n:]):
        if len(examples) == n:
            break
        candidates = pool.among(labels[:, value] == answer)
        if len(candidates):
            examples.append(Example(pool.pick(int(candidates[0])), value))
    if len(examples) < n:
        raise ValueEvalError(
            f"{n} few-shot examples asked for, but the few-shot set allows only {len(examples)}: "
            "lower --num_fewshot"
        )
    return [examples[i] for i in rng.permutation(n)]  # else all yes would come first
