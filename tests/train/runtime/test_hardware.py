"""Options that change how a step is computed and not what it is: memory, compilation."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_runs import STEPS, weights
from torch.nn import functional
from training import (
    ENCODERS,
    LANGUAGE_MODELS,
    small_config,
    stop_training,
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
from valueeval.train.options import changed, configure
from valueeval.train.run import train
from valueeval.train.runtime import hardware
from valueeval.train.runtime.hardware import advise_when_out_of_memory, keep_layer_inputs_only
from valueeval.train.storage.output import work_folder


@pytest.fixture
def one_epoch(tiny_bert: Path, tmp_path: Path) -> TrainConfig:
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
    one_epoch: TrainConfig, method: str, linear_layers_read: Callable[[], int]
) -> None:
    """Dropout included; the layers of the encoder are computed a second time."""
    plain = train(changed(one_epoch, method=method))
    once = linear_layers_read()
    sparing = changed(
        one_epoch, method=method, output=one_epoch.output + "-sparing", gradient_checkpointing=True
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
    one_epoch: TrainConfig, tiny_bert: Path, tmp_path: Path
) -> None:
    base = write_encoder(tmp_path / "base", "mpnet", tiny_bert)
    with pytest.raises(ValueEvalError, match="does not work on mpnet models"):
        train(changed(one_epoch, base=str(base), gradient_checkpointing=True))
    assert not work_folder(Path(one_epoch.output)).exists()


def test_without_a_compiler_it_says_so_and_leaves_nothing(
    one_epoch: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(function: object, **options: object) -> Callable[..., None]:
        def fail(*inputs: object) -> None:
            raise RuntimeError("No working C++ compiler found\nand much more")

        return fail

    monkeypatch.setattr(torch, "compile", no_compiler)
    with pytest.raises(ValueEvalError) as caught:
        train(changed(one_epoch, compile=True))
    assert "does not work here (No working C++ compiler found): install" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not work_folder(Path(one_epoch.output)).exists()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.parametrize("method", ["full", "lora"])
def test_compiled_training_learns_the_same(
    one_epoch: TrainConfig, tmp_path: Path, method: str
) -> None:
    """But for dropout, of which there is none here."""
    one_epoch = changed(
        one_epoch,
        base=str(write_without_dropout(tmp_path / "base", Path(one_epoch.base))),
        method=method,
        dropout=0.0,
        lora_dropout=0.0 if method == "lora" else None,
    )
    train(one_epoch)
    compiled = changed(one_epoch, output=one_epoch.output + "-compiled", compile=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, of its compiler
        train(compiled)
    for path in Path(one_epoch.output).glob("*.safetensors"):
        other = load_file(Path(compiled.output) / path.name)
        torch.testing.assert_close(load_file(path), other, atol=1e-5, rtol=1e-4)
    assert read_manifest(compiled.output).config["compile"] is True


@pytest.mark.parametrize(("fast", "chosen"), [(True, "bfloat16"), (False, "float32")])
def test_auto_precision_is_written_down_as_what_it_was(
    fast: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "multiplies_bfloat16", lambda device: fast)
    config = hardware.resolve_precision(configure("x"), torch.device("cpu"), {})
    assert config.recipe()["precision"] == chosen


def test_auto_precision_of_a_resumed_run_is_what_it_was_on_another_machine(
    config: TrainConfig, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = changed(config, precision="auto")
    monkeypatch.setattr(hardware, "multiplies_bfloat16", lambda device: False)
    stop_training(config, STEPS + 1)
    monkeypatch.setattr(hardware, "multiplies_bfloat16", lambda device: True)
    with pytest.raises(ValueEvalError, match="precision 'float32' there, 'bfloat16' here"):
        train(config)  # a new run is not what is there
    config = changed(config, resume=True)
    assert train(config).config["precision"] == "float32"
    assert weights(Path(config.output)) == weights(adapter)
    assert train(config).config["precision"] == "float32"  # finished as it is
    with pytest.raises(ValueEvalError, match="precision 'float32' there, 'bfloat16' here"):
        train(changed(config, precision="bfloat16"))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            torch.cuda.OutOfMemoryError("CUDA out of memory. Tried 2 GiB\nmore"),
            "CUDA out of memory",
        ),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "DefaultCPUAll"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_too_little_memory_says_what_takes_less(
    config: TrainConfig, error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*inputs: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(torch.nn.BCEWithLogitsLoss, "forward", fail)
    with pytest.raises(ValueEvalError) as caught:
        train(config)
    assert str(caught.value).startswith(f"out of memory ({message}")
    assert "a lower --max_tokens_per_microbatch (now 2048) or --gradient_checkpointing" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)
    assert not work_folder(Path(config.output)).exists()


def test_a_rank_beyond_all_memory_is_not_the_fault_of_the_architecture(config: TrainConfig) -> None:
    with pytest.raises(ValueEvalError, match=r"out of memory .* lower --lora_rank \(now 10{14}\)"):
        train(changed(config, method="lora", lora_rank=10**14))


def test_other_errors_of_pytorch_are_not_taken_for_memory(config: TrainConfig) -> None:
    with pytest.raises(RuntimeError, match="shape"), advise_when_out_of_memory(config):
        raise RuntimeError("shapes do not match")
