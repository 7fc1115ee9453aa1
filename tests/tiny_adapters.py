"""Adapter directories without training: a random encoder with a random head, and its manifest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from valueeval.adapters.base import fetch_base
from valueeval.adapters.classifier import ValueClassifier, load_backbone, load_tokenizer
from valueeval.adapters.manifest import (
    BaseModel,
    Head,
    InputFormat,
    Manifest,
    Parameters,
    Thresholds,
    TrainingData,
    combined_hash,
    describe_files,
    write_manifest,
)
from valueeval.tasks.values import VALUE_NAMES


def write_adapter(folder: Path, encoder: Path, seed: int = 0, data: str = "touche23") -> Path:
    """Writes an adapter whose head and thresholds depend on the seed; returns its folder."""
    base = fetch_base(str(encoder))
    torch.manual_seed(seed)
    model = ValueClassifier(load_backbone(base.path), "mean")
    with torch.no_grad():
        model.head.weight.mul_(10)  # logits far enough apart to differ between arguments
    folder.mkdir(parents=True)
    model.save(folder)
    load_tokenizer(base.path).save_pretrained(folder)
    files = describe_files(folder)
    size = sum(parameter.numel() for parameter in model.parameters())
    thresholds = np.random.default_rng(seed).uniform(0.2, 0.8, 20)
    manifest = Manifest(
        template=None,
        head=Head("linear", "mean"),
        input=InputFormat(("{premise}", "{stance_word}: {conclusion}"), 96),
        labels=VALUE_NAMES,
        base_model=BaseModel(base.name, base.revision, base.sha256),
        method="full",
        objective="bce",
        thresholds=Thresholds(tuple(thresholds.tolist()), "validation", "macro_f1"),
        parameters=Parameters(size, size),
        data=TrainingData(data, "training", 200, "0" * 64),
        seed=seed,
        config={},
        validation={"macro_f1": 0.5},
        versions={},
        seconds=1.0,
        peak_memory_bytes=1,
        date="2026-01-01T00:00:00+00:00",
        files=files,
        weights_sha256=combined_hash(files),
    )
    write_manifest(folder, manifest)
    return folder
