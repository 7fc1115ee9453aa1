"""AdamW with a learning rate for each layer."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

# "encoder.layer.3.attention…" (BERT, DeBERTa), "layers.3.…" (ModernBERT, Llama),
# "transformer.layer.3.…", "h.3.…" (GPT-2), "encoder.block.3.layer.0.…" (T5).
_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.")
# "embeddings.…" (BERT), "embed_tokens" (Llama), "wte" and "wpe" (GPT-2), "shared" (T5).
_EMBEDDINGS = re.compile(r"embed|(?:^|\.)(?:wte|wpe|shared)\.")


def parameter_groups(
    model: nn.Module,
    learning_rate: float,
    layer_decay: float,
    weight_decay: float,
    head_learning_rate: float | None = None,
) -> list[dict[str, Any]]:
    """The parameters as AdamW takes them: a layer's rate is the next higher one's times the decay.

    The head has the full rate (or one of its own), the last layer (and what lies beside the layers,
    such as a final norm) one factor less, and so on down to the embeddings. Biases and norms are
    not decayed.

    Returns:
        Groups with ``params``, ``lr`` and ``weight_decay``; every trainable parameter in one.
    """
    layers = _number_of_layers(model)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        distance = _distance_from_head(name, layers)
        rate = learning_rate * layer_decay**distance
        if distance == 0 and head_learning_rate is not None:
            rate = head_learning_rate
        decay = weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay}
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
