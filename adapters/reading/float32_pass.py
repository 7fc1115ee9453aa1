"""Run a model of half precision in float32 without room for a second copy of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

_HALF = (torch.float16, torch.bfloat16)
_Originals = list[tuple[torch.Tensor, torch.Tensor]]


class NoFloat32PassError(Exception):
    """A model's weights cannot be read as float32; the message says why."""


@contextmanager
def in_float32(model: nn.Module) -> Iterator[None]:
    """Compute in float32 with the weights as they are, in the block.

    Layers are converted when their turn comes, so that memory grows by the embeddings and one
    layer. Attention is PyTorch's own, since fused kernels for half precision refuse float32.

    Raises:
        NoFloat32PassError: Weights are quantised, or not in memory.
    """
    parameters = list(model.parameters())
    if any(one.device.type == "meta" for one in parameters):
        raise NoFloat32PassError("some weights are not in memory")
    if any(not one.is_floating_point() or one.dtype.itemsize < 2 for one in parameters):
        raise NoFloat32PassError("weights are quantised")
    layers = _layers(model)
    inside = {id(one) for layer in layers for one in _tensors(layer)}
    rest = _convert(one for one in _tensors(model) if id(one) not in inside)
    attention = getattr(model.config, "_attn_implementation", None)
    hooks: list[Any] = []
    converted: dict[nn.Module, _Originals] = {}

    def enter(layer: nn.Module, *_: object) -> None:
        converted[layer] = _convert(_tensors(layer))

    def leave(layer: nn.Module, *_: object) -> None:
        _restore(converted.pop(layer))

    try:
        if attention not in (None, "eager", "sdpa"):
            _set_attention(model, "sdpa")
        for layer in layers:
            hooks.append(layer.register_forward_pre_hook(enter))
            hooks.append(layer.register_forward_hook(leave))
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for originals in (*converted.values(), rest):
            _restore(originals)
        if attention not in (None, "eager", "sdpa"):
            _set_attention(model, attention)


def _layers(model: nn.Module) -> list[nn.Module]:
    """Return the outermost modules that stand in lists: the layers of a Transformers model."""
    layers: list[nn.Module] = []
    lists = [(name, one) for name, one in model.named_modules() if isinstance(one, nn.ModuleList)]
    names = [name for name, _ in lists]
    for name, one in lists:
        if not any(name.startswith(f"{outer}.") for outer in names):
            layers += list(one)
    return layers


def _tensors(module: nn.Module) -> Iterator[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _convert(tensors: Iterable[torch.Tensor]) -> _Originals:
    """Convert tensors in place; return each with what it held."""
    originals = []
    for one in tensors:
        if one.dtype in _HALF:
            originals.append((one, one.data))
            one.data = one.data.float()
    return originals


def _restore(originals: _Originals) -> None:
    for one, data in originals:
        one.data = data


def _set_attention(model: Any, name: str) -> None:
    for module in model.modules():
        config: Any = getattr(module, "config", None)
        if hasattr(config, "_attn_implementation"):
            config._attn_implementation = name
