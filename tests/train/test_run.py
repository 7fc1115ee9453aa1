"""`valueeval train` as a whole, on the sample set with a tiny random encoder."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import EPOCHS, STEPS, TRAINING, weights, without_seconds
from training import (
    DEADLINE,
    kill_training,
    start_training,
    write_small_data,
)

from valueeval.adapters.classifier.classifier import load_classifier
from valueeval.adapters.directory.manifest import Manifest
from valueeval.adapters.directory.manifest_file import read_manifest
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.scoring import score
from valueeval.train.config.config import TrainConfig
from valueeval.train.loop.training import Training
from valueeval.train.options import changed
from valueeval.train.run import train
from valueeval.train.storage.output import work_folder


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


def test_needs_a_model_that_takes_a_head(
    config: TrainConfig, tiny_gpt2: Path, tmp_path: Path
) -> None:
    base = shutil.copytree(tiny_gpt2, tmp_path / "base")
    (base / "config.json").write_text('{"model_type": "bart"}', "utf-8")
    with pytest.raises(ValueEvalError, match="a bart model takes no head here: use an encoder"):
        train(changed(config, base=str(base)))
    assert not Path(config.output + ".training").exists()


def test_an_adapter_is_no_base(config: TrainConfig, adapter: Path) -> None:
    """Its weights have learnt from labels that the new manifest would not name."""
    assert (adapter / "config.json").is_file()  # a whole model, as a base is
    with pytest.raises(ValueEvalError, match=r"is an adapter of valueeval train.* --teacher"):
        train(changed(config, base=str(adapter)))
    (config_only := Path(config.output + "-lora")).mkdir()
    shutil.copy(adapter / "valueeval.json", config_only)
    with pytest.raises(ValueEvalError, match="is an adapter of valueeval train"):
        train(changed(config, base=str(config_only)))
    assert not Path(config.output + ".training").exists()


def test_without_the_real_data_it_says_so(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueEvalError, match="data_dir"):
        train(changed(config, data_dir=str(tmp_path)))
    assert not work_folder(Path(config.output)).exists()


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


def test_copies_are_adapters_too(adapter: Path, tmp_path: Path) -> None:
    manifest: Manifest = read_manifest(shutil.copytree(adapter, tmp_path / "copy"))
    assert manifest == read_manifest(adapter)
