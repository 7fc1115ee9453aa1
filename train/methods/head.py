"""Method ``head``: the model stays as it is, the head alone is trained.

So its features do not change: they are computed once, and an epoch costs a small part of one that
reads the text. Features are what the head reads: one pooled vector an argument, or, where the head
pools by attention, every hidden state. These are kept in memory, in float32, so that training sees
what evaluation will see: 5393 arguments of 34 tokens take 8 MB (pooled) or 280 MB with states of
384 numbers, three times that with 1024.

Peters et al., 2019, «To tune or not to tune?», compare this with full fine-tuning.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from valueeval.adapters.classifier.classifier import (
    Encoded,
    ValueClassifier,
    batches_by_length,
    collate,
)
from valueeval.adapters.directory.base import Base
from valueeval.adapters.runtime.batch_sizes import BatchSizer
from valueeval.adapters.runtime.devices import device_of
from valueeval.train.config.config import TrainConfig
from valueeval.train.data.inputs import Features
from valueeval.train.runtime.progress import reading

_BATCH = 32  # inputs read at once; half as many where memory runs out


def prepare(backbone: nn.Module, config: TrainConfig, base: Base) -> nn.Module:
    """The model, frozen."""
    return backbone.requires_grad_(False)


def compute_features(
    model: ValueClassifier, encoded: Encoded, padding: int, device: torch.device
) -> Features:
    """What the head of a model reads of each input (as in evaluation: without dropout).

    Raises:
        RuntimeError: Memory does not suffice for a single input.
    """
    model = model.to(device).eval()
    states: list[torch.Tensor] = [torch.empty(0)] * len(encoded.inputs)
    sizes, read = BatchSizer(_BATCH, 0, "inputs"), partial(_states, model, encoded, padding)
    # Not inference_mode: a backward pass goes through what is computed from these.
    with torch.no_grad(), reading(len(states)) as advance:
        for rows in batches_by_length(encoded.lengths, _BATCH):
            for row, kept in zip(rows, sizes.retry_smaller(rows, read), strict=True):
                states[row] = kept
            advance(len(rows))
    return Features(states)


def _states(
    model: ValueClassifier, encoded: Encoded, padding: int, rows: Sequence[int]
) -> list[torch.Tensor]:
    """Of each input (1, width) if they are pooled, else (length, width), without padding."""
    batch = collate(encoded, rows, padding, device_of(model))
    hidden = model.hidden(**batch)
    if model.head.pooling != "attention":
        pooled = model.head.pool(hidden, batch["attention_mask"])
        return list(pooled.unsqueeze(1).cpu())
    lengths = [len(encoded.inputs[row]["input_ids"]) for row in rows]
    return [one[:length].clone() for one, length in zip(hidden.cpu(), lengths, strict=True)]
