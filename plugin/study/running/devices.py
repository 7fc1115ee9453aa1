"""The GPUs that ``--devices`` names: one for each worker."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence

from valueeval.tasks.errors import ValueEvalError

_NAME = re.compile(r"[0-9]+|(GPU|MIG)-[0-9A-Za-z/-]+")
_COUNT = "import torch; print(torch.cuda.device_count())"


def read_devices(text: str) -> list[str]:
    """Return the GPUs that a list with commas names: numbers or UUIDs; none where it is empty.

    Raises:
        ValueEvalError: A name is no GPU's, or is there twice.
    """
    names = [name.strip() for name in text.split(",")] if text else []
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueEvalError(
                f"--devices {text}: {name!r} is no GPU; write 0,1: numbers as in `nvidia-smi`, or "
                "UUIDs (GPU-…, MIG-…)"
            )
    if len(names) > len(set(names)):
        raise ValueEvalError(f"--devices {text}: names a GPU twice; workers share them anyway")
    return names


def variables(device: str) -> dict[str, str]:
    """Return the environment variables that show a process one GPU."""
    # PCI_BUS_ID: numbers as in nvidia-smi. CUDA counts the fastest first.
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": device}


def check_devices(devices: Sequence[str]) -> None:
    """Refuse GPUs that PyTorch does not see: cells would run on the CPU, for days.

    Each is looked for in a process of its own: of several parts of a GPU (MIG) one sees the first.
    """
    asked = [
        subprocess.Popen(  # noqa: S603 (this Python, our own words)
            [sys.executable, "-c", _COUNT],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
            env={**os.environ, **variables(device)}, text=True,
        )
        for device in devices
    ]  # fmt: skip
    seen = [child.communicate()[0].strip() == "1" for child in asked]
    if missing := [device for device, there in zip(devices, seen, strict=True) if not there]:
        raise ValueEvalError(
            f"--devices: PyTorch sees no GPU {', '.join(missing)} on this machine; "
            "`nvidia-smi --list-gpus` names those that there are"
        )
