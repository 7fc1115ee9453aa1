"""The classifier head on the last hidden states: one pooling and layer, or one per value."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import linear

from valueeval.tasks.values import VALUE_NAMES


class ValueHead(nn.Module):
    """Pooling, dropout, and a linear classifier for each of the 20 values, or one for all.

    Kind ``"linear"`` pools once for all values; ``"multiple"`` once for each, with an attention of
    its own, so that values can rest on different words. Attention weighs token t by
    softmax_t(q · h_t / sqrt(width)) with a trained query q (Yang et al., 2016, section 2.2, without
    their layer before it; scaled as in Vaswani et al., 2017). Queries start at zero: at the mean.
    Kind ``"cross-encoder"`` has one classifier, which answers for the one value that the text names
    beside the argument (Nogueira and Cho, 2019, section 3).

    Args:
        kind: ``"linear"``, ``"multiple"`` (which pools by attention) or ``"cross-encoder"``.
        pooling: ``"mean"`` over the tokens, ``"cls"``: the first token, ``"last"``: the last one
            that is no padding, or ``"attention"``.
        width: Size of a hidden state.
        dropout: Share of the pooled features set to 0 in training.
    """

    def __init__(self, kind: str, pooling: str, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.kind = kind
        self.pooling = pooling
        layer = nn.Linear(width, 1 if kind == "cross-encoder" else len(VALUE_NAMES))
        self.weight, self.bias = layer.weight, layer.bias
        if pooling == "attention":
            queries = len(VALUE_NAMES) if kind == "multiple" else 1
            self.query = nn.Parameter(torch.zeros(queries, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, 20) of hidden states (batch, length, width); mask (batch, length).

        A cross-encoder's are (batch, 1).
        """
        return self.classify(self.pool(hidden, attention_mask))

    def classify(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, 20), or (batch, 1), of the pooled features."""
        pooled = self.dropout(pooled)
        if self.kind == "multiple":
            return torch.einsum("bvw,vw->bv", pooled, self.weight) + self.bias
        return linear(pooled, self.weight, self.bias)

    def pool(self, hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return one vector per argument (batch, width); ``"multiple"``: 20 (batch, 20, width)."""
        if self.pooling == "cls":
            return hidden[:, 0]
        if self.pooling == "last":
            last = attention_mask.sum(dim=1) - 1  # padding is on the right
            return hidden[torch.arange(len(hidden), device=hidden.device), last]
        if self.pooling == "mean":
            mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
            return (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        scores = hidden @ self.query.T / math.sqrt(hidden.shape[-1])  # (batch, length, queries)
        scores = scores.masked_fill(attention_mask.unsqueeze(-1) == 0, float("-inf"))
        pooled = scores.softmax(dim=1).transpose(1, 2) @ hidden  # (batch, queries, width)
        return pooled if self.kind == "multiple" else pooled[:, 0]
