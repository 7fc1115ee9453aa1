"""Which precision the forward pass of training has on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from valueeval.train.config.config import TrainConfig
from valueeval.train.storage.output import earlier_recipe


def with_known_precision(config: TrainConfig, device: torch.device, output: Path) -> TrainConfig:
    """The configuration with precision ``auto`` replaced by what it means.

    That depends on the device; for a run that is resumed it is what it was, as a job that is queued
    again may come to another machine.

    Args:
        config: The run's options.
        device: Where it trains.
        output: Where its adapter will be.
    """
    if config.precision != "auto":
        return config
    earlier = earlier_recipe(output).get("precision") if config.resume else None
    if earlier in ("float32", "bfloat16"):
        return replace(config, precision=earlier)
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
