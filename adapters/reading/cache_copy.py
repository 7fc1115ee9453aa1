"""Causal models whose attention takes no mask of ours: the cache of what is shared is expanded.

Beside the tree of :mod:`valueeval.adapters.reading.tree_attention` the other way to read what
prompts share once:
the prompts about an argument have a stem; it is read, and what the model keeps of it (keys and
values, or states) is copied for each question; the questions are the rows of a batch behind it.

The model is given no mask, no positions, and no padding that matters. So this works with flash
attention, ALiBi, local and sliding windows, and layers that keep a state. Three things make that
possible. Stems of one batch are cut to one length; what is cut off is read with each question.
Prompts to score are padded on the right, and nothing follows there. Prompts to continue go in
step, a token each: the longer ones still read while the shorter ones already answer.

Where a model takes a mask the tree is faster (adapters/README.md): it reads no padding and copies
no cache.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import torch

from valueeval.adapters.reading.stopping import GreedyAnswers
from valueeval.adapters.reading.token_tree import common_prefix
from valueeval.adapters.reading.tree_attention import (
    ArgumentTree,
    SharedPrefix,
    TreeAttentionScorer,
)

# Stems are read together if that makes the tokens to read by no more than this share more.
_MORE_TOKENS = 0.1
# The most tokens in a cache, over all its rows: a long few-shot root is copied for each of them.
_HELD_TOKENS = 16384

Node = tuple[int, int]
"""A unit's place in its batch, and a node of its tree."""
Prompt = list[Node]
"""What is to be read of a prompt, behind the root."""


@dataclass(frozen=True)
class Stem:
    """Prompts of a unit, of which the first ``length`` nodes are the same and are read once."""

    length: int
    prompts: list[Prompt]


