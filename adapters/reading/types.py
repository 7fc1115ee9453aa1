"""Types of all readers: encoded prompts, scores, shared prefixes, the model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

LogLikelihood = tuple[float, bool]
"""Log-probability of a continuation, and whether each of its tokens is the most probable one."""

KeysAndValues = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of each layer, both (batch, heads, length, width)."""


class EncodedPair(NamedTuple):
    """A context and the continuation to score after it, as tokens.

    The continuation is empty where text is to be generated.
    """

    context: list[int]
    continuation: list[int]


class TokenScores(NamedTuple):
    """Scores of tokens to predict; both (tokens,).

    Attributes:
        scores: Log-probabilities.
        greedy: Whether each is the most probable token.
    """

    scores: torch.Tensor
    greedy: torch.Tensor


@dataclass(frozen=True)
class LoadedModel:
    """A language model, and how it is run.

    Attributes:
        model: A Transformers model, or PEFT's wrapper of one.
        device: Where inputs go.
        softmax_dtype: Precision of the log-softmax.
        autocast: Makes the context manager that the model runs in.
        backend: lm-eval's name of the architecture: ``causal`` or ``seq2seq``.
    """

    model: Any
    device: torch.device
    softmax_dtype: torch.dtype = torch.float32
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    backend: str = "causal"


@dataclass(frozen=True)
class SharedPrefix:
    """The beginning of all prompts in a batch, read already.

    Attributes:
        tokens: Tokens of the text; virtual tokens are not among them.
        past: Transformers' cache of virtual tokens and text; None if there are none.
    """

    tokens: tuple[int, ...]
    past: Any

    @property
    def layers(self) -> KeysAndValues:
        """Keys and values, (1, heads, length, width) each layer; empty for an empty prefix."""
        return [] if self.past is None else cache_layers(self.past)

    @property
    def length(self) -> int:
        """Number of virtual tokens and text tokens."""
        return self.layers[0][0].shape[2] if self.layers else 0


def cache_layers(cache: Any) -> KeysAndValues:
    """Return the keys and values of each layer of a cache of Transformers."""
    return [(layer.keys, layer.values) for layer in cache.layers]


def log_normaliser(logits: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the log of the sum of exponentials and the best token of each row, both (rows,).

    Args:
        logits: (rows, vocabulary).
        dtype: Precision of the sums.
    """
    # A few rows at a time: a copy of all logits would double the peak.
    parts = [logits[start : start + 64] for start in range(0, len(logits), 64)]
    totals = [torch.logsumexp(rows.to(dtype), dim=-1) for rows in parts]
    return torch.cat(totals), torch.cat([rows.argmax(dim=-1) for rows in parts])
