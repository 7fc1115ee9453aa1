"""The training loop: parts of a batch, checkpoints, divergence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_runs import EPOCHS, STEPS, TRAINING, without_seconds
from training import (
    write_without_dropout,
)

from valueeval.adapters.directory.manifest_file import read_manifest
from valueeval.tasks.errors import ValueEvalError
from valueeval.train.cli import summary
from valueeval.train.config.config import TrainConfig
from valueeval.train.loop import training as loop
from valueeval.train.loop.training import Training
from valueeval.train.options import changed
from valueeval.train.run import train
from valueeval.train.storage.checkpoint import TrainingState
from valueeval.train.storage.output import work_folder


def test_best_epoch_is_kept(adapter: Path) -> None:
    lines = [json.loads(line) for line in (adapter / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    best = max(line["validation"]["macro_f1"] for line in lines)
    assert read_manifest(adapter).validation["macro_f1"] == pytest.approx(best)


@pytest.mark.parametrize(("own_rate", "logged"), [(None, 0.01), (0.1, 0.005), (0.001, 0.005)])
def test_the_rate_that_is_logged_is_the_highest_of_the_base(
    config: TrainConfig, own_rate: float | None, logged: float
) -> None:
    """The head has 0.01, the layers below it 0.005, 0.0025 …; or it has a rate of its own."""
    rates: dict[str, Any] = {"layer_decay": 0.5, "head_learning_rate": own_rate}
    constant = {"schedule": "constant_with_warmup", "warmup_ratio": 0.0, "epochs": 1}
    train(changed(config, **rates, **constant))
    (line,) = (Path(config.output) / "metrics.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line)["learning_rate"] == logged


def test_validation_is_read_once_an_epoch(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And once more where an earlier part of the run found the best epoch."""
    read = []
    evaluate = Training.evaluate

    def counted(self: Training) -> object:
        read.append(self.state.step)
        return evaluate(self)

    monkeypatch.setattr(Training, "evaluate", counted)
    manifest = train(config)
    assert read == [STEPS, 2 * STEPS]

    read.clear()
    interrupted = changed(config, output=config.output + "-interrupted")

    def stop(self: Training, *_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "check_still_free", stop)
        with pytest.raises(KeyboardInterrupt):
            train(interrupted)
    again = train(changed(interrupted, resume=True))
    assert read[:2] == [STEPS, 2 * STEPS]
    assert len(read) - 2 == (manifest.validation["macro_f1"] == _of_epoch(config, 1))
    assert again.validation == manifest.validation
    assert again.thresholds == manifest.thresholds


def _of_epoch(config: TrainConfig, epoch: int) -> float:
    lines = (Path(config.output) / "metrics.jsonl").read_text("utf-8").splitlines()
    return float(json.loads(lines[epoch - 1])["validation"]["macro_f1"])


def test_a_batch_read_in_parts_teaches_the_same(config: TrainConfig, tmp_path: Path) -> None:
    """Without dropout, whose noise depends on the parts; 48 tokens at once are one argument."""
    base = write_without_dropout(tmp_path / "base", Path(config.base))
    config = changed(config, base=str(base), dropout=0.0)
    train(config)
    parts = changed(config, output=config.output + "-parts", max_tokens_per_microbatch=48)
    train(parts)
    one, other = without_seconds(Path(config.output)), without_seconds(Path(parts.output))
    for a, b in zip(one, other, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)


