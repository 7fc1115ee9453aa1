"""Sizes of the short run of conftest.py, and what its tests compare."""

from __future__ import annotations

import json
from pathlib import Path

TRAINING, VALIDATION, BATCH, EPOCHS = 60, 30, 16, 2


STEPS = 4  # in an epoch


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes() + (folder / "head.safetensors").read_bytes()


def without_seconds(folder: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in line if key != "seconds"} for line in lines]
