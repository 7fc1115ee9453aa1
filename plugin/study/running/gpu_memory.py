"""How much memory a GPU has and how much of it is taken, as ``nvidia-smi`` says.

PyTorch could tell as well, but would hold memory of each GPU for as long as the study runs.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

_MIB = 1 << 20
_PATIENCE = 20  # seconds; a driver that wakes a GPU takes some


@dataclass(frozen=True)
class GpuMemory:
    """The memory of a GPU in bytes: all of it, and what any process holds of it."""

    total: int
    used: int


def gpu_memory(device: str) -> GpuMemory | None:
    """Return the memory of a GPU.

    Args:
        device: Its number or UUID, as in ``CUDA_VISIBLE_DEVICES``.

    Returns:
        None where it cannot be known: no ``nvidia-smi`` (other makers' GPUs), a part of a GPU
        (MIG), no such GPU.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    words = [program, f"--id={device}", "--query-gpu=memory.total,memory.used"]
    try:
        answer = subprocess.run(  # noqa: S603 (the driver's own program)
            [*words, "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=_PATIENCE, check=True,
        )  # fmt: skip
        total, used = (int(number) * _MIB for number in answer.stdout.strip().split(","))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return GpuMemory(total, used)
