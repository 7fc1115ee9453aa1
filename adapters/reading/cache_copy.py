"""Causal models that take no mask of ours: the cache of a shared stem is copied for each question.

The prompts about an argument share a stem. The stem is read once; its cache (keys and values, or
states) is copied for each question, and the questions are read behind it as the rows of a batch.

The model is given no mask, no positions, and no padding that matters, so this works with flash
attention, ALiBi, local and sliding windows, and layers that keep a state. Stems of one batch are
cut to one length, and what is cut off is read with each question. Prompts to score are padded on
the right, where nothing follows. Prompts to continue advance together, a token a step: long ones
are still being read while short ones already answer.

Where a model takes a mask, :mod:`valueeval.adapters.reading.tree_attention` is faster
(adapters/README.md): it reads no padding and copies no cache.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import torch

from valueeval.adapters.reading.forms import Form, Forms
from valueeval.adapters.reading.stopping import GreedyAnswers
from valueeval.adapters.reading.token_tree import ArgumentTree, common_prefix
from valueeval.adapters.reading.tree_attention import TreeAttentionScorer
from valueeval.adapters.reading.types import SharedPrefix

# Stems are read together if that makes the tokens to read by no more than this share more.
_MORE_TOKENS = 0.1
# Tokens in a cache at most, over all its rows: a long few-shot prefix is copied for each of them.
_HELD_TOKENS = 16384

Node = tuple[int, int]
"""An argument's place in its batch, and a node of its tree."""
Prompt = list[Node]
"""The nodes of a prompt behind the shared prefix."""


@dataclass(frozen=True)
class Stem:
    """Prompts about an argument whose first ``length`` nodes are the same and are read once."""

    length: int
    prompts: list[Prompt]


