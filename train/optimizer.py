"""AdamW with a learning rate for each layer."""

from __future__ import annotations

import re
from typing import Any

import torch

from valueeval.adapters.classifier import ValueClassifier

# "encoder.layer.3.attention…" (BERT, DeBERTa), "layers.3.…" (ModernBERT), "transformer.layer.3.…".
_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.")


def parameter_groups(
    model: ValueClassifier,
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
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
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


def _number_of_layers(model: ValueClassifier) -> int:
    found = [_LAYER.search(name) for name, _ in model.named_parameters()]
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def _distance_from_head(name: str, layers: int) -> int:
    if name.startswith("head."):
        return 0
    if match := _LAYER.search(name):
        return layers - int(match[1])
    return layers + 1 if "embedding" in name else 1
