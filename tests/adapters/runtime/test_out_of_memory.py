"""Too little memory: told from other errors on every device, and met by reading less at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from little_memory import fails_beyond
from torch import nn
from training import small_config, write_small_data
from transformers import AutoModelForCausalLM

from valueeval.adapters.classifier.classifier import load_classifier
from valueeval.adapters.reading.equivalence import unsupported_reason
from valueeval.adapters.reading.types import LoadedModel
from valueeval.adapters.runtime.out_of_memory import is_out_of_memory
from valueeval.tasks.data.dataset import load_set
from valueeval.train import build
from valueeval.train.loop.evaluation import EvaluateLogits
from valueeval.train.options import changed
from valueeval.train.run import train


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("Invalid buffer size: 9.00 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
    ids=str,
)
def test_what_says_that_memory_was_not_enough(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_a_head_reads_half_as_many(tiny_bert: Path, tmp_path: Path) -> None:
    data_dir = write_small_data(tmp_path / "data", 16, 12)
    config = small_config(tmp_path / "adapter", tiny_bert, data_dir, epochs=1)
    train(config)
    classifier = load_classifier(config.output, "cpu")
    arguments = load_set("validation", data_dir).arguments
    expected = classifier.logits(arguments, 12)
    tried = fails_beyond(classifier.model, 3)
    np.testing.assert_allclose(classifier.logits(arguments, 12), expected, atol=1e-5)
    assert tried[:3] == [12, 6, 3]  # and nothing so large again
    assert sum(tried[2:]) == 12


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_features_are_computed_of_half_as_many(
    tiny_bert: Path, tmp_path: Path, pooling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = write_small_data(tmp_path / "data", 40, 12)
    options = {"method": "head", "epochs": 1, "pooling": pooling}
    config = small_config(tmp_path / "adapter", tiny_bert, data_dir, **options)
    expected = train(config)
    load, tried = build.load_backbone, []

    def limited(path: Path) -> nn.Module:
        backbone = load(path)
        tried.append(fails_beyond(backbone, 9))
        return backbone

    monkeypatch.setattr(build, "load_backbone", limited)
    manifest = train(changed(config, output=config.output + "-2"))
    (counts,) = tried
    read = counts[counts.index(32) :]  # after a probe of the model
    assert read == [32, 16, 8, 8, 8, 8, 8, 12, 6, 6]  # training, then validation
    assert manifest.validation == expected.validation


def test_validation_reads_half_as_many(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = write_small_data(tmp_path / "data", 16, 12)
    config = small_config(tmp_path / "adapter", tiny_bert, data_dir, epochs=1)
    evaluate, tried = EvaluateLogits.__call__, []

    def limited(self: EvaluateLogits, model: nn.Module) -> Any:
        if not tried:
            tried.append(fails_beyond(model, 5))
        return evaluate(self, model)

    monkeypatch.setattr(EvaluateLogits, "__call__", limited)
    manifest = train(config)
    (counts,) = tried
    assert counts[:2] == [12, 6]
    monkeypatch.undo()
    assert train(changed(config, output=config.output + "-2")).validation == manifest.validation


def test_a_full_gpu_says_nothing_about_the_model(tiny_gpt2: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_gpt2).eval()
    cpu = torch.device("cpu")
    assert unsupported_reason(LoadedModel(model, cpu)) is None
    fails_beyond(model, 0)
    with pytest.raises(torch.OutOfMemoryError):
        unsupported_reason(LoadedModel(model, cpu))
