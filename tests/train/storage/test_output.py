"""The output directory and the folder of a run: what may be there, locks, the last clean-up."""

from __future__ import annotations

import errno
import json
import os
import shutil
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from killing import forked_seconds, in_fresh_process, killed
from safetensors.torch import load_file, save_file
from small_runs import EPOCHS, STEPS, TRAINING, VALIDATION, weights, without_seconds
from training import (
    small_config,
    stop_training,
    write_small_data,
    write_without_dropout,
)

from valueeval.adapters.directory.manifest_file import read_manifest
from valueeval.tasks.display import error_message
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
def short_run(tiny_bert: Path, tmp_path: Path) -> TrainConfig:
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


def kill_a_hundred_clean_ups(tmp_path: Path) -> None:
    at_its_end(tmp_path / "whole" / "adapter")
    lasts = forked_seconds(partial(finish, tmp_path / "whole" / "adapter"))
    moments, half_way = np.random.default_rng(1), 0
    for number in range(KILLS):
        output = tmp_path / str(number) / "adapter"
        work = at_its_end(output)
        killed(partial(finish, output), 1.5 * lasts, moments)
        half_way += output.exists() and work.exists()
        go_on(output, removed=bool(number % 2))
    assert half_way > 0


@pytest.mark.slow
def test_a_hundred_kills_of_the_last_clean_up_leave_nothing_behind(tmp_path: Path) -> None:
    in_fresh_process(kill_a_hundred_clean_ups, tmp_path)