def test_memory_of_a_gpu_is_told_beside_that_of_the_machine(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's figure is made up here, and so is the kind of device where it is asked."""
    account = Training._account

    def account_on_gpu(training: Training) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(training.processes, "device", torch.device("cuda"))
            account(training)

    monkeypatch.setattr(Training, "_account", account_on_gpu)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 3 * 2**30)
    manifest = train(config)
    lines = (Path(config.output) / "metrics.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["peak_device_bytes"] for line in lines] == [3 * 2**30] * EPOCHS
    assert manifest.peak_device_bytes == 3 * 2**30
    assert summary(config, manifest).splitlines()[0].endswith("GiB and 3.0 GiB of a GPU's")


@pytest.mark.parametrize(
    ("seconds", "taken", "kept"),
    [(0.0, 9.0, [1, 2, 3, 4, 5, 6, 7, 8]), (1.0, 0.01, [2, 4, 6, 8]), (1.0, 0.15, [2, 4, 8])],
    ids=["after every step", "every second", "writing takes too long"],
)
def test_checkpoints_come_as_often_as_writing_allows(
    config: TrainConfig,
    seconds: float,
    taken: float,
    kept: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A step takes 0.6 seconds here; writing 0.15 of them a twentieth of 3."""
    clock, steps = [0.0], []
    step, save = Training._step, loop.save_checkpoint

    def timed_step(training: Training) -> float:
        clock[0] += 0.6
        return step(training)

    def timed_save(folder: Path, state: TrainingState, *others: Any) -> None:
        clock[0] += taken
        steps.append(state.step)
        save(folder, state, *others)

    monkeypatch.setattr(Training, "_step", timed_step)
    monkeypatch.setattr(loop, "save_checkpoint", timed_save)
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    train(changed(config, checkpoint_seconds=seconds))
    assert sorted({*steps}) == kept


@pytest.mark.parametrize(
    ("device", "taken", "kept"),
    [("cpu", 9.0, [4, 8]), ("cuda", 0.01, [4, 8]), ("cuda", 0.15, [8]), ("cuda", 9.0, [])],
    ids=["cpu", "gpu", "gpu, every second epoch", "gpu, never"],
)
def test_epochs_on_a_gpu_end_with_a_checkpoint_if_that_takes_little(
    config: TrainConfig, device: str, taken: float, kept: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step takes 0.6 seconds here, an epoch of four 2.4; writing 0.15 a twentieth of 3."""
    clock, steps = [0.0], []
    step, tensors, worth = Training._step, loop.save_tensors, Training._epoch_is_worth_writing

    def take_step(training: Training) -> float:
        clock[0] += 0.6
        return step(training)

    def save_best(*arguments: Any) -> None:
        clock[0] += taken / 3
        tensors(*arguments)

    def note_step(folder: Path, state: TrainingState, *others: Any) -> None:
        clock[0] += taken
        steps.append(state.step)

    def on_device(training: Training) -> bool:
        with monkeypatch.context() as patch:
            patch.setattr(training.processes, "device", torch.device(device))
            return worth(training)

    monkeypatch.setattr(Training, "_step", take_step)
    monkeypatch.setattr(Training, "_epoch_is_worth_writing", on_device)
    monkeypatch.setattr(loop, "save_tensors", save_best)
    monkeypatch.setattr(loop, "save_checkpoint", note_step)
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    train(changed(config, checkpoint_seconds=1000.0))
    assert steps == kept


def test_divergence_stops_with_the_step_and_keeps_the_checkpoint(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = torch.nn.BCEWithLogitsLoss.forward
    calls = []

    def loss(self: torch.nn.BCEWithLogitsLoss, *inputs: torch.Tensor) -> torch.Tensor:
        calls.append(inputs)
        return forward(self, *inputs) * (float("nan") if len(calls) == STEPS + 2 else 1)

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.BCEWithLogitsLoss, "forward", loss)
        with pytest.raises(
            ValueEvalError, match=rf"step {STEPS + 2} of {2 * STEPS}: the loss is nan"
        ):
            train(config)
    work = work_folder(Path(config.output))
    assert [path.name for path in work.glob("checkpoint-*")] == [f"checkpoint-{STEPS}"]
    train(changed(config, resume=True))  # the checkpoint is a good one


@pytest.mark.parametrize(
    ("method", "rate"),
    [("full", 1e30), ("lora", 1e30), ("full", 1e38), ("head", 1e38), ("lora", 1e38)],
)
def test_real_divergence_leaves_no_ruined_weights(
    config: TrainConfig, method: str, rate: float
) -> None:
    """Nothing finished, nothing to resume: there is no step before the ruinous one.

    At 1e38 there is none after it, either.
    """
    ruined = changed(
        config,
        method=method,
        learning_rate=rate,
        warmup_ratio=0.0,
        checkpoint_seconds=0.0,
        epochs=1,
    )
    ruined = changed(ruined, batch_size=TRAINING) if rate == 1e38 else ruined
    with pytest.raises(ValueEvalError, match=r"of \d: .*: training diverged\. Start again with a"):
        train(ruined)
    assert not Path(config.output).exists()
    assert not work_folder(Path(config.output)).exists()


def test_divergence_names_the_best_epoch_so_far(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rate that ruins the weights in the first step of the second epoch."""
    step = Training._step

    def step_with_rate(training: Training) -> float:
        if training.state.step == STEPS:
            for group in training.optimizer.param_groups:
                group["lr"] = 1e38
        return step(training)

    monkeypatch.setattr(Training, "_step", step_with_rate)
    with pytest.raises(
        ValueEvalError, match=rf"step {STEPS + 2} of {2 * STEPS}: the loss"
    ) as error:
        train(changed(config, checkpoint_seconds=0.0))
    work = work_folder(Path(config.output))
    assert (
        f"the last checkpoint is kept in {work}, and the weights of the best epoch so far (1, "
        in str(error.value)
    )
    assert str(error.value).endswith("in best-1.safetensors")
    assert (work / "best-1.safetensors").exists()
    assert [path.name for path in work.glob("checkpoint-*")] == [f"checkpoint-{STEPS}"]
    weights = load_file(work / f"checkpoint-{STEPS}" / "model.safetensors")
    assert all(tensor.isfinite().all() and tensor.abs().max() < 10 for tensor in weights.values())
