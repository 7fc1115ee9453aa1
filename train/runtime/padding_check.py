"""Verify numerically that a head can be trained on a model, as it is prepared."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from valueeval.adapters.classifier.backbones import kind_of
from valueeval.tasks.errors import ValueEvalError
from valueeval.train.runtime.evaluation_mode import evaluating

_SHORT, _LONG = [10, 11, 12], [13, 14, 15, 16, 17, 18, 19]


def read_beside_padding(backbone: nn.Module, padding: int = 0) -> torch.Tensor:
    """Return the hidden states (3, width) of three tokens that padding follows."""
    return _read(backbone, [_SHORT, _LONG], padding)[0, : len(_SHORT)]


def check_reading(backbone: nn.Module, padding: int) -> None:
    """Refuse a model whose hidden states a head cannot use.

    They may depend on the padding after the text, so that scores would change with the batch (FNet
    has no mask), or have another width than the configuration says (OPT-350m's are projected).

    Args:
        backbone: The model, with or without a PEFT adapter.
        padding: The padding token's number.

    Raises:
        ValueEvalError: A head cannot use them.
    """
    with torch.no_grad():
        beside = read_beside_padding(backbone, padding)
        alone = _read(backbone, [_SHORT], padding)[0]
    config = cast(Any, backbone).config
    problem = None
    if alone.shape[-1] != config.hidden_size:
        problem = f"gives hidden states of width {alone.shape[-1]}, not {config.hidden_size}"
    elif (beside - alone).abs().max() > 1e-3 * alone.std():
        problem = "reads the padding beside a text, so scores would depend on the batch"
    if problem is not None:
        raise ValueEvalError(
            f"this {config.model_type} {kind_of(config)} takes no head: it {problem}; use another "
            "--base"
        )


def _read(backbone: nn.Module, texts: list[list[int]], padding: int) -> torch.Tensor:
    """Return the texts' hidden states (texts, longest, width), without virtual tokens."""
    longest = max(map(len, texts))
    tokens = torch.tensor([text + [padding] * (longest - len(text)) for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
    with evaluating(backbone):
        output = backbone(input_ids=tokens, attention_mask=mask)
    return cast(torch.Tensor, output.last_hidden_state)[:, -longest:]
