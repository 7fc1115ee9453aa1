"""`valueeval train` as a whole, on the sample set with a tiny random encoder."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from training import (
    DEADLINE,
    kill_training,
    small_config,
    start_training,
    stop_training,
    write_small_data,
    write_without_dropout,
)

from valueeval.adapters.classifier.classifier import load_classifier
from valueeval.adapters.directory.manifest import Manifest
from valueeval.adapters.directory.manifest_file import read_manifest
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.scoring import score
from valueeval.train import run
from valueeval.train.cli import main, summary
from valueeval.train.config.config import TrainConfig
from valueeval.train.loop import training as loop
from valueeval.train.loop.training import Training
from valueeval.train.options import changed, configure
from valueeval.train.run import train
from valueeval.train.runtime import hardware
from valueeval.train.runtime.hardware import advise_when_out_of_memory
from valueeval.train.runtime.progress import TrainingProgress
from valueeval.train.storage import atomic_writing
from valueeval.train.storage.atomic_writing import save_tensors, write_json, writing
from valueeval.train.storage.checkpoint import TrainingState
from valueeval.train.storage.output import work_folder

TRAINING, VALIDATION, BATCH, EPOCHS = 60, 30, 16, 2
STEPS = 4  # in an epoch


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data"), TRAINING, VALIDATION)


@pytest.fixture(scope="module")
def recipe(tiny_bert: Path, data_dir: Path) -> TrainConfig:
    anywhere = Path("set by each test")
    return small_config(
        anywhere, tiny_bert, data_dir, epochs=EPOCHS, batch_size=BATCH, learning_rate=0.01
    )


@pytest.fixture
def config(recipe: TrainConfig, tmp_path: Path) -> TrainConfig:
    return changed(recipe, output=str(tmp_path / "adapter"))


@pytest.fixture(scope="module")
def adapter(recipe: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished adapter, which the tests leave as it is."""
    output = tmp_path_factory.mktemp("trained") / "adapter"
    train(changed(recipe, output=str(output)))
    return output


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes() + (folder / "head.safetensors").read_bytes()


def test_manifest_tells_the_truth(adapter: Path, tiny_bert: Path, data_dir: Path) -> None:
    manifest = read_manifest(adapter)
    training = load_set("training", data_dir)
    assert (manifest.method, manifest.objective, manifest.template) == ("full", "bce", None)
    assert manifest.data.name == "touche23"
    assert manifest.data.set == "training"
    assert manifest.data.size == TRAINING
    assert manifest.data.sha256 == training.sha256
    assert manifest.base_model.name == str(tiny_bert)
    assert manifest.config["epochs"] == EPOCHS
    assert manifest.seconds > 0
    assert manifest.peak_memory_bytes > 2**20
    assert manifest.versions["torch"] == torch.__version__

    model = load_classifier(adapter, device="cpu").model
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert manifest.parameters.total == manifest.parameters.trainable == parameters


def test_loaded_adapter_gives_the_validation_scores_of_the_manifest(
    adapter: Path, data_dir: Path
) -> None:
    classifier = load_classifier(adapter, device="cpu")
    validation = load_set("validation", data_dir)
    logits = classifier.logits(validation.arguments, batch_size=64)
    prediction = classifier.manifest.thresholds.decide(logits)
    assert score(validation.labels, prediction) == classifier.manifest.validation
    for batch_size in (1, 8):
        again = classifier.logits(validation.arguments, batch_size=batch_size)
        np.testing.assert_allclose(again, logits, atol=1e-5)
        assert (classifier.manifest.thresholds.decide(again) == prediction).all()


