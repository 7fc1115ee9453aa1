"""Method ``head``: the model stays as it is, the head alone is trained.

So its features do not change: they are computed once, and an epoch costs a small part of one that
reads the text. Features are what the head reads: one pooled vector an argument, or, where the head
pools by attention, every hidden state. These are kept in memory, in float32, so that training sees
what evaluation will see: 5393 arguments of 34 tokens take 8 MB (pooled) or 280 MB with states of
384 numbers, three times that with 1024.

Peters et al., 2019, «To tune or not to tune?», compare this with full fine-tuning.
"""

from __future__ import annotations

import torch
from torch import nn

from valueeval.adapters.base import Base
from valueeval.adapters.classifier import Encoded, ValueClassifier, batches_by_length, collate
from valueeval.train.config import TrainConfig
from valueeval.train.inputs import Features
from valueeval.train.progress import reading

_BATCH = 32  # arguments read at once


def prepare(backbone: nn.Module, config: TrainConfig, base: Base) -> nn.Module:
    """The model, frozen."""
    return backbone.requires_grad_(False)


def compute_features(
    model: ValueClassifier, encoded: Encoded, padding: int, device: torch.device
) -> Features:
    """What the head of a model reads of each input (as in evaluation: without dropout)."""
    model = model.to(device).eval()
    states: list[torch.Tensor] = [torch.empty(0)] * len(encoded.inputs)
    per_token = model.head.pooling == "attention"
    # Not inference_mode: a backward pass goes through what is computed from these.
    with torch.no_grad(), reading(len(states)) as advance:
        for rows in batches_by_length(encoded.lengths, _BATCH):
            batch = collate(encoded, rows, padding, device)
            hidden = model.hidden(**batch)
            if not per_token:
                hidden = model.head.pool(hidden, batch["attention_mask"]).unsqueeze(1)
            for row, kept in zip(rows, hidden.cpu(), strict=True):
                length = len(encoded.inputs[row]["input_ids"]) if per_token else 1
                states[row] = kept[:length].clone()  # without the padding
            advance(len(rows))
    return Features(states)
