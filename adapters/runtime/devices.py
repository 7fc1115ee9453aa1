"""Where a model runs, and how many arguments it reads at once."""

from __future__ import annotations

import logging

import torch
from torch import nn

from valueeval.tasks.errors import ValueEvalError

logger = logging.getLogger(__name__)

AUTO_BATCH_SIZE = 32
"""Of ``batch_size=auto``: the gain beyond it is small for arguments (a few sentences each)."""


def parse_batch_size(given: int | str) -> int:
    """A batch size from ``8``, ``"8"``, ``"auto"`` or lm-eval's ``"auto:N"``.

    Raises:
        ValueEvalError: It is none of these.
    """
    text = str(given)
    if text == "auto" or text.startswith("auto:"):
        return AUTO_BATCH_SIZE
    if not text.isdecimal() or int(text) < 1:
        raise ValueEvalError(f"batch_size: {given!r}; allowed: 1 or more, or auto")
    return int(text)


def check_batch_size(given: int | str | None) -> None:
    """Refuses what is no batch size; lm-eval would fail far from here, or take it for another.

    Raises:
        ValueEvalError: It is neither a number from 1 nor ``auto`` (``auto:N``); None is lm-eval's.
    """
    if given is not None:
        parse_batch_size(given)


def check_dtype(given: str | torch.dtype | None) -> None:
    """Refuses what is no data type of PyTorch's (and not ``auto``).

    Raises:
        ValueEvalError: Names what is allowed.
    """
    if isinstance(given, str) and given != "auto":
        name = given.removeprefix("torch.")
        if not isinstance(getattr(torch, name, None), torch.dtype):
            raise ValueEvalError(
                f"dtype: {given!r}; allowed: auto, float32, bfloat16, float16 (or another of "
                "PyTorch's)"
            )


def choose_device(given: str | torch.device | None) -> torch.device:
    """The device asked for, the CPU in place of a GPU that is not there; for None the best.

    That is CUDA, MPS, or whatever else PyTorch calls its accelerator here, then the CPU.

    Raises:
        ValueEvalError: It is no device's name.
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
    """Where a model is."""
    return next(model.parameters()).device
