"""Causal models: what many prompts begin with is read once.

The prompts about one argument form a tree (:mod:`valueeval.adapters.reading.token_tree`). Its
nodes are
read in one forward pass, as one row of a batch, each attending only to the nodes before it on its
path; its position is its depth. Before the tree stands the root: virtual tokens of a soft prompt
and what all prompts of a run begin with, held as keys and values. Generated tokens are further
nodes.

The vocabulary projection runs at the nodes that are scored, and nowhere else.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import DynamicCache

from valueeval.adapters.reading.soft_prompts import SoftPrompt
from valueeval.adapters.reading.stopping import GreedyAnswers
from valueeval.adapters.reading.token_tree import TokenTree

logger = logging.getLogger(__name__)

LogLikelihood = tuple[float, bool]
KeysAndValues = list[tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class SharedPrefix:
    """What stands before every tree of a batch.

    Attributes:
        tokens: The text's tokens (virtual ones are not among them).
        past: Transformers' cache of virtual tokens and text; None if the root is empty.
    """

    tokens: tuple[int, ...]
    past: Any

    @property
    def layers(self) -> KeysAndValues:
        """Keys and values, (1, heads, length, width) each layer; empty if the root is."""
        return [] if self.past is None else layers_of(self.past)

    @property
    def length(self) -> int:
        """Virtual tokens and text."""
        return self.layers[0][0].shape[2] if self.layers else 0


@dataclass
class Continuation:
    """One continuation to score: ``nodes`` predict ``targets``, one each."""

    nodes: list[int]
    targets: list[int]


@dataclass
class ArgumentTree:
    """The prompts about one argument: a tree, and what is asked of it.

    Attributes:
        tree: All prompts, without the root's tokens.
        branches: Scoring: the continuations. Generation: one node each, the prompt's last.
    """

    tree: TokenTree = field(default_factory=TokenTree)
    branches: list[Continuation] = field(default_factory=list)

    def add(self, inputs: Sequence[int], targets: Sequence[int]) -> None:
        """Adds a prompt: the last ``len(targets)`` of ``inputs`` each predict a target."""
        path = self.tree.add(inputs)
        self.branches.append(Continuation(path[len(path) - len(targets) :], list(targets)))


class TokenScores(NamedTuple):
    """What a model says about targets; both (targets,).

    Attributes:
        scores: Log-probabilities.
        greedy: Whether each is the most probable token.
    """

    scores: torch.Tensor
    greedy: torch.Tensor


class TreeAttentionScorer:
    """Scores and continues trees of prompts with one causal model.

    Args:
        model: A Transformers model, or PEFT's wrapper of one.
        device: Where inputs go.
        softmax_dtype: Precision of the log-softmax; None is float32.
        context: Makes a context manager to run the model in (autocast).
    """

    def __init__(
        self,
        model: Any,
        device: torch.device,
        softmax_dtype: torch.dtype | None,
        context: Callable[[], Any],
    ) -> None:
        self._model = model
        self._prompt = SoftPrompt(model)
        self._head = self._prompt.base.get_output_embeddings()
        self._device = device
        self._softmax_dtype = softmax_dtype or torch.float32
        self._context = context

    def root(self, tokens: Sequence[int]) -> SharedPrefix:
        """Reads the virtual tokens and what all prompts begin with."""
        prompt = self._prompt
        if not tokens and not prompt.length:
            return SharedPrefix((), None)
        ids = torch.tensor([list(tokens)], dtype=torch.long, device=self._device)
        past = prompt.cache(1) if prompt.in_cache else None
        if tokens or prompt.embedded:
            inputs = {"inputs_embeds": prompt.embed(ids)} if prompt.embedded else {"input_ids": ids}
            with self._context(), self._projecting(torch.zeros(1, dtype=torch.long)):
                past = prompt.base(**inputs, past_key_values=past, use_cache=True).past_key_values
        return SharedPrefix(tuple(tokens), past)

    def score(self, root: SharedPrefix, units: Sequence[ArgumentTree]) -> list[list[LogLikelihood]]:
        """For each unit's branches: the log-probability of the targets, and whether greedy."""
        read = self.log_probabilities(root, units)
        scores, greedy = read.scores.tolist(), read.greedy.tolist()
        lengths = [[len(branch.nodes) for branch in unit.branches] for unit in units]
        ends = itertools.accumulate(itertools.chain.from_iterable(lengths))
        return [
            [
                (sum(scores[end - length : end]), all(greedy[end - length : end]))
                for length, end in zip(row, ends, strict=False)
            ]
            for row in lengths
        ]

    def log_probabilities(self, root: SharedPrefix, units: Sequence[ArgumentTree]) -> TokenScores:
        """Each target's log-probability, all units' branches one after the other.

        Gradients flow through it and through the root, unless they are switched off.
        """
        nodes = [sorted({n for b in unit.branches for n in b.nodes}) for unit in units]
        logits = self._logits(root, units, nodes)
        places = {
            (u, n): i for i, (u, n) in enumerate((u, n) for u, w in enumerate(nodes) for n in w)
        }
        at = [places[u, n] for u, unit in enumerate(units) for b in unit.branches for n in b.nodes]
        targets = [t for unit in units for b in unit.branches for t in b.targets]
        rows = torch.tensor(at, device=logits.device)
        wanted = torch.tensor(targets, device=logits.device)
        total, best = log_normaliser(logits, self._softmax_dtype)
        scores = logits[rows, wanted].to(self._softmax_dtype) - total[rows]
        return TokenScores(scores, best[rows] == wanted)

    def generate(
        self,
        root: SharedPrefix,
        units: Sequence[ArgumentTree],
        steps: int,
        done: Callable[[list[int]], bool],
    ) -> list[list[list[int]]]:
        """Greedy continuations of each unit's branches, at most ``steps`` tokens each.

        Args:
            root: What stands before the trees.
            units: Each branch has one node, the prompt's last.
            steps: The most tokens.
            done: Told the tokens of a continuation so far, says whether it ends with the last.
        """
        packed = _Packed(root, units, self._device)
        leaves = [[branch.nodes[-1] for branch in unit.branches] for unit in units]
        logits, past = self._read(packed, leaves, keep=True)
        answers = GreedyAnswers(sum(map(len, leaves)), steps, done)
        fan = _Fan(packed, leaves, self._device)
        while answers.add(chosen := logits.argmax(dim=-1).tolist()):
            inputs, mask, positions = fan.step(chosen, self._dtype)
            with self._context(), self._projecting(fan.rows, fan.columns):
                output = self._prompt.base(
                    input_ids=inputs,
                    attention_mask=mask,
                    position_ids=positions,
                    past_key_values=past,
                    use_cache=True,
                )
            logits, past = output.logits[0], output.past_key_values
        flat = iter(answers.tokens)
        return [[next(flat) for _ in unit.branches] for unit in units]

    @property
    def _dtype(self) -> torch.dtype:
        dtype: torch.dtype = self._prompt.base.get_input_embeddings().weight.dtype
        return dtype

    def _logits(
        self, root: SharedPrefix, units: Sequence[ArgumentTree], nodes: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """Logits (number of nodes, vocabulary) at these nodes of each unit."""
        logits, _ = self._read(_Packed(root, units, self._device), nodes, keep=False)
        return logits

    def _read(
        self, packed: _Packed, nodes: Sequence[Sequence[int]], keep: bool
    ) -> tuple[torch.Tensor, Any]:
        """One forward pass; logits (number of nodes, vocabulary) at the nodes of each row."""
        rows = [row for row, wanted in enumerate(nodes) for _ in wanted]
        columns = [node for wanted in nodes for node in wanted]
        past = packed.past()
        with self._context(), self._projecting(torch.tensor(rows), torch.tensor(columns)):
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
        """Within it the vocabulary projection sees these places only: (batch, n, …) → (1, k, …).

        A hook on the projection, not a call of it: so whatever a model does to hidden states and
        logits around it (scaling, soft caps) stays as the model does it.
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


class _Packed:
    """Trees as the rows of a batch, padded on the right."""

    def __init__(
        self, root: SharedPrefix, units: Sequence[ArgumentTree], device: torch.device
    ) -> None:
        self.root, self.size = root, len(units)
        self.width = max(len(unit.tree) for unit in units)
        tokens = np.zeros((self.size, self.width), dtype=np.int64)
        depths = np.zeros_like(tokens)
        # Padding sees itself, lest a row of the mask be empty (softmax over nothing is NaN).
        visible = np.repeat(np.eye(self.width, dtype=np.bool_)[None], self.size, axis=0)
        for row, unit in enumerate(units):
            n = len(unit.tree)
            tokens[row, :n] = unit.tree.tokens
            depths[row, :n] = unit.tree.depths
            visible[row, :n, :n] = unit.tree.visible()
        before = np.ones((self.size, self.width, root.length), dtype=np.bool_)
        self.device = device
        self.tokens = torch.from_numpy(tokens).to(device)
        self.positions = torch.from_numpy(depths + root.length).to(device)
        self.visible = torch.from_numpy(np.concatenate([before, visible], axis=2)).to(device)

    def mask(self, dtype: torch.dtype) -> torch.Tensor:
        """What to add to attention scores: (batch, 1, width, root + width)."""
        return _additive(self.visible, dtype)

    def past(self) -> DynamicCache | None:
        """The root, once for each row."""
        if not self.root.layers:
            return None
        return DynamicCache(
            [
                (k.expand(self.size, -1, -1, -1), v.expand(self.size, -1, -1, -1))
                for k, v in self.root.layers
            ]
        )


class _Fan:
    """The ends of trees while they grow, one token a step each.

    Attributes:
        rows: Row of each end in the batch, all units' ends one after the other.
        columns: Its place among the ends of its row.
    """

    def __init__(
        self, packed: _Packed, leaves: Sequence[Sequence[int]], device: torch.device
    ) -> None:
        self.width = max(len(row) for row in leaves)
        self.rows = torch.tensor([r for r, row in enumerate(leaves) for _ in row], device=device)
        self.columns = torch.tensor([c for row in leaves for c in range(len(row))], device=device)
        # Padding ends repeat the first one of their row.
        node = torch.tensor([[*row, *[row[0]] * (self.width - len(row))] for row in leaves])
        node = node.to(device)
        batch = torch.arange(packed.size, device=device)[:, None]
        self._seen = packed.visible[batch, node]  # (batch, ends, root + width)
        self._positions = packed.positions[batch, node]
        self._own = torch.eye(self.width, dtype=torch.bool, device=device).expand(
            packed.size, -1, -1
        )
        self._step = 0

    def step(
        self, chosen: Sequence[int], dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Inputs (batch, ends), mask and positions to read the chosen tokens."""
        self._step += 1
        self._seen = torch.cat([self._seen, self._own], dim=2)
        tokens = torch.zeros_like(self._positions)
        tokens[self.rows, self.columns] = torch.tensor(chosen, device=tokens.device)
        return tokens, _additive(self._seen, dtype), self._positions + self._step


def _additive(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    hidden = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=visible.device)
    return torch.where(visible, torch.zeros_like(hidden), hidden).unsqueeze(1)


def log_normaliser(logits: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Log of the sum of exponentials, and the best token, of each row."""
    # A few rows at a time: a copy of all logits would double the peak.
    parts = [logits[start : start + 64] for start in range(0, len(logits), 64)]
    totals = [torch.logsumexp(rows.to(dtype), dim=-1) for rows in parts]
    return torch.cat(totals), torch.cat([rows.argmax(dim=-1) for rows in parts])


def layers_of(cache: Any) -> KeysAndValues:
    """Keys and values of each layer of a cache of Transformers."""
    return [(layer.keys, layer.values) for layer in cache.layers]
