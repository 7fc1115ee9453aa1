"""The folder of a run: its last clean-up, and two runs with the same output."""

from __future__ import annotations

import os
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from killing import killed
from training import small_config, write_small_data

from valueeval.adapters.directory.manifest_file import read_manifest
from valueeval.tasks.errors import ValueEvalError
from valueeval.train import run
from valueeval.train.config.config import TrainConfig
from valueeval.train.loop.training import Training
from valueeval.train.options import changed
from valueeval.train.run import train
from valueeval.train.runtime.processes import Processes
from valueeval.train.storage import output as storage
from valueeval.train.storage.output import new_adapter, run_folder, work_folder

KILLS = 100


class Killed(BaseException):
    """The end of a process before a file operation."""


@pytest.fixture
def config(tiny_bert: Path, tmp_path: Path) -> TrainConfig:
    data_dir = write_small_data(tmp_path / "data", 12, 6)
    return small_config(tmp_path / "adapter", tiny_bert, data_dir, epochs=2, batch_size=6)


def fill(work: Path) -> None:
    """Write what a run has in its folder at its end: enough files for all kills."""
    for step in range(24):
        checkpoint = work / f"checkpoint-{step}"
        checkpoint.mkdir()
        for name in ("model.safetensors", "optimizer.safetensors", "state.json"):
            (checkpoint / name).write_text("x")
    (work / "metrics.jsonl").write_text("{}")
    (work / "best-1.safetensors").write_text("x")


def kill_at(monkeypatch: pytest.MonkeyPatch, operation: int) -> None:
    """End the process before a file operation that changes something, counted from 0."""
    left = operation

    def counted(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return function(*args, **kwargs)

        return call

    for name in ("unlink", "rmdir", "rename"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    for name in ("unlink", "rmdir", "rename", "touch"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))


def finish(output: Path) -> None:
    work = work_folder(output)
    with new_adapter(work, output) as adapter:
        (adapter / "weights").write_text("x")


RUN: dict[str, Any] = {"config": {"epochs": 1}}


def at_its_end(output: Path) -> Path:
    """Write a run's folder as it is when training has ended; return it."""
    work = work_folder(output)
    work.mkdir(parents=True)
    (work / "lock").touch()
    (work / "run.json").write_text('{"config": {"epochs": 1}}')
    fill(work)
    return work


def go_on(output: Path, removed: bool) -> bool:
    """Run again after a kill, and check what is there; return whether the adapter was in place.

    Args:
        output: Where the adapter of the run belongs.
        removed: Whether it is removed first if it is there, for a new run in its place.
    """
    work, ended = work_folder(output), output.exists()
    if not ended:  # nothing may be lost
        with run_folder(output, RUN, True, Processes()):
            assert (work / "checkpoint-23" / "state.json").exists()
            finish(output)
    elif removed:
        shutil.rmtree(output)
        with run_folder(output, RUN, False, Processes()):
            assert {path.name for path in work.iterdir()} == {"lock", "run.json"}
            finish(output)
    else:
        with run_folder(output, RUN, True, Processes()):
            storage._remove(work)
    assert os.listdir(output.parent) == ["adapter"]
    assert (output / "weights").read_text() == "x"
    return ended


@pytest.mark.parametrize("removed", [True, False])
def test_a_kill_at_any_file_operation_of_the_last_clean_up_blocks_nothing(
    tmp_path: Path, removed: bool
) -> None:
    ended = 0
    for operation in range(KILLS):
        output = tmp_path / str(operation) / "adapter"
        at_its_end(output)
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, operation)
            with pytest.raises(Killed):
                finish(output)
        ended += go_on(output, removed)
    assert ended > KILLS * 0.9


def test_a_hundred_kills_of_the_last_clean_up_leave_nothing_behind(tmp_path: Path) -> None:
    at_its_end(tmp_path / "whole" / "adapter")
    began = time.monotonic()
    finish(tmp_path / "whole" / "adapter")
    lasts = time.monotonic() - began
    moments, half_way = np.random.default_rng(1), 0
    for number in range(KILLS):
        output = tmp_path / str(number) / "adapter"
        work = at_its_end(output)
        killed(partial(finish, output), 1.5 * lasts, moments)
        half_way += output.exists() and work.exists()
        go_on(output, removed=bool(number % 2))
    assert half_way > 0


def test_an_output_that_appears_while_training_is_noticed_after_the_epoch(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, step = Path(config.output), Training._step

    def appearing(self: Training) -> float:
        output.mkdir(exist_ok=True)
        (output / "other").touch()
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_step", appearing)
        with pytest.raises(ValueEvalError, match="has appeared while this run was training"):
            train(config)
    assert (work_folder(output) / "checkpoint-2").is_dir()  # of two epochs with two steps each
    shutil.rmtree(output)
    train(changed(config, resume=True))
    assert not work_folder(output).exists()


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_that_ends_just_before_another_gets_the_lock_is_not_repeated(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, resume: bool
) -> None:
    manifest = train(config)
    looks: list[bool] = []

    def look(*given: Any) -> bool:
        looks.append(bool(looks))
        return looks[-1] and storage.is_finished(*given)

    monkeypatch.setattr(run, "is_finished", look)
    monkeypatch.setattr(Training, "run", lambda self: pytest.fail("trains again"))
    if resume:
        assert train(changed(config, resume=True)) == manifest
    else:
        with pytest.raises(ValueEvalError, match="already holds a finished adapter"):
            train(config)
    assert read_manifest(Path(config.output)) == manifest
    assert not work_folder(Path(config.output)).exists()


def test_a_lock_of_a_removed_folder_is_not_taken_for_one(tmp_path: Path) -> None:
    work = tmp_path / "adapter.training"
    first = storage._try_lock(work)
    shutil.rmtree(work)
    assert not storage._is_in(work, first)
    with storage._lock(work) as lock:
        assert storage._is_in(work, lock)
    first.close()
