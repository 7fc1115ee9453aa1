"""Adapter directories without training: a random encoder with a random head; manifests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from valueeval.adapters.classifier.classifier import ValueClassifier, load_backbone, load_tokenizer
from valueeval.adapters.directory.base import fetch_base
from valueeval.adapters.directory.input_format import Head, InputFormat
from valueeval.adapters.directory.manifest import (
    BaseModel,
    FileInfo,
    Manifest,
    Parameters,
    Thresholds,
    TrainingData,
)
from valueeval.adapters.directory.manifest_file import combined_hash, describe_files, write_manifest
from valueeval.tasks.data.dataset import CV, CV_PARTS, load_set
from valueeval.tasks.values import VALUE_NAMES


def make_manifest(files: dict[str, FileInfo], **fields: Any) -> Manifest:
    """A whole manifest of an adapter with a linear head, with some fields set otherwise."""
    manifest = Manifest(
        template=None,
        head=Head("linear", "mean"),
        input=InputFormat(("{premise}", "{stance_word}: {conclusion}"), 96),
        labels=VALUE_NAMES,
        base_model=BaseModel("minilm", None, "00"),
        method="full",
        objective="bce",
        thresholds=Thresholds((0.5,) * 20, "validation", "macro_f1"),
        parameters=Parameters(100, 100),
        data=TrainingData("touche23", "training", 200, "0" * 64),
        seed=0,
        config={"epochs": 1, "segments": ["{premise}"]},
        validation={"macro_f1": 0.5, "f1_face": None},
        versions={"torch": "2"},
        seconds=1.5,
        peak_memory_bytes=10,
        date="2026-01-01T00:00:00+00:00",
        files=files,
        weights_sha256=combined_hash(files),
    )
    return replace(manifest, **fields)


def seen_by_cv(data_dir: Path) -> TrainingData:
    """Return the training data of an adapter of protocol cv that left out fold 0."""
    data = load_set(CV, data_dir)
    return TrainingData(
        "touche23", CV, len(data.ids), data.sha256, 5, (0,), protocol=CV, labels_seen=CV_PARTS
    )


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
    size = sum(parameter.numel() for parameter in model.parameters())
    thresholds = np.random.default_rng(seed).uniform(0.2, 0.8, 20)
    manifest = make_manifest(
        describe_files(folder),
        base_model=BaseModel(base.name, base.revision, base.sha256),
        thresholds=Thresholds(tuple(thresholds.tolist()), "validation", "macro_f1"),
        parameters=Parameters(size, size),
        data=TrainingData(data, "training", 200, "0" * 64),
        seed=seed,
    )
    write_manifest(folder, manifest)
    return folder
