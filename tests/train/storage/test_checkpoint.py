"""Checkpoints that are broken, incomplete or cannot be written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import STEPS, weights

from valueeval.tasks.errors import ValueEvalError
from valueeval.train.config.config import TrainConfig
from valueeval.train.loop.training import Training
from valueeval.train.options import changed
from valueeval.train.run import train
from valueeval.train.storage import atomic_writing
from valueeval.train.storage.output import work_folder


def test_without_the_weights_of_the_best_epoch(unfinished: TrainConfig) -> None:
    work = work_folder(Path(unfinished.output))
    (work / "best-1.safetensors").write_bytes(b"half")
    training = Training._end_epoch

    def no_better(self: Training, *inputs: Any) -> None:
        self.state.best = replace(self.state.best, macro_f1=2.0) if self.state.best else None
        training(self, *inputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "_end_epoch", no_better)
        with pytest.raises(ValueEvalError, match=r"best-1\.safetensors: the weights of the best"):
            train(changed(unfinished, resume=True))


def test_refuses_a_broken_checkpoint(unfinished: TrainConfig) -> None:
    (checkpoint,) = work_folder(Path(unfinished.output)).glob("checkpoint-*")
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueEvalError, match="this checkpoint cannot be read"):
        train(changed(unfinished, resume=True))


def test_disk_full_keeps_the_last_checkpoint(
    config: TrainConfig, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file = atomic_writing.save_file
    calls = []

    def full_disk(tensors: dict[str, torch.Tensor], path: Path, **options: object) -> None:
        calls.append(path)
        if len(calls) > 4:
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save_file(tensors, path, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(atomic_writing, "save_file", full_disk)
        with pytest.raises(ValueEvalError, match="No space left on device"):
            train(config)
    work = work_folder(Path(config.output))
    assert [path.name for path in work.glob("checkpoint-*")] == [f"checkpoint-{STEPS}"]
    assert not list(work.rglob("*.tmp"))
    train(changed(config, resume=True))
    assert weights(Path(config.output)) == weights(adapter)
