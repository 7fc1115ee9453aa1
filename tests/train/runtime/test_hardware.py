"""Options that change how a step is computed and not what it is: memory, compilation."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from training import (
    ENCODERS,
    LANGUAGE_MODELS,
    small_config,
    write_encoder,
    write_language_model,
    write_small_data,
    write_without_dropout,
)

from valueeval.adapters.classifier.classifier import load_backbone
from valueeval.adapters.directory.manifest import FileInfo, Manifest
from valueeval.adapters.directory.manifest_file import read_manifest
from valueeval.tasks.errors import ValueEvalError
from valueeval.train.config.config import TrainConfig
from valueeval.train.options import changed
from valueeval.train.run import train
from valueeval.train.runtime.hardware import keep_layer_inputs_only
from valueeval.train.storage.output import work_folder


@pytest.fixture
def config(tiny_bert: Path, tmp_path: Path) -> TrainConfig:
    data_dir = write_small_data(tmp_path / "data", 24, 12)
    options = {"epochs": 1, "batch_size": 8, "learning_rate": 0.01}
    return small_config(tmp_path / "adapter", tiny_bert, data_dir, **options)


@pytest.fixture
def linear_layers_read(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often a linear layer has been computed since it was last asked."""
    linear, calls = functional.linear, []

    def counting(*inputs: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return linear(*inputs)

    monkeypatch.setattr(functional, "linear", counting)

    def count() -> int:
        number = len(calls)
        calls.clear()
        return number

    return count


def without_times(manifest: Manifest) -> dict[str, FileInfo]:
    return {name: file for name, file in manifest.files.items() if name != "metrics.jsonl"}


@pytest.mark.parametrize("method", ["full", "lora", "prompt-tuning", "p-tuning"])
def test_gradient_checkpointing_gives_the_same_adapter(
    config: TrainConfig, method: str, linear_layers_read: Callable[[], int]
) -> None:
    """Dropout included; the layers of the encoder are computed a second time."""
    plain = train(changed(config, method=method))
    once = linear_layers_read()
    sparing = changed(
        config, method=method, output=config.output + "-sparing", gradient_checkpointing=True
    )
    manifest = train(sparing)
    assert linear_layers_read() > 1.2 * once
    assert without_times(manifest) == without_times(plain)
    assert (manifest.validation, manifest.config) == (plain.validation, plain.config)


@pytest.mark.parametrize("family", sorted({*ENCODERS, *LANGUAGE_MODELS} - {"mpnet"}))
def test_gradient_checkpointing_in_every_family(
    family: str, tiny_bert: Path, tmp_path: Path
) -> None:
    write = write_encoder if family in ENCODERS else write_language_model
    model = load_backbone(write(tmp_path / "base", family, tiny_bert)).train()
    tokens = torch.arange(2, 18).view(2, 8)
    batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}

    def gradients() -> list[torch.Tensor | None]:
        torch.manual_seed(0)
        model(**batch).last_hidden_state.square().sum().backward()
        found = [parameter.grad for parameter in model.parameters()]
        model.zero_grad()
        return found

    before = gradients()
    keep_layer_inputs_only(model)
    for one, other in zip(before, gradients(), strict=True):
        torch.testing.assert_close(one, other)


def test_says_that_an_architecture_has_no_gradient_checkpointing(
    config: TrainConfig, tiny_bert: Path, tmp_path: Path
) -> None:
    base = write_encoder(tmp_path / "base", "mpnet", tiny_bert)
    with pytest.raises(ValueEvalError, match="does not work on mpnet models"):
        train(changed(config, base=str(base), gradient_checkpointing=True))
    assert not work_folder(Path(config.output)).exists()


def test_without_a_compiler_it_says_so_and_leaves_nothing(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(function: object, **options: object) -> Callable[..., None]:
        def fail(*inputs: object) -> None:
            raise RuntimeError("No working C++ compiler found\nand much more")

        return fail

    monkeypatch.setattr(torch, "compile", no_compiler)
    with pytest.raises(ValueEvalError) as caught:
        train(changed(config, compile=True))
    assert "does not work here (No working C++ compiler found): install" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not work_folder(Path(config.output)).exists()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.parametrize("method", ["full", "lora"])
def test_compiled_training_learns_the_same(
    config: TrainConfig, tmp_path: Path, method: str
) -> None:
    """But for dropout, of which there is none here."""
    config = changed(
        config,
        base=str(write_without_dropout(tmp_path / "base", Path(config.base))),
        method=method,
        dropout=0.0,
        lora_dropout=0.0 if method == "lora" else None,
    )
    train(config)
    compiled = changed(config, output=config.output + "-compiled", compile=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, of its compiler
        train(compiled)
    for path in Path(config.output).glob("*.safetensors"):
        other = load_file(Path(compiled.output) / path.name)
        torch.testing.assert_close(load_file(path), other, atol=1e-5, rtol=1e-4)
    assert read_manifest(compiled.output).config["compile"] is True
