"""Where a model runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from valueeval.tasks.display import did_you_mean
from valueeval.tasks.errors import ValueEvalError

_USUAL_DTYPES = ("auto", "float32", "bfloat16", "float16")

logger = logging.getLogger(__name__)


def with_batch_size(flags: Mapping[str, Any], model_args: Mapping[str, Any]) -> dict[str, Any]:
    """Return lm-eval's flags, with ``auto`` on a GPU for lm-eval's default batch size of 1.

    A 1 in ``--model_args`` stays.

    Args:
        flags: What lm-eval passes on: ``batch_size``, ``device`` …
        model_args: What ``--model_args`` say; it wins.
    """
    if "batch_size" in model_args or str(flags.get("batch_size") or 1) != "1":
        return dict(flags)
    device = choose_device(model_args.get("device", flags.get("device")))
    if device.type == "cpu":
        return dict(flags)
    logger.info(
        "--batch_size 1 would leave %s idle: auto (batch_size=1 in --model_args stays)",
        device,
    )
    return {**flags, "batch_size": "auto"}


def check_dtype(given: str | torch.dtype | None, option: str = "dtype") -> str | torch.dtype | None:
    """Return the name of a data type of PyTorch's without ``torch.`` before it.

    Args:
        given: The name (for ``dtype`` also ``auto``); a data type itself and None stay as they are.
        option: The name of the option, for the message.

    Raises:
        ValueEvalError: There is no such type; names what is allowed.
    """
    usual = _USUAL_DTYPES if option == "dtype" else _USUAL_DTYPES[1:]
    if not isinstance(given, str) or (option == "dtype" and given == "auto"):
        return given
    name = given.removeprefix("torch.")
    if not isinstance(getattr(torch, name, None), torch.dtype):
        raise ValueEvalError(
            f"{option}: {given!r}; allowed: {', '.join(usual)} (or another of "
            f"PyTorch's){did_you_mean(name, usual)}"
        )
    return name


def choose_device(given: str | torch.device | None) -> torch.device:
    """Return the device asked for; the CPU in place of a GPU that is not there.

    Args:
        given: A name; None: the accelerator that PyTorch finds (CUDA, MPS …), else the CPU.

    Raises:
        ValueEvalError: The name is no device's.
    """
    there = torch.accelerator.is_available()
    accelerator = torch.accelerator.current_accelerator() if there else None
    if given is None:
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(given)
    except RuntimeError as error:
        raise ValueEvalError(f"device: {given!r}; allowed: cpu, cuda, cuda:0, mps …") from error
    if device.type == "cpu":
        return device
    same = accelerator is not None and accelerator.type == device.type
    if not same or (device.index or 0) >= torch.accelerator.device_count():
        logger.info("device %s is not there: running on the CPU", given)
        return torch.device("cpu")
    return device


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model's parameters."""
    return next(model.parameters()).device
