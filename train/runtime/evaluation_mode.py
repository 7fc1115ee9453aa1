"""Put a model into evaluation mode for a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode within the block, and back into its mode after it."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