def test_an_output_that_appears_while_training_is_noticed_after_the_epoch(
    short_run: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, step = Path(short_run.output), Training._step

    def appearing(self: Training) -> float:
        output.mkdir(exist_ok=True)
        (output / "other").touch()
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_step", appearing)
        with pytest.raises(ValueEvalError, match="has appeared while this run was training"):
            train(short_run)
    assert (work_folder(output) / "checkpoint-2").is_dir()  # of two epochs with two steps each
    shutil.rmtree(output)
    train(changed(short_run, resume=True))
    assert not work_folder(output).exists()


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_that_ends_just_before_another_gets_the_lock_is_not_repeated(
    short_run: TrainConfig, monkeypatch: pytest.MonkeyPatch, resume: bool
) -> None:
    manifest = train(short_run)
    looks: list[bool] = []

    def look(*given: Any) -> bool:
        looks.append(bool(looks))
        return looks[-1] and storage.is_finished(*given)

    monkeypatch.setattr(run, "is_finished", look)
    monkeypatch.setattr(Training, "run", lambda self: pytest.fail("trains again"))
    if resume:
        assert train(changed(short_run, resume=True)) == manifest
    else:
        with pytest.raises(ValueEvalError, match="already holds a finished adapter"):
            train(short_run)
    assert read_manifest(Path(short_run.output)) == manifest
    assert not work_folder(Path(short_run.output)).exists()


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("length", [250, 256, 100_000])
def test_a_name_that_is_too_long_for_a_folder(
    config: TrainConfig, length: int, resume: bool, tmp_path: Path
) -> None:
    long = str(tmp_path / ("x" * length))
    with pytest.raises(ValueEvalError, match="this name is too long for a folder") as caught:
        train(changed(config, output=long, resume=resume))
    assert len(error_message(caught.value).splitlines()) == 1
    assert not os.listdir(tmp_path)


def test_a_lock_of_a_removed_folder_is_not_taken_for_one(tmp_path: Path) -> None:
    work = tmp_path / "adapter.training"
    first = storage._try_lock(work)
    shutil.rmtree(work)
    assert not storage._is_in(work, first)
    with storage._lock(work) as lock:
        assert storage._is_in(work, lock)
    first.close()


def test_nothing_is_left_beside_the_adapter(adapter: Path) -> None:
    assert [path.name for path in adapter.parent.iterdir()] == ["adapter"]
    assert not list(adapter.glob("*.tmp"))


def test_all_files_have_the_rights_of_the_umask(adapter: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    assert {path.stat().st_mode for path in adapter.iterdir()} == {plain.stat().st_mode}


def test_refuses_to_overwrite_an_adapter(adapter: Path, config: TrainConfig) -> None:
    before = weights(adapter)
    there = changed(config, output=str(adapter))
    with pytest.raises(ValueEvalError, match="already holds a finished adapter"):
        train(there)
    with pytest.raises(ValueEvalError, match=r"adapter of another run \(seed 0 there, 1 here\)"):
        train(changed(there, resume=True, seed=1))
    assert weights(adapter) == before


def test_resuming_a_finished_run_changes_nothing(adapter: Path, config: TrainConfig) -> None:
    before = {path: path.stat().st_mtime_ns for path in adapter.iterdir()}
    work_folder(adapter).mkdir()  # as a run leaves it that is killed in its very last moment
    manifest = train(changed(config, output=str(adapter), resume=True))
    assert manifest == read_manifest(adapter)
    assert {path: path.stat().st_mtime_ns for path in adapter.iterdir()} == before
    assert not work_folder(adapter).exists()


def test_refuses_other_peoples_files(config: TrainConfig, tmp_path: Path) -> None:
    output = Path(config.output)
    output.mkdir()
    (output / "thesis.txt").write_text("mine", "utf-8")
    with pytest.raises(ValueEvalError, match="holds other files"):
        train(config)
    assert (output / "thesis.txt").read_text("utf-8") == "mine"
    with pytest.raises(ValueEvalError, match="is a file"):
        train(changed(config, output=str(output / "thesis.txt")))


def test_an_empty_directory_is_as_good_as_none(config: TrainConfig) -> None:
    Path(config.output).mkdir()
    train(changed(config, epochs=1))
    read_manifest(config.output)


def test_refuses_links_before_it_trains(
    config: TrainConfig, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end the adapter could not take their place."""
    output = Path(config.output)
    for target in (output.with_name("empty"), output.with_name("not-there")):
        if target.name == "empty":
            target.mkdir()
        output.symlink_to(target)
        with pytest.raises(ValueEvalError, match="is a link or the root of a disk"):
            train(config)
        assert not work_folder(output).exists()
        output.unlink()
    output.symlink_to(adapter)  # what is finished can be read through a link
    assert train(changed(config, resume=True)) == read_manifest(adapter)


def test_refuses_a_folder_on_another_disk(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared_memory = Path("/dev/shm")  # noqa: S108 (another disk, where there is one)
    work = work_folder(Path(config.output))
    if not shared_memory.is_dir() or shared_memory.stat().st_dev == work.parent.stat().st_dev:
        pytest.skip("no other disk")
    with TemporaryDirectory(dir=shared_memory) as elsewhere:
        work.symlink_to(elsewhere)
        with pytest.raises(ValueEvalError, match="is on another disk than"):
            train(config)


def test_a_finished_run_is_not_that_of_other_data_or_another_base(
    adapter: Path, config: TrainConfig, tiny_gpt2: Path, tmp_path: Path
) -> None:
    there = changed(config, output=str(shutil.copytree(adapter, config.output)), resume=True)
    other = write_small_data(tmp_path / "data", TRAINING - 1, VALIDATION)
    with pytest.raises(ValueEvalError, match=r"of another run \(training_sha256 '"):
        train(changed(there, data_dir=str(other)))
    other = write_small_data(tmp_path / "more", TRAINING, VALIDATION - 1)
    with pytest.raises(ValueEvalError, match=r"of another run \(validation_sha256 '"):
        train(changed(there, data_dir=str(other)))
    base = write_without_dropout(tmp_path / "base", Path(config.base))
    train(changed(there, base=str(base)))  # the same weights, under another name
    tensors = load_file(base / "model.safetensors")
    tensors["embeddings.LayerNorm.bias"][0] += 1
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueEvalError, match=r"of another run \(base_sha256 '"):
        train(changed(there, base=str(base)))
    assert weights(Path(config.output)) == weights(adapter)


def test_refuses_an_unfinished_run_unless_it_is_to_be_resumed(
    unfinished: TrainConfig, adapter: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueEvalError, match=r"unfinished run .* add --resume"):
        train(unfinished)
    with pytest.raises(ValueEvalError, match=r"another configuration \(epochs 2 there, 3 here\)"):
        train(changed(unfinished, epochs=3, resume=True))
    assert train(changed(unfinished, resume=True)).seconds > 0
    assert f"continuing after step {STEPS} of {EPOCHS * STEPS}" in capfd.readouterr().err
    assert weights(Path(unfinished.output)) == weights(adapter)


def test_resumes_with_fewer_max_tokens_per_microbatch_and_another_name_of_the_base(
    unfinished: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Path(unfinished.base)
    monkeypatch.chdir(base.parent)
    manifest = train(
        changed(unfinished, resume=True, max_tokens_per_microbatch=48, base=f"./{base.name}")
    )
    assert manifest.base_model.name == str(base)
    assert manifest.config["max_tokens_per_microbatch"] == 48


@pytest.mark.parametrize("moment", [0, 2])
def test_a_run_stopped_before_its_first_checkpoint_leaves_nothing(
    config: TrainConfig, moment: int, capfd: pytest.CaptureFixture[str]
) -> None:
    stop_training(config, moment)
    assert not work_folder(Path(config.output)).exists()
    assert "interrupted before the first checkpoint: the same command" in capfd.readouterr().err


def test_a_stopped_run_says_how_it_goes_on(
    unfinished: TrainConfig, capfd: pytest.CaptureFixture[str]
) -> None:
    stop_training(changed(unfinished, resume=True), STEPS + 2)
    work = work_folder(Path(unfinished.output))
    said = capfd.readouterr().err.replace("\n", " ")
    assert f"interrupted: the same command with --resume continues from {work}" in said


def test_what_a_run_killed_at_its_start_leaves_is_in_nobodys_way(
    config: TrainConfig, adapter: Path
) -> None:
    work = work_folder(Path(config.output))
    work.mkdir()
    for content in ('{"config": {"epochs": 7}}', "[]", ""):
        (work / "run.json").write_text(content, "utf-8")
        (work / "teacher.safetensors").write_bytes(b"of another run")
        (work / "pretraining").mkdir()
        stop_training(config, 0)
        assert not work.exists()
        work.mkdir()
    train(config)
    assert weights(Path(config.output)) == weights(adapter)


def test_a_folder_of_somebody_elses_is_left_alone(config: TrainConfig) -> None:
    work = work_folder(Path(config.output))
    work.mkdir()
    (work / "notes.txt").write_text("mine", "utf-8")
    for resume in (False, True):
        with pytest.raises(ValueEvalError, match=r"the folder of the run .* holds other files"):
            train(changed(config, resume=resume))
    assert [path.name for path in work.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("content", ["[]", "{", '"x"'])
def test_a_broken_run_file_beside_checkpoints_is_named(
    unfinished: TrainConfig, content: str
) -> None:
    path = work_folder(Path(unfinished.output)) / "run.json"
    path.write_text(content, "utf-8")
    with pytest.raises(ValueEvalError, match=r"run\.json: cannot be read as the file of a run"):
        train(changed(unfinished, resume=True))


def test_strange_things_in_the_folder_of_a_run(unfinished: TrainConfig, adapter: Path) -> None:
    work = work_folder(Path(unfinished.output))
    (work / "checkpoint-old").mkdir()
    (work / "checkpoint-9.tmp").mkdir()
    with (work / "metrics.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"epoch": 3}\n[]\n{"step": "many"}\n{"step": ')
    train(changed(unfinished, resume=True))
    assert weights(Path(unfinished.output)) == weights(adapter)
    assert without_seconds(Path(unfinished.output)) == without_seconds(adapter)


def test_a_folder_that_is_removed_while_training(config: TrainConfig) -> None:
    step = Training._step

    def remove(training: Training) -> float:
        shutil.rmtree(training.folder)
        return step(training)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "_step", remove)
        with pytest.raises(ValueEvalError, match=r"this folder, or one above it, does not exist"):
            train(changed(config, batch_size=TRAINING))


def test_refuses_to_resume_on_other_data(unfinished: TrainConfig, tmp_path: Path) -> None:
    run_file = work_folder(Path(unfinished.output)) / "run.json"
    run = json.loads(run_file.read_text("utf-8"))
    run_file.write_text(json.dumps({**run, "training_sha256": "0"}), "utf-8")
    with pytest.raises(ValueEvalError, match="training_sha256 '0' there"):
        train(changed(unfinished, resume=True))


def test_resume_without_a_run_starts_one(adapter: Path, config: TrainConfig) -> None:
    train(changed(config, resume=True))
    assert weights(Path(config.output)) == weights(adapter)


def test_keeps_a_second_process_out(unfinished: TrainConfig) -> None:
    import fcntl

    with (work_folder(Path(unfinished.output)) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ValueEvalError, match="another process is training there"):
            train(changed(unfinished, resume=True))


def test_a_file_system_without_locks_is_told_of(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import fcntl

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert train(config).weights_sha256
    assert "this file system has no locks (Function not implemented)" in capfd.readouterr().err


def test_the_adapter_is_on_the_disk_before_its_checkpoints_go(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, remove = os.fsync, shutil.rmtree

    def noted_sync(number: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{number}")).name)
        sync(number)

    def noted_remove(path: Path, *options: Any, **more: Any) -> None:
        done.append(f"remove {path.name}")
        remove(path, *options, **more)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(shutil, "rmtree", noted_remove)
    train(config)
    output = Path(config.output)
    removed = []
    while done[-1].startswith("remove"):
        removed.append(done.pop())
    assert "remove checkpoint-8" in removed
    written = {path.name for path in output.iterdir()} | {"adapter", output.parent.name}
    assert {*done[-len(written) :]} == written


def test_disk_full_while_the_adapter_is_written(
    config: TrainConfig, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is trained by then: the same command with --resume writes it once there is room."""
    save = run.save

    def full_disk(*inputs: Any) -> None:
        save(*inputs)
        (inputs[-1] / "half.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(run, "save", full_disk)
        with pytest.raises(ValueEvalError, match="free space there, or choose another --output"):
            train(config)
    work = work_folder(Path(config.output))
    assert not Path(config.output).exists()
    assert not (work / "adapter").exists()
    assert [path.name for path in work.glob("checkpoint-*")] == [f"checkpoint-{2 * STEPS}"]
    train(changed(config, resume=True))
    assert weights(Path(config.output)) == weights(adapter)
    assert not work.exists()


def test_a_folder_that_may_not_be_written(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a substitute: who runs the tests may be allowed to write anywhere."""
    mkdir = Path.mkdir

    def refused(path: Path, *options: Any, **more: Any) -> None:
        if path == work_folder(Path(config.output)):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        mkdir(path, *options, **more)

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(ValueEvalError, match=r"Permission denied.*where you may write"):
        train(config)
    assert not Path(config.output).exists()


def test_an_output_that_cannot_be_written(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(ValueEvalError, match="cannot write"):
        train(changed(config, output=str(tmp_path / "file" / "adapter")))
