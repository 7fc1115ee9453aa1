"""Prompts about many arguments, read by a causal model: shared prefix, trees, batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from valueeval.adapters.reading.cache_copy import CacheCopyScorer
from valueeval.adapters.reading.forms import FormOf
from valueeval.adapters.reading.token_tree import ArgumentTree, common_prefix
from valueeval.adapters.reading.tree_attention import TreeAttentionScorer
from valueeval.adapters.reading.types import EncodedPair, LogLikelihood, SharedPrefix
from valueeval.adapters.runtime.batch_sizes import Batch, BatchLimits, BatchSizer

_Documents = Sequence[Sequence[EncodedPair]]


class CausalReader:
    """Scores and continues the prompts about arguments.

    Args:
        scorer: The model, and the way in which it reads prompts that share a beginning.
        limits: Limits of a batch, whose rows are arguments.
    """

    def __init__(self, scorer: TreeAttentionScorer, limits: BatchLimits) -> None:
        self._scorer = scorer
        self._sizer = BatchSizer(limits, "arguments")
        self._prefixes: dict[str, SharedPrefix] = {}

    @property
    def copies_cache(self) -> bool:
        """Return True if a cache is copied for each question, as the model takes no mask."""
        return isinstance(self._scorer, CacheCopyScorer)

    @torch.no_grad()
    def score(self, family: str, documents: _Documents) -> list[list[LogLikelihood]]:
        """Score the continuations about each argument.

        Args:
            family: Name of the prompts that begin with the same instruction, read once for all.
            documents: The prompts about each argument.
        """
        prefix = self._prefix(family, documents)
        trees = _trees(prefix, documents)
        scores: dict[int, list[LogLikelihood]] = {}
        for batch in self._batches(prefix, trees):
            with batch.retry_smaller():
                found = self._scorer.score(prefix, [trees[i] for i in batch.rows])
                scores.update(zip(batch.rows, found, strict=True))
        return [scores[i] for i in range(len(trees))]

    def log_likelihoods(self, documents: _Documents) -> torch.Tensor:
        """Score with gradients, for training: (continuations,), in one forward pass."""
        prefix = self._scorer.read_prefix(common_prefix(_before_targets(documents)))
        scores = self._scorer.score_tokens(prefix, _trees(prefix, documents)).scores
        lengths = [len(pair.continuation) for document in documents for pair in document]
        return torch.stack([part.sum() for part in torch.split(scores, lengths)])

    @torch.no_grad()
    def generate(
        self,
        family: str,
        documents: Sequence[Sequence[list[int]]],
        steps: int,
        done: Callable[[list[int]], bool],
        form_of: FormOf | None = None,
    ) -> list[list[list[int]]]:
        """Continue the prompts about each argument greedily.

        Args:
            family: Name of the prompts that begin with the same instruction, read once for all.
            documents: Prompts about each argument, as tokens.
            steps: Number of tokens to generate at most.
            done: Returns whether an answer ends with the last of the tokens given to it.
            form_of: Makes the form of an answer; None: all are free.
        """
        # A target of one token marks the end of a prompt; which token does not matter.
        pairs = [[EncodedPair(tokens, [0]) for tokens in document] for document in documents]
        prefix = self._prefix(family, pairs)
        trees = _trees(prefix, pairs)
        answers: dict[int, list[list[int]]] = {}
        for batch in self._batches(prefix, trees):
            with batch.retry_smaller():
                some = [trees[i] for i in batch.rows]
                forms = None
                if form_of is not None:
                    forms = [[form_of(i, k) for k in range(len(documents[i]))] for i in batch.rows]
                found = self._scorer.generate(prefix, some, steps, done, forms)
                answers.update(zip(batch.rows, found, strict=True))
        return [answers[i] for i in range(len(trees))]

    def _batches(self, prefix: SharedPrefix, trees: Sequence[ArgumentTree]) -> Iterator[Batch[int]]:
        """Yield batches of the trees' places, the longest first."""
        order = sorted(range(len(trees)), key=lambda i: -len(trees[i]))
        lengths = [len(trees[i]) for i in order]
        return self._sizer.batches(order, lengths, before=len(prefix.tokens))

    def _prefix(self, family: str, documents: _Documents) -> SharedPrefix:
        """Return what these prompts and earlier ones of the family begin with, read once a run."""
        known = self._prefixes.get(family)
        sequences = _before_targets(documents)
        shared = common_prefix(sequences if known is None else [*sequences, list(known.tokens)])
        if known is None or len(shared) < len(known.tokens):
            # One at a time: keys and values of a long few-shot prompt take memory.
            self._prefixes = {family: self._scorer.read_prefix(shared)}
        return self._prefixes[family]


def _inputs(pair: EncodedPair) -> list[int]:
    """Return the tokens that are read: all but the last, which predicts nothing that is asked."""
    return (pair.context + pair.continuation)[:-1]


def _before_targets(documents: _Documents) -> list[list[int]]:
    """Return the tokens that may be in a shared prefix: those that predict no target."""
    # The context's last token predicts the first target.
    return [pair.context[:-1] for document in documents for pair in document]


def _trees(prefix: SharedPrefix, documents: _Documents) -> list[ArgumentTree]:
    trees = []
    for document in documents:
        tree = ArgumentTree()
        for pair in document:
            tree.add_prompt(_inputs(pair)[len(prefix.tokens) :], pair.continuation)
        trees.append(tree)
    return trees