class CacheCopyScorer(TreeAttentionScorer):
    """As :class:`TreeAttentionScorer`, for any causal model that keeps what it has read."""

    def generate(
        self,
        root: SharedPrefix,
        units: Sequence[ArgumentTree],
        steps: int,
        done: Callable[[list[int]], bool],
    ) -> list[list[list[int]]]:
        """Greedy continuations, as :meth:`TreeAttentionScorer.generate`."""
        ends = [sorted({branch.nodes[-1] for branch in unit.branches}) for unit in units]
        answers: dict[Node, list[int]] = {}
        for group in _groups(_stems(units, ends, 1)):
            _, past = self._read_stems(root, units, group, set())
            for origins, tails in self._batches(root, group, _tails(group)):
                growing = GreedyAnswers(len(tails), steps, done)
                self._grow(_tokens(units, tails), _copied(past, origins), growing)
                for tail, tokens in zip(tails, growing.tokens, strict=True):
                    answers[tail[-1]] = tokens
        return [
            [list(answers[u, branch.nodes[-1]]) for branch in unit.branches]
            for u, unit in enumerate(units)
        ]

    def _logits(
        self, root: SharedPrefix, units: Sequence[ArgumentTree], nodes: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        order = [(u, node) for u, row in enumerate(nodes) for node in row]
        logits: dict[Node, torch.Tensor] = {}
        for group in _groups(_stems(units, [unit.tree.leaves() for unit in units], 0)):
            logits.update(self._read_group(root, units, group, set(order).difference(logits)))
        return torch.stack([logits[node] for node in order])

    def _read_group(
        self,
        root: SharedPrefix,
        units: Sequence[ArgumentTree],
        group: Sequence[Stem],
        wanted: set[Node],
    ) -> dict[Node, torch.Tensor]:
        """Logits (vocabulary) at the wanted nodes of a group's prompts."""
        logits, past = self._read_stems(root, units, group, wanted)
        asked, left = [], wanted.difference(logits)
        for origin, tail in _tails(group):
            if not left.isdisjoint(tail):
                asked.append((origin, tail))
                left.difference_update(tail)
        for origins, tails in self._batches(root, group, asked):
            found, _ = self._read_rows(units, tails, wanted, _copied(past, origins))
            logits.update(found)
        return logits

    def _read_stems(
        self,
        root: SharedPrefix,
        units: Sequence[ArgumentTree],
        group: Sequence[Stem],
        wanted: set[Node],
    ) -> tuple[dict[Node, torch.Tensor], Any]:
        """Logits at the wanted nodes of a group's stems, and the cache behind each of them."""
        past = _copied(root.past, [0] * len(group))
        stems = [stem.prompts[0][: stem.length] for stem in group]
        return self._read_rows(units, stems, wanted, past) if stems[0] else ({}, past)

    def _read_rows(
        self, units: Sequence[ArgumentTree], rows: Sequence[Prompt], wanted: set[Node], past: Any
    ) -> tuple[dict[Node, torch.Tensor], Any]:
        """Reads rows behind a cache: logits at the wanted nodes in them, and the cache."""
        width = max(map(len, rows))
        # Padded with the last token: models warn of what looks like padding without a mask.
        padded = [row + row[-1:] * (width - len(row)) for row in rows]
        places: dict[Node, tuple[int, int]] = {}
        for r, row in enumerate(rows):
            for column, node in enumerate(row):
                if node in wanted:
                    places.setdefault(node, (r, column))
        # One place must be projected even where none is wanted.
        at = torch.tensor(list(places.values()) or [(0, 0)])
        logits, past = self._step(_tokens(units, padded), past, at[:, 0], at[:, 1])
        return dict(zip(places, logits, strict=False)), past

    def _batches(
        self, root: SharedPrefix, group: Sequence[Stem], tails: Sequence[tuple[int, Prompt]]
    ) -> Iterator[tuple[list[int], list[Prompt]]]:
        """Tails that are read at once, after their stems' places in the group."""
        before = self._prompt.length + len(root.tokens) + group[0].length
        longest = max((len(tail) for _, tail in tails), default=0)
        size = max(1, _HELD_TOKENS // (before + longest + 1))
        for start in range(0, len(tails), size):
            some = tails[start : start + size]
            yield [origin for origin, _ in some], [tail for _, tail in some]

    def _grow(self, prompts: Sequence[Sequence[int]], past: Any, growing: GreedyAnswers) -> None:
        """Continues prompts behind a cache, of which each has a row."""
        rows = torch.arange(len(prompts))
        read = min(map(len, prompts))
        logits, past = self._step(
            [prompt[:read] for prompt in prompts], past, rows, torch.full_like(rows, read - 1)
        )
        for position in count(read):
            best = logits.argmax(dim=-1).tolist()
            answering = [position >= len(prompt) for prompt in prompts]
            if not growing.add([b if a else None for b, a in zip(best, answering, strict=True)]):
                return
            inputs = [
                [b if a else prompt[position]]
                for b, a, prompt in zip(best, answering, prompts, strict=True)
            ]
            logits, past = self._step(inputs, past, rows, torch.zeros_like(rows))

    def _step(
        self, tokens: Sequence[Sequence[int]], past: Any, rows: torch.Tensor, columns: torch.Tensor
    ) -> tuple[torch.Tensor, Any]:
        """One forward pass: logits (places, vocabulary), and the cache."""
        with self._context(), self._projecting(rows, columns):
            output = self._prompt.base(
                input_ids=torch.tensor(tokens, device=self._device),
                past_key_values=past,
                use_cache=True,
            )
        return output.logits[0], output.past_key_values


def _stems(units: Sequence[ArgumentTree], ends: Sequence[Sequence[int]], spare: int) -> list[Stem]:
    """The prompts that end at these nodes, by what they share.

    Args:
        units: Trees.
        ends: Of each unit's prompts, the last nodes.
        spare: How many nodes at the end of each prompt belong to no stem.
    """
    stems = []
    for u, (unit, nodes) in enumerate(zip(units, ends, strict=True)):
        stems += _divided([[(u, node) for node in unit.tree.path(end)] for end in nodes], spare)
    return stems


def _divided(prompts: list[Prompt], spare: int) -> list[Stem]:
    """One stem for all prompts, or several that share more: whichever has less to be read."""
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
    """Stems that are read together, cut to one length."""
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
    """Tokens that are read, padding included, with the stems cut to one length."""
    length = min(stem.length for stem in group)
    prompts = [len(prompt) for stem in group for prompt in stem.prompts]
    return len(group) * length + len(prompts) * (max(prompts) - length)


def _tails(group: Sequence[Stem]) -> list[tuple[int, Prompt]]:
    """What follows the stems: the stem's place in the group, and the rest of a prompt."""
    return [
        (origin, prompt[stem.length :])
        for origin, stem in enumerate(group)
        for prompt in stem.prompts
    ]


def _tokens(units: Sequence[ArgumentTree], rows: Sequence[Prompt]) -> list[list[int]]:
    return [[units[u].tree.tokens[node] for u, node in row] for row in rows]


def _copied(past: Any, rows: Sequence[int]) -> Any:
    """A cache of Transformers with these of its rows; what is done to it changes no other."""
    if past is None:
        return None
    cache = copy.copy(past)
    cache.layers = [copy.copy(layer) for layer in past.layers]
    for layer in cache.layers:
        # Layers with a state have several, by number.
        vars(layer).update({k: dict(v) for k, v in vars(layer).items() if isinstance(v, dict)})
    cache.reorder_cache(torch.tensor(rows))
    return cache
