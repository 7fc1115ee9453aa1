"""Batches of arguments for causal models: shared prefixes, sizes, memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import torch

from valueeval.adapters.reading.token_tree import common_prefix
from valueeval.adapters.reading.tree_attention import (
    ArgumentTree,
    LogLikelihood,
    SharedPrefix,
    TreeAttentionScorer,
)
from valueeval.adapters.runtime.batch_sizes import BatchSizer

T = TypeVar("T")


class EncodedPair(NamedTuple):
    """A context and its continuation as tokens, neither empty."""

    context: list[int]
    continuation: list[int]


class CausalReader:
    """Scores and continues the prompts about arguments.

    Args:
        scorer: The model.
        batch_size: Arguments in one forward pass; None: as many as ``tokens`` hold.
        tokens: The most tokens in one forward pass where there is no batch size.
    """

    def __init__(self, scorer: TreeAttentionScorer, batch_size: int | None, tokens: int) -> None:
        self._scorer = scorer
        self._sizes = BatchSizer(batch_size, tokens, "arguments")
        self._roots: dict[str, SharedPrefix] = {}

    @torch.no_grad()
    def score(
        self, family: str, documents: Sequence[Sequence[EncodedPair]]
    ) -> list[list[LogLikelihood]]:
        """Log-probability of each continuation, and whether it is the greedy one.

        Args:
            family: Prompts of the same family begin with the same instruction.
            documents: The prompts about each argument.
        """
        return self._in_batches(family, *_split(documents), self._scorer.score)

    def log_likelihoods(self, documents: Sequence[Sequence[EncodedPair]]) -> torch.Tensor:
        """The same with gradients, for training: (continuations,), in one forward pass."""
        inputs, targets = _split(documents)
        root = self._scorer.root(common_prefix(_before_targets(inputs, targets)))
        scores = self._scorer.log_probabilities(root, _units(root, inputs, targets)).scores
        lengths = [len(asked) for wanted in targets for asked in wanted]
        return torch.stack([part.sum() for part in torch.split(scores, lengths)])

    @torch.no_grad()
    def generate(
        self,
        family: str,
        documents: Sequence[Sequence[list[int]]],
        steps: int,
        done: Callable[[list[int]], bool],
    ) -> list[list[list[int]]]:
        """Greedy continuations, as :meth:`TreeAttentionScorer.generate`."""
        # Only the place after a prompt matters: a target that stands for it.
        targets = [[[0] for _ in document] for document in documents]
        return self._in_batches(
            family,
            documents,
            targets,
            lambda root, units: self._scorer.generate(root, units, steps, done),
        )

    def _in_batches(
        self,
        family: str,
        inputs: Sequence[Sequence[list[int]]],
        targets: Sequence[Sequence[list[int]]],
        answer: Callable[[SharedPrefix, Sequence[ArgumentTree]], list[T]],
    ) -> list[T]:
        root = self._root(family, inputs, targets)
        units = _units(root, inputs, targets)
        order = sorted(range(len(units)), key=lambda i: -len(units[i].tree))
        answers: dict[int, T] = {}
        start = 0
        while start < len(order):
            size = self._sizes.fitting(len(units[order[start]].tree))
            batch = order[start : start + size]
            results = self._sizes.retry_smaller(
                [units[i] for i in batch], lambda some: answer(root, some)
            )
            answers.update(zip(batch, results, strict=True))
            start += len(batch)
        return [answers[i] for i in range(len(units))]

    def _root(
        self,
        family: str,
        inputs: Sequence[Sequence[list[int]]],
        targets: Sequence[Sequence[list[int]]],
    ) -> SharedPrefix:
        """What these prompts, and those of the family before them, begin with; read once a run."""
        known = self._roots.get(family)
        sequences = _before_targets(inputs, targets)
        shared = common_prefix(sequences if known is None else [*sequences, list(known.tokens)])
        if known is None or len(shared) < len(known.tokens):
            # One at a time: keys and values of a long few-shot prompt take memory.
            self._roots = {family: self._scorer.root(shared)}
        return self._roots[family]


_Tokens = Sequence[Sequence[list[int]]]
"""Of each document, of each of its prompts."""


def _split(documents: Sequence[Sequence[EncodedPair]]) -> tuple[_Tokens, _Tokens]:
    """What is read, and what it is to predict at its end."""
    # The last token predicts nothing that is asked for.
    inputs = [[(e.context + e.continuation)[:-1] for e in document] for document in documents]
    return inputs, [[e.continuation for e in document] for document in documents]


def _before_targets(inputs: _Tokens, targets: _Tokens) -> list[list[int]]:
    """What may be in a root: what is scored stays in the tree."""
    return [
        tokens[: len(tokens) - len(ahead)]
        for document, wanted in zip(inputs, targets, strict=True)
        for tokens, ahead in zip(document, wanted, strict=True)
    ]


def _units(root: SharedPrefix, inputs: _Tokens, targets: _Tokens) -> list[ArgumentTree]:
    units = []
    for document, wanted in zip(inputs, targets, strict=True):
        unit = ArgumentTree()
        for tokens, ahead in zip(document, wanted, strict=True):
            unit.add(tokens[len(root.tokens) :], ahead)
        units.append(unit)
    return units
