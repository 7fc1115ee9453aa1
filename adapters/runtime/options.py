"""Options of how much is read at once, checked without importing PyTorch."""

from __future__ import annotations

import re

from valueeval.tasks.errors import ValueEvalError

AUTO_BATCH_SIZE = 32
"""Batch size for ``auto``: arguments are a few sentences each, and larger batches gain little."""

GPU_BATCH_SIZE = 256
"""The same on a GPU, which computes many at once; halved where memory does not suffice."""


def parse_batch_size(given: int | str, device_type: str = "cpu") -> int:
    """Return a batch size from ``8``, ``"8"``, ``"auto"`` or lm-eval's ``"auto:N"``.

    Args:
        given: The batch size.
        device_type: PyTorch's name of the kind of device: ``cpu``, ``cuda`` …

    Raises:
        ValueEvalError: It is none of these.
    """
    text = str(given)
    if re.fullmatch(r"auto(:[1-9]\d*)?", text):
        return AUTO_BATCH_SIZE if device_type == "cpu" else GPU_BATCH_SIZE
    if not text.isdecimal() or int(text) < 1:
        raise ValueEvalError(f"batch_size: {given!r}; allowed: 1 or more, auto, or auto:N")
    return int(text)


def check_batch_size(given: int | str | None) -> None:
    """Refuse what is no batch size; lm-eval would fail later, or take it for another.

    Raises:
        ValueEvalError: It is neither a number from 1 nor ``auto`` (``auto:N``); None is lm-eval's.
    """
    if given is not None:
        parse_batch_size(given)


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
