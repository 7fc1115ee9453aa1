"""Causal models: prompts that share a beginning are read as a tree, each token once.

The prompts about one argument form a tree (:mod:`valueeval.adapters.reading.token_tree`). Its nodes
are one row of a batch; each attends to its ancestors only, and its position is its depth. Before
all trees of a batch stands a shared prefix, held as keys and values: the virtual tokens of a soft
prompt and the tokens that all prompts begin with. Generated tokens become further nodes.

The vocabulary projection runs only at the nodes that are scored.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from valueeval.adapters.reading.forms import Forms
from valueeval.adapters.reading.soft_prompts import SoftPrompt
from valueeval.adapters.reading.stopping import GreedyAnswers
from valueeval.adapters.reading.token_tree import ArgumentTree
from valueeval.adapters.reading.types import (
    LoadedModel,
    LogLikelihood,
    SharedPrefix,
    TokenScores,
    log_normaliser,
)


class TreeAttentionScorer:
    """Scores and continues trees of prompts with a causal model.

    Args:
        loaded: The model.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._prompt = SoftPrompt(loaded.model)
        self._head = self._prompt.base.get_output_embeddings()
        self._device = loaded.device
        self._softmax_dtype = loaded.softmax_dtype
        self._autocast = loaded.autocast

    def read_prefix(self, tokens: Sequence[int]) -> SharedPrefix:
        """Read the virtual tokens and the tokens that all prompts begin with."""
        prompt = self._prompt
        if not tokens and not prompt.length:
            return SharedPrefix((), None)
        ids = torch.tensor([list(tokens)], dtype=torch.long, device=self._device)
        past = prompt.cache(1) if prompt.in_cache else None
        if tokens or prompt.embedded:
            inputs = {"inputs_embeds": prompt.embed(ids)} if prompt.embedded else {"input_ids": ids}
            with self._autocast(), self._projecting(torch.zeros(1, dtype=torch.long)):
                past = prompt.base(**inputs, past_key_values=past, use_cache=True).past_key_values
        return SharedPrefix(tuple(tokens), past)

    def score(
        self, prefix: SharedPrefix, trees: Sequence[ArgumentTree]
    ) -> list[list[LogLikelihood]]:
        """Score the continuations of each tree."""
        read = self.score_tokens(prefix, trees)
        scores, greedy = read.scores.tolist(), read.greedy.tolist()
        lengths = [[len(one.nodes) for one in tree.continuations] for tree in trees]
        ends = itertools.accumulate(itertools.chain.from_iterable(lengths))
        return [
            [
                (sum(scores[end - length : end]), all(greedy[end - length : end]))
                for length, end in zip(row, ends, strict=False)
            ]
            for row in lengths
        ]

    def score_tokens(self, prefix: SharedPrefix, trees: Sequence[ArgumentTree]) -> TokenScores:
        """Score every target of every continuation, one tree after the other.

        Gradients flow through the trees and the prefix, unless they are switched off.
        """
        asked = [one for tree in trees for one in tree.continuations]
        nodes = [sorted({n for one in tree.continuations for n in one.nodes}) for tree in trees]
        logits = self._logits(prefix, trees, nodes)
        rows = {
            (t, n): row for row, (t, n) in enumerate((t, n) for t, w in enumerate(nodes) for n in w)
        }
        at = [
            rows[t, n] for t, tree in enumerate(trees) for o in tree.continuations for n in o.nodes
        ]
        places = torch.tensor(at, device=logits.device)
        targets = torch.tensor([n for one in asked for n in one.targets], device=logits.device)
        total, best = log_normaliser(logits, self._softmax_dtype)
        scores = logits[places, targets].to(self._softmax_dtype) - total[places]
        return TokenScores(scores, best[places] == targets)

    def generate(
        self,
        prefix: SharedPrefix,
        trees: Sequence[ArgumentTree],
        steps: int,
        done: Callable[[list[int]], bool],
        forms: Forms | None = None,
    ) -> list[list[list[int]]]:
        """Continue the prompts of each tree greedily.

        Args:
            prefix: What stands before the trees.
            trees: Their continuations have one node each, the prompt's last.
            steps: Number of tokens to generate at most.
            done: Returns whether an answer ends with the last of the tokens given to it.
            forms: The form of the answer to each prompt; None: all are free.
        """
        packed = _PackedTrees(prefix, trees, self._device)
        leaves = [[one.nodes[-1] for one in tree.continuations] for tree in trees]
        logits, past = self._read(packed, leaves, keep=True)
        flat_forms = None if forms is None else [form for row in forms for form in row]
        answers = GreedyAnswers(sum(map(len, leaves)), steps, done, flat_forms)
        ends = _GrowingEnds(packed, leaves, self._device)
        while answers.add(chosen := answers.choose(logits)):
            inputs, mask, positions = ends.step(chosen, self._dtype)
            with self._autocast(), self._projecting(ends.rows, ends.columns):
                output = self._prompt.base(
                    input_ids=inputs,
                    attention_mask=mask,
                    position_ids=positions,
                    past_key_values=past,
                    use_cache=True,
                )
            logits, past = output.logits[0], output.past_key_values
        flat = iter(answers.tokens)
        return [[next(flat) for _ in tree.continuations] for tree in trees]

    @property
    def _dtype(self) -> torch.dtype:
        dtype: torch.dtype = self._prompt.base.get_input_embeddings().weight.dtype
        return dtype

    def _logits(
        self, prefix: SharedPrefix, trees: Sequence[ArgumentTree], nodes: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """Return the logits (number of nodes, vocabulary) at these nodes of each tree."""
        logits, _ = self._read(_PackedTrees(prefix, trees, self._device), nodes, keep=False)
        return logits

    def _read(
        self, packed: _PackedTrees, nodes: Sequence[Sequence[int]], keep: bool
    ) -> tuple[torch.Tensor, Any]:
        """Return the logits (nodes, vocabulary) at the nodes of each row, and the cache."""
        rows = [row for row, wanted in enumerate(nodes) for _ in wanted]
        columns = [node for wanted in nodes for node in wanted]
        past = packed.past()
        with self._autocast(), self._projecting(torch.tensor(rows), torch.tensor(columns)):
            output = self._prompt.base(
                input_ids=packed.tokens,
                attention_mask=packed.mask(self._dtype),
                position_ids=packed.positions,
                past_key_values=past,
                use_cache=keep or past is not None,
            )
        return output.logits[0], output.past_key_values

    @contextmanager
    def _projecting(
        self, rows: torch.Tensor, columns: torch.Tensor | None = None
    ) -> Iterator[None]:
        """Project only these places onto the vocabulary, in the block: (batch, n, …) → (1, k, …).

        A hook on the projection leaves in place what the model does to hidden states and logits
        around it (scaling, soft caps).
        """
        columns = torch.zeros_like(rows) if columns is None else columns

        def select(_: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            hidden = given[0]
            picked = hidden[rows.to(hidden.device), columns.to(hidden.device)]
            return (picked.unsqueeze(0), *given[1:])

        handle = self._head.register_forward_pre_hook(select)
        try:
            yield
        finally:
            handle.remove()


class _PackedTrees:
    """Trees as the rows of a batch, padded on the right."""

    def __init__(
        self, prefix: SharedPrefix, trees: Sequence[ArgumentTree], device: torch.device
    ) -> None:
        self.prefix, self.size = prefix, len(trees)
        self.width = max(map(len, trees))
        tokens = np.zeros((self.size, self.width), dtype=np.int64)
        depths = np.zeros_like(tokens)
        # Padding attends to itself: softmax over an empty row of the mask would be NaN.
        visible = np.repeat(np.eye(self.width, dtype=np.bool_)[None], self.size, axis=0)
        for row, tree in enumerate(trees):
            n = len(tree)
            tokens[row, :n] = tree.tokens
            depths[row, :n] = tree.depths
            visible[row, :n, :n] = tree.visible()
        before = np.ones((self.size, self.width, prefix.length), dtype=np.bool_)
        self.device = device
        self.tokens = torch.from_numpy(tokens).to(device)
        self.positions = torch.from_numpy(depths + prefix.length).to(device)
        self.visible = torch.from_numpy(np.concatenate([before, visible], axis=2)).to(device)

    def mask(self, dtype: torch.dtype) -> torch.Tensor:
        """Return what is added to attention scores: (batch, 1, width, prefix + width)."""
        return _additive(self.visible, dtype)

    def past(self) -> DynamicCache | None:
        """Return the cache of the prefix, once for each row."""
        if not self.prefix.layers:
            return None
        return DynamicCache(
            [
                (k.expand(self.size, -1, -1, -1), v.expand(self.size, -1, -1, -1))
                for k, v in self.prefix.layers
            ]
        )


class _GrowingEnds:
    """The ends of trees in generation; each grows by a token a step.

    Attributes:
        rows: Row of each end in the batch, one tree after the other.
        columns: Place of each end among those of its row.
    """

    def __init__(
        self, packed: _PackedTrees, leaves: Sequence[Sequence[int]], device: torch.device
    ) -> None:
        self.width = max(len(row) for row in leaves)
        self.rows = torch.tensor([r for r, row in enumerate(leaves) for _ in row], device=device)
        self.columns = torch.tensor([c for row in leaves for c in range(len(row))], device=device)
        # Padding ends repeat the first one of their row.
        node = torch.tensor([[*row, *[row[0]] * (self.width - len(row))] for row in leaves])
        node = node.to(device)
        batch = torch.arange(packed.size, device=device)[:, None]
        self._seen = packed.visible[batch, node]  # (batch, ends, prefix + width)
        self._positions = packed.positions[batch, node]
        self._own = torch.eye(self.width, dtype=torch.bool, device=device).expand(
            packed.size, -1, -1
        )
        self._step = 0

    def step(
        self, chosen: Sequence[int], dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return inputs (batch, ends), mask and positions with which to read the chosen tokens."""
        self._step += 1
        self._seen = torch.cat([self._seen, self._own], dim=2)
        tokens = torch.zeros_like(self._positions)
        tokens[self.rows, self.columns] = torch.tensor(chosen, device=tokens.device)
        return tokens, _additive(self._seen, dtype), self._positions + self._step


def _additive(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    hidden = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=visible.device)
    return torch.where(visible, torch.zeros_like(hidden), hidden).unsqueeze(1)
