"""Compute once the features of a frozen model that its head reads.

They are one pooled vector per argument or, where the head pools by attention, all hidden states.
They are kept in memory in float32, as in evaluation: 5393 arguments of 34 tokens take 8 MB
(pooled), or 280 MB with states of 384 numbers, three times that with 1024.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from valueeval.adapters.classifier.classifier import ValueClassifier, collate
from valueeval.adapters.classifier.encoding import TokenizedArguments, batches_by_length
from valueeval.adapters.runtime.batch_sizes import BatchLimits, BatchSizer
from valueeval.adapters.runtime.devices import device_of
from valueeval.train.data.inputs import Features
from valueeval.train.runtime.progress import reading

_BATCH = 32  # inputs read at once; half as many where memory runs out


def compute_features(
    model: ValueClassifier, encoded: TokenizedArguments, padding: int, device: torch.device
) -> Features:
    """Return the features of each input that a model's head reads, without dropout.

    Raises:
        RuntimeError: Memory does not suffice for a single input.
    """
    model = model.to(device).eval()
    states: list[torch.Tensor] = [torch.empty(0)] * len(encoded.inputs)
    sizer = BatchSizer(BatchLimits(_BATCH), "inputs")
    # Not inference_mode: a backward pass goes through what is computed from these.
    with torch.no_grad(), reading(len(states)) as advance:
        for rows in batches_by_length(encoded.lengths, _BATCH):
            for batch in sizer.batches(rows):
                with batch.retry_smaller():
                    found = _states(model, encoded, padding, batch.rows)
                    for row, kept in zip(batch.rows, found, strict=True):
                        states[row] = kept
            advance(len(rows))
    return Features(states)


def _states(
    model: ValueClassifier, encoded: TokenizedArguments, padding: int, rows: Sequence[int]
) -> list[torch.Tensor]:
    """Return each input's states, (1, width) pooled or (length, width) without padding."""
    batch = collate(encoded, rows, padding, device_of(model))
    hidden = model.hidden(**batch)
    if model.head.pooling != "attention":
        pooled = model.head.pool(hidden, batch["attention_mask"])
        return list(pooled.unsqueeze(1).cpu())
    lengths = [len(encoded.inputs[row]["input_ids"]) for row in rows]
    return [one[:length].clone() for one, length in zip(hidden.cpu(), lengths, strict=True)]
