"""A model's own keys and values for some inputs, as a prefix to start from."""

from __future__ import annotations

import torch
from torch import nn
from transformers import DynamicCache

from valueeval.adapters.reading.types import cache_layers
from valueeval.train.runtime.evaluation_mode import evaluating


def keys_and_values(backbone: nn.Module, embeddings: torch.Tensor) -> torch.Tensor:
    """Return a model's keys and values of some inputs, as PEFT keeps a prefix.

    Args:
        backbone: A model without a decoder of its own.
        embeddings: The inputs, (n, width).

    Returns:
        For each input keys and values of the first layer, of the second …, (n, 2 l d).
    """
    cache = DynamicCache()
    with torch.no_grad(), evaluating(backbone):
        backbone(inputs_embeds=embeddings.unsqueeze(0), past_key_values=cache)
    states = [state for layer in cache_layers(cache) for state in layer]  # (1, heads, n, width)
    return torch.cat([state[0].transpose(0, 1).flatten(1) for state in states], dim=1)