def test_best_epoch_is_kept(adapter: Path) -> None:
    lines = [json.loads(line) for line in (adapter / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    best = max(line["validation"]["macro_f1"] for line in lines)
    assert read_manifest(adapter).validation["macro_f1"] == pytest.approx(best)


def test_nothing_is_left_beside_the_adapter(adapter: Path) -> None:
    assert [path.name for path in adapter.parent.iterdir()] == ["adapter"]
    assert not list(adapter.glob("*.tmp"))


def test_all_files_have_the_rights_of_the_umask(adapter: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    assert {path.stat().st_mode for path in adapter.iterdir()} == {plain.stat().st_mode}


def test_learns_and_same_seed_gives_the_same_adapter(adapter: Path, config: TrainConfig) -> None:
    again = train(config)
    assert weights(Path(config.output)) == weights(adapter)
    assert again.thresholds == read_manifest(adapter).thresholds
    lines = [json.loads(line) for line in (adapter / "metrics.jsonl").read_text().splitlines()]
    assert lines[1]["loss"] < lines[0]["loss"]

    other = train(changed(config, seed=1, output=config.output + "-1"))
    assert other.weights_sha256 != again.weights_sha256


def test_bfloat16_is_another_recipe_and_is_evaluated_in_float32(
    config: TrainConfig, data_dir: Path
) -> None:
    manifest = train(changed(config, precision="bfloat16"))
    assert manifest.config["precision"] == "bfloat16"
    classifier = load_classifier(config.output, device="cpu")
    validation = load_set("validation", data_dir)
    prediction = manifest.thresholds.decide(classifier.logits(validation.arguments, 64))
    assert score(validation.labels, prediction) == manifest.validation


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


def test_command_says_where_the_adapter_is_and_how_to_evaluate_it(
    tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "my adapter"
    words = ["--base", str(tiny_bert), "--data=sample", "--epochs=1", "--max-length=48"]
    assert main([*words, "--output", str(output)]) == 0
    printed = capsys.readouterr()
    assert f"{output}: macro_f1 0." in printed.out
    assert "lm_eval --tasks valueeval_cls_sample --model valueeval" in printed.out
    assert f"--model_args 'adapter={output}'" in printed.out
    assert "longer than 48 tokens and were cut" in printed.err
    assert "epoch 1: loss" in printed.err


def test_the_bar_ends_with_the_best_score(capfd: pytest.CaptureFixture[str]) -> None:
    with TrainingProgress(total=2, done=0) as progress:
        progress.step(0.7)
        progress.best(0.25)
        progress.step(0.6)
        progress.best(0.5)
    last = capfd.readouterr().err.replace("\n", " ").rpartition("training")[2]
    assert "loss 0.6000, validation macro_f1 0.5000" in " ".join(last.split())


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


# ------------------------------------------------------------- output directories in the way


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


@pytest.fixture
def unfinished(config: TrainConfig) -> TrainConfig:
    """A run that was stopped in its second epoch."""
    stop_training(config, STEPS + 1)
    return config


def test_refuses_an_unfinished_run_unless_it_is_to_be_resumed(
    unfinished: TrainConfig, adapter: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueEvalError, match=r"unfinished run .* add --resume"):
        train(unfinished)
    with pytest.raises(ValueEvalError, match=r"another configuration \(epochs 2 there, 3 here\)"):
        train(changed(unfinished, epochs=3, resume=True))
    assert train(changed(unfinished, resume=True)).seconds > 0
    assert f"going on after step {STEPS} of {EPOCHS * STEPS}" in capfd.readouterr().err
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
    assert f"interrupted: the same command with --resume goes on from {work}" in said


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
        with pytest.raises(ValueEvalError, match=r"where the run would live .* holds other files"):
            train(changed(config, resume=resume))
    assert [path.name for path in work.iterdir()] == ["notes.txt"]


def test_what_a_teacher_said_is_kept_when_less_is_read_at_once(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of memory before the first checkpoint: the cure must not cost the teacher's answers."""
    teacher = train_into(changed(config, output=config.output + "-teacher", epochs=1))
    config = changed(config, teacher=teacher, epochs=1)

    def too_much(training: Training) -> float:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_step", too_much)
        with pytest.raises(ValueEvalError, match="lower --max_tokens_per_microbatch"):
            train(config)
    answers = work_folder(Path(config.output)) / "teacher.safetensors"
    assert answers.is_file()

    def not_again(*inputs: object) -> None:
        raise AssertionError("the teacher is asked again")

    monkeypatch.setattr("valueeval.train.objectives.distillation.load_members", not_again)
    train(changed(config, max_tokens_per_microbatch=512, resume=True))


def train_into(config: TrainConfig) -> str:
    train(config)
    return config.output


def test_validation_without_any_value(config: TrainConfig, tmp_path: Path) -> None:
    data_dir = write_small_data(tmp_path / "data", 8, 4)
    path = data_dir / "labels-validation.tsv"
    header, *rows = path.read_text("utf-8").splitlines()
    none = ["\t".join([row.split("\t")[0], *["0"] * 20]) for row in rows]
    path.write_text("\n".join([header, *none]) + "\n", "utf-8")
    with pytest.raises(ValueEvalError, match="validation: no argument there has a value"):
        train(changed(config, data_dir=str(data_dir)))
    assert not work_folder(Path(config.output)).exists()


@pytest.mark.parametrize("content", ["[]", "{", '"x"'])
def test_a_broken_run_file_beside_checkpoints_is_named(
    unfinished: TrainConfig, content: str
) -> None:
    path = work_folder(Path(unfinished.output)) / "run.json"
    path.write_text(content, "utf-8")
    with pytest.raises(ValueEvalError, match=r"run\.json: cannot be read as what a run has"):
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


def test_refuses_a_broken_checkpoint(unfinished: TrainConfig) -> None:
    (checkpoint,) = work_folder(Path(unfinished.output)).glob("checkpoint-*")
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueEvalError, match="this checkpoint cannot be read"):
        train(changed(unfinished, resume=True))


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


# -------------------------------------------------------------------------- what can go wrong


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


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "free space there, or choose another --output"),
        (errno.EROFS, "choose an --output where you may write"),
        (errno.EACCES, "choose an --output where you may write"),
        (errno.EIO, "; choose another --output. --resume continues an interrupted run"),
    ],
)
def test_what_to_do_about_a_failure_to_write(tmp_path: Path, number: int, cure: str) -> None:
    with pytest.raises(ValueEvalError, match=cure), writing(tmp_path):
        raise OSError(number, "it fails")
    with pytest.raises(ValueEvalError, match=cure), writing(tmp_path):
        raise SafetensorError(f"I/O error: it fails (os error {number}) at path")


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


def test_half_written_files_go_away(tmp_path: Path) -> None:
    write_json({"a": 1}, tmp_path / "a.json")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json({"a": float("nan")}, tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"a": 1}
    with pytest.raises(ValueEvalError, match="cannot write"):
        save_tensors({"a": torch.zeros(1)}, tmp_path / "none" / "a.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_needs_a_model_that_takes_a_head(
    config: TrainConfig, tiny_gpt2: Path, tmp_path: Path
) -> None:
    base = shutil.copytree(tiny_gpt2, tmp_path / "base")
    (base / "config.json").write_text('{"model_type": "bart"}', "utf-8")
    with pytest.raises(ValueEvalError, match="a bart model takes no head here: take an encoder"):
        train(changed(config, base=str(base)))
    assert not Path(config.output + ".training").exists()


def test_without_the_real_data_it_says_so(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueEvalError, match="data_dir"):
        train(changed(config, data_dir=str(tmp_path)))
    assert not work_folder(Path(config.output)).exists()


# --------------------------------------------------------------------- killed at any moment

KILLS = 6


def run_in_process(config: TrainConfig, seconds: float | None = None) -> int | None:
    """Trains in a process of its own; kills it (SIGKILL) after so many seconds.

    Returns:
        Its exit status, negative if it was killed.
    """
    process = start_training(config)
    process.join(DEADLINE if seconds is None else seconds)
    process.kill()
    process.join()
    return process.exitcode


def test_killed_at_random_moments_and_resumed_gives_the_same_adapter(config: TrainConfig) -> None:
    """Checkpoints after each step, so that many a kill comes while one is written."""
    config = changed(config, checkpoint_seconds=0.0, resume=True)
    whole = changed(config, output=config.output + "-whole")
    assert run_in_process(changed(whole, output=whole.output + "-warm")) == 0
    started = time.monotonic()
    assert run_in_process(whole) == 0
    duration = time.monotonic() - started

    random = Random()  # noqa: S311 (other moments in every run of the test)
    kills, moments = 0, []
    while kills < KILLS and len(moments) < 5 * KILLS:
        moments.append(random.uniform(0.2, 0.9) * duration)
        started = time.monotonic()
        status = run_in_process(config, moments[-1])
        kills += status == -signal.SIGKILL
        if status == 0:  # it came to its end: another run, another directory
            # The machine may have become faster since the first run.
            duration = min(duration, time.monotonic() - started)
            assert_same_result(whole, config, moments)
            config = changed(config, output=f"{config.output}+")
    assert kills == KILLS
    assert run_in_process(config) == 0
    assert_same_result(whole, config, moments)


@pytest.mark.parametrize(
    ("options", "stage"),
    [
        ({"method": "head"}, ""),
        ({"contrastive": "joint"}, ""),
        ({"contrastive": "pretrain"}, "pretraining"),
        ({"contrastive": "pretrain"}, ""),
    ],
)
def test_killed_in_any_kind_of_run_and_resumed_gives_the_same_adapter(
    config: TrainConfig, options: dict[str, Any], stage: str
) -> None:
    more = {"epochs": 8, "checkpoint_seconds": 0.0, **options}
    more |= {"contrastive_epochs": 8} if stage else {}
    whole = changed(config, output=config.output + "-whole", **more)
    manifest = train(whole)
    killed = changed(config, **more)
    kill_training(killed, STEPS + 1, stage)
    again = train(changed(killed, resume=True))
    assert again.weights_sha256 == manifest.weights_sha256
    assert (again.thresholds, again.validation) == (manifest.thresholds, manifest.validation)
    assert without_seconds(Path(killed.output)) == without_seconds(Path(whole.output))


def assert_same_result(one: TrainConfig, other: TrainConfig, moments: list[float]) -> None:
    first, second = Path(one.output), Path(other.output)
    assert weights(first) == weights(second), moments
    a, b = read_manifest(first), read_manifest(second)
    assert (a.thresholds, a.validation, a.config) == (b.thresholds, b.validation, b.config)
    assert without_seconds(first) == without_seconds(second), moments
    assert not work_folder(second).exists()


def without_seconds(folder: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in line if key != "seconds"} for line in lines]


def test_copies_are_adapters_too(adapter: Path, tmp_path: Path) -> None:
    manifest: Manifest = read_manifest(shutil.copytree(adapter, tmp_path / "copy"))
    assert manifest == read_manifest(adapter)
