"""Where a model runs, and how many arguments it reads at once."""

from __future__ import annotations

import logging

import torch
from torch import nn

from valueeval.tasks.errors import ValueEvalError

logger = logging.getLogger(__name__)

AUTO_BATCH_SIZE = 32
"""Batch size for ``auto``: arguments are a few sentences each, and larger batches gain little."""


def parse_batch_size(given: int | str) -> int:
    """Return a batch size from ``8``, ``"8"``, ``"auto"`` or lm-eval's ``"auto:N"``.

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
    """Refuse what is no batch size; lm-eval would fail later, or take it for another.

    Raises:
        ValueEvalError: It is neither a number from 1 nor ``auto`` (``auto:N``); None is lm-eval's.
    """
    if given is not None:
        parse_batch_size(given)


def check_dtype(given: str | torch.dtype | None) -> None:
    """Refuse what is no data type of PyTorch's (nor ``auto``).

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


def check_max_length(given: int | str | None) -> None:
    """Refuse a number of tokens that no model reads.

    Raises:
        ValueEvalError: It is no whole number from 1 to 2^31 - 1; None is the model's own.
    """
    if given is None:
        return
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given < 2**31:
        shown = str(given) if len(str(given)) <= 20 else f"{str(given)[:20]}…"
        raise ValueEvalError(f"max_length: {shown}; allowed: 1 to {2**31 - 1}")


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
