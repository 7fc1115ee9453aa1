"""AdamW with a learning rate for each layer."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from valueeval.train.config.optimisation import Optimisation

# "encoder.layer.3.attention…" (BERT, DeBERTa), "layers.3.…" (ModernBERT, Llama),
# "transformer.layer.3.…", "h.3.…" (GPT-2), "encoder.block.3.layer.0.…" (T5).
_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.")
# "embeddings.…" (BERT), "embed_tokens" (Llama), "wte" and "wpe" (GPT-2), "shared" (T5).
_EMBEDDINGS = re.compile(r"embed|(?:^|\.)(?:wte|wpe|shared)\.")


def parameter_groups(model: nn.Module, options: Optimisation) -> list[dict[str, Any]]:
    """Return the trainable parameters in groups, as AdamW takes them.

    A layer's rate is that of the layer above times ``layer_decay``: the head has the full rate (or
    one of its own), the last layer (and what lies beside the layers, such as a final norm) one
    factor less, and so on down to the embeddings. Biases and norms have no weight decay.

    Args:
        model: The whole model.
        options: Learning rates, layer decay and weight decay.

    Returns:
        Groups with ``params``, ``lr`` and ``weight_decay``; every trainable parameter in one.
        ``own_rate`` is true of a head that has a rate of its own, and nothing else at that rate.
    """
    layer_decay = 1.0 if options.layer_decay is None else options.layer_decay
    layers = _number_of_layers(model)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    common: set[float] = set()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        distance = _distance_from_head(name, layers)
        rate = options.learning_rate * layer_decay**distance
        if distance == 0 and options.head_learning_rate is not None:
            rate = options.head_learning_rate
        else:
            common.add(rate)
        decay = options.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay, "own_rate": rate not in common}
        for (rate, decay), parameters in groups.items()
    ]


def _number_of_layers(model: nn.Module) -> int:
    found = [_LAYER.search(name) for name, _ in model.named_parameters()]
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def _distance_from_head(name: str, layers: int) -> int:
    if name.startswith("head."):
        return 0
    if match := _LAYER.search(name):
        return layers - int(match[1])
    return layers + 1 if _EMBEDDINGS.search(name) else 1
