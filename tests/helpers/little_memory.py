"""A model that runs out of memory when it is asked to read much at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def fails_beyond(model: nn.Module, rows: int) -> list[int]:
    """Lets a model run out of memory with more inputs; gives how many it is asked to read."""
    tried: list[int] = []

    def check(_: Any, args: Any, given: dict[str, Any]) -> None:
        inputs = next(v for k, v in given.items() if k in ("input_ids", "decoder_input_ids"))
        tried.append(len(inputs))
        if tried[-1] > rows:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(check, with_kwargs=True)
    return tried
