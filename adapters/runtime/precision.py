"""The number format that a model computes in, by what the processor has instructions for.

Most chat models are stored in bfloat16. Processors without instructions for it convert every number
on the way: SmolLM2-135M-Instruct takes 6 times as long as in float32 on an x86-64 processor with
AVX2 (benchmarks/evaluation_smollm2.md).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import psutil
import torch

_FLAGS = {
    torch.bfloat16: ("amx_bf16", "avx512_bf16"),
    torch.float16: ("amx_fp16", "avx512_fp16"),
}
_VNNI = ("avx512_vnni", "avx_vnni", "amx_int8")
_FLOAT32_BYTES = 4

logger = logging.getLogger(__name__)
# lm-eval shows messages below warnings only of its own loggers.
_shown_logger = logging.getLogger("lm_eval.valueeval")


def multiplies_bfloat16(device: torch.device) -> bool:
    """Return True for a device with matrix instructions for bfloat16; elsewhere it is slow."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        # Without the list, stay with what is always right.
        return any(cpu_capabilities().get(flag) for flag in _FLAGS[torch.bfloat16])
    return False


def is_slow(dtype: torch.dtype, device: torch.device) -> bool:
    """Return True for a half precision that the processor is known to have no instructions for."""
    return device.type == "cpu" and dtype in _FLAGS and _lacks(_FLAGS[dtype])


def overflows_in_8_bits() -> bool:
    """Return True for a processor known to add pairs of 8-bit products in 16 bits, which overflow.

    These are x86-64 processors without VNNI. Source: ONNX Runtime's «Quantize ONNX models», which
    advises weights of 7 bits there.
    """
    return _lacks(_VNNI)


def cpu_capabilities() -> dict[str, object]:
    """Return what PyTorch knows of the processor; empty in versions that do not tell."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return capabilities


def _lacks(flags: Sequence[str]) -> bool:
    """Return True if the processor is known to have none of these instructions."""
    found = cpu_capabilities()
    return found.get("architecture") == "x86_64" and not any(found.get(flag) for flag in flags)


def widen_where_slow(model: Any, dtype: str | torch.dtype | None) -> None:
    """Turn a model into float32, in place, where its half precision is slow and none was asked for.

    The weights stay what they are (every number of bfloat16 and float16 is one of float32); what is
    computed from them is rounded less. A model that would not fit into memory stays as it is.

    Args:
        model: A Transformers model, as it was loaded.
        dtype: The precision that the user asked for; None or ``auto`` if none.
    """
    stored = model.dtype
    if getattr(model, "is_quantized", False) or not is_slow(stored, model.device):
        return
    name = str(stored).removeprefix("torch.")
    if dtype not in (None, "auto"):
        logger.warning(
            "dtype=%s: this processor has no instructions for it: several times slower than "
            "float32 (say dtype=float32, or nothing)",
            name,
        )
        return
    more = sum(each.numel() * (_FLOAT32_BYTES - each.itemsize) for each in model.parameters())
    if more > (free := psutil.virtual_memory().available):
        logger.warning(
            "the model is stored in %s, for which this processor has no instructions: it is slow. "
            "float32 would take %.1f GB of memory more, and %.1f GB are free",
            name, more / 1e9, free / 1e9,
        )  # fmt: skip
        return
    model.float()
    _shown_logger.info(
        "the model is stored in %s, for which this processor has no instructions: computing in "
        "float32 (dtype=%s computes as stored, several times slower)",
        name,
        name,
    )