class CacheCopyScorer(TreeAttentionScorer):
    """Scores and continues trees of prompts with any causal model that keeps a cache."""

    def generate(
        self,
        prefix: SharedPrefix,
        trees: Sequence[ArgumentTree],
        steps: int,
        done: Callable[[list[int]], bool],
        forms: Forms | None = None,
    ) -> list[list[list[int]]]:
        """Continue the prompts of each tree greedily, as :meth:`TreeAttentionScorer.generate`."""
        form_of: dict[Node, Form | None] = {}
        for t, row in enumerate(forms or ()):
            for one, form in zip(trees[t].continuations, row, strict=True):
                form_of[t, one.nodes[-1]] = form
        ends = [sorted({one.nodes[-1] for one in tree.continuations}) for tree in trees]
        answers: dict[Node, list[int]] = {}
        for group in _groups(_stems(trees, ends, 1)):
            _, past = self._read_stems(prefix, trees, group, set())
            for origins, tails in self._batches(prefix, group, _tails(group)):
                own = [form_of.get(tail[-1]) for tail in tails]
                grown = GreedyAnswers(len(tails), steps, done, own)
                self._grow(_tokens(trees, tails), _copied(past, origins), grown)
                for tail, tokens in zip(tails, grown.tokens, strict=True):
                    answers[tail[-1]] = tokens
        return [
            [list(answers[t, one.nodes[-1]]) for one in tree.continuations]
            for t, tree in enumerate(trees)
        ]

    def _logits(
        self, prefix: SharedPrefix, trees: Sequence[ArgumentTree], nodes: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        order = [(t, node) for t, row in enumerate(nodes) for node in row]
        logits: dict[Node, torch.Tensor] = {}
        for group in _groups(_stems(trees, [tree.leaves() for tree in trees], 0)):
            logits.update(self._read_group(prefix, trees, group, set(order).difference(logits)))
        return torch.stack([logits[node] for node in order])

    def _read_group(
        self,
        prefix: SharedPrefix,
        trees: Sequence[ArgumentTree],
        group: Sequence[Stem],
        wanted: set[Node],
    ) -> dict[Node, torch.Tensor]:
        """Return the logits (vocabulary) at the wanted nodes of a group's prompts."""
        logits, past = self._read_stems(prefix, trees, group, wanted)
        asked, left = [], wanted.difference(logits)
        for origin, tail in _tails(group):
            if not left.isdisjoint(tail):
                asked.append((origin, tail))
                left.difference_update(tail)
        for origins, tails in self._batches(prefix, group, asked):
            found, _ = self._read_rows(trees, tails, wanted, _copied(past, origins))
            logits.update(found)
        return logits

    def _read_stems(
        self,
        prefix: SharedPrefix,
        trees: Sequence[ArgumentTree],
        group: Sequence[Stem],
        wanted: set[Node],
    ) -> tuple[dict[Node, torch.Tensor], Any]:
        """Return the logits at the wanted nodes of a group's stems, and the cache behind them."""
        past = _copied(prefix.past, [0] * len(group))
        stems = [stem.prompts[0][: stem.length] for stem in group]
        return self._read_rows(trees, stems, wanted, past) if stems[0] else ({}, past)

    def _read_rows(
        self, trees: Sequence[ArgumentTree], rows: Sequence[Prompt], wanted: set[Node], past: Any
    ) -> tuple[dict[Node, torch.Tensor], Any]:
        """Read rows behind a cache; return the logits at the wanted nodes, and the new cache."""
        width = max(map(len, rows))
        # Padded with the last token: models warn of what looks like padding without a mask.
        padded = [row + row[-1:] * (width - len(row)) for row in rows]
        places: dict[Node, tuple[int, int]] = {}
        for r, row in enumerate(rows):
            for column, node in enumerate(row):
                if node in wanted:
                    places.setdefault(node, (r, column))
        # The projection must see one place at least.
        at = torch.tensor(list(places.values()) or [(0, 0)])
        logits, past = self._step(_tokens(trees, padded), past, at[:, 0], at[:, 1])
        return dict(zip(places, logits, strict=False)), past

    def _batches(
        self, prefix: SharedPrefix, group: Sequence[Stem], tails: Sequence[tuple[int, Prompt]]
    ) -> Iterator[tuple[list[int], list[Prompt]]]:
        """Yield the tails that are read at once, after their stems' places in the group."""
        before = self._prompt.length + len(prefix.tokens) + group[0].length
        longest = max((len(tail) for _, tail in tails), default=0)
        size = max(1, _HELD_TOKENS // (before + longest + 1))
        for start in range(0, len(tails), size):
            some = tails[start : start + size]
            yield [origin for origin, _ in some], [tail for _, tail in some]

    def _grow(self, prompts: Sequence[Sequence[int]], past: Any, answers: GreedyAnswers) -> None:
        """Continue prompts behind a cache that has a row for each of them."""
        rows = torch.arange(len(prompts))
        read = min(map(len, prompts))
        logits, past = self._step(
            [prompt[:read] for prompt in prompts], past, rows, torch.full_like(rows, read - 1)
        )
        for position in count(read):
            answering = [position >= len(prompt) for prompt in prompts]
            best = answers.choose(logits, answering)
            if not answers.add([b if a else None for b, a in zip(best, answering, strict=True)]):
                return
            inputs = [
                [b if a else prompt[position]]
                for b, a, prompt in zip(best, answering, prompts, strict=True)
            ]
            logits, past = self._step(inputs, past, rows, torch.zeros_like(rows))

    def _step(
        self, tokens: Sequence[Sequence[int]], past: Any, rows: torch.Tensor, columns: torch.Tensor
    ) -> tuple[torch.Tensor, Any]:
        """Run one forward pass; return the logits (places, vocabulary) and the cache."""
        with self._autocast(), self._projecting(rows, columns):
            output = self._prompt.base(
                input_ids=torch.tensor(tokens, device=self._device),
                past_key_values=past,
                use_cache=True,
            )
        return output.logits[0], output.past_key_values


def _stems(trees: Sequence[ArgumentTree], ends: Sequence[Sequence[int]], spare: int) -> list[Stem]:
    """Group the prompts that end at these nodes by the stem that they share.

    Args:
        trees: The arguments.
        ends: Last nodes of each argument's prompts.
        spare: Number of nodes at the end of each prompt that belong to no stem.
    """
    stems = []
    for t, (tree, nodes) in enumerate(zip(trees, ends, strict=True)):
        stems += _divided([[(t, node) for node in tree.path(end)] for end in nodes], spare)
    return stems


def _divided(prompts: list[Prompt], spare: int) -> list[Stem]:
    """Return one stem for all prompts, or several longer ones: whichever reads fewer tokens."""
    if len(prompts) == 1:
        return [Stem(0, prompts)]
    shared = len(common_prefix(prompts))
    whole = Stem(min(shared, min(map(len, prompts)) - spare), prompts)
    parts: dict[tuple[Node, ...], list[Prompt]] = {}
    for prompt in prompts:
        parts.setdefault(tuple(prompt[shared : shared + 1]), []).append(prompt)
    apart = [stem for part in parts.values() for stem in _divided(part, spare)]
    return min([whole], apart, key=lambda stems: sum(_size([stem]) for stem in stems))


def _groups(stems: Sequence[Stem]) -> Iterator[list[Stem]]:
    """Yield groups of stems that are read together, cut to one length."""
    group: list[Stem] = []
    apart = 0
    for stem in sorted(stems, key=lambda stem: -stem.length):
        joined, size = [*group, stem], _size([stem])
        if group and _size(joined) > (1 + _MORE_TOKENS) * (apart + size):
            yield _cut(group)
            joined, apart = [stem], 0
        group, apart = joined, apart + size
    yield _cut(group)


def _cut(group: Sequence[Stem]) -> list[Stem]:
    length = min(stem.length for stem in group)
    return [replace(stem, length=length) for stem in group]


def _size(group: Sequence[Stem]) -> int:
    """Return the number of tokens read, padding included, with the stems cut to one length."""
    length = min(stem.length for stem in group)
    prompts = [len(prompt) for stem in group for prompt in stem.prompts]
    return len(group) * length + len(prompts) * (max(prompts) - length)


def _tails(group: Sequence[Stem]) -> list[tuple[int, Prompt]]:
    """Return the rest of each prompt behind its stem, after the stem's place in the group."""
    return [
        (origin, prompt[stem.length :])
        for origin, stem in enumerate(group)
        for prompt in stem.prompts
    ]


def _tokens(trees: Sequence[ArgumentTree], rows: Sequence[Prompt]) -> list[list[int]]:
    return [[trees[t].tokens[node] for t, node in row] for row in rows]


def _copied(past: Any, rows: Sequence[int]) -> Any:
    """Return a copy of a cache of Transformers that holds these of its rows."""
    if past is None:
        return None
    cache = copy.copy(past)
    cache.layers = [copy.copy(layer) for layer in past.layers]
    for layer in cache.layers:
        # Layers with a state have several, by number.
        vars(layer).update({k: dict(v) for k, v in vars(layer).items() if isinstance(v, dict)})
    cache.reorder_cache(torch.tensor(rows))
    return cache
