"""Which precision the forward pass of training has on this machine."""

from __future__ import annotations

from dataclasses import replace

import torch

from valueeval.train.config import TrainConfig


def with_known_precision(config: TrainConfig, device: torch.device) -> TrainConfig:
    """The configuration with precision ``auto`` replaced by what it means on a device."""
    if config.precision != "auto":
        return config
    return replace(config, precision="bfloat16" if multiplies_bfloat16(device) else "float32")


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device has matrix instructions for bfloat16 (elsewhere it is slow)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        # Newer than the oldest torch that we support; without it, stay with what is always right.
        capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
    return False
