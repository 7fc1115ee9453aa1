"""A student of all folds: taught, and its thresholds tuned, by adapters that had not seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from training import small_config, stop_training, write_small_data

from valueeval.adapters.classifier.classifier import Batch, load_classifier
from valueeval.adapters.directory.ensemble import find_members, read_adapter
from valueeval.adapters.directory.manifest_file import CARD_FILE, read_manifest
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.data.folds import folds_of
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.scoring import score
from valueeval.train.cli import summary
from valueeval.train.config.choice import ConfigError
from valueeval.train.config.config import TrainConfig
from valueeval.train.loop.thresholds import choose_thresholds
from valueeval.train.loop.training import Training
from valueeval.train.objectives.distillation import TEACHER_FILE, members_without
from valueeval.train.options import changed
from valueeval.train.run import load_splits, train
from valueeval.train.storage.output import work_folder

FOLDS, TRAINING, VALIDATION = 3, 40, 20


@pytest.fixture(scope="module")
def recipe(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    data = write_small_data(tmp_path_factory.mktemp("data"), TRAINING, VALIDATION)
    output = tmp_path_factory.mktemp("runs") / "fold"
    options: dict[str, Any] = {"epochs": 2, "batch_size": 16, "learning_rate": 0.1}
    return small_config(output, tiny_bert, data, method="head", folds=FOLDS, fold=0, **options)


@pytest.fixture(scope="module")
def teachers(recipe: TrainConfig) -> list[str]:
    """An adapter for each fold, and a second one for the first."""
    outputs = [f"{recipe.output}{number}" for number in range(FOLDS + 1)]
    for number, output in enumerate(outputs):
        train(changed(recipe, output=output, fold=number % FOLDS, seed=number // FOLDS))
    return outputs


@pytest.fixture
def config(recipe: TrainConfig, teachers: list[str], tmp_path: Path) -> TrainConfig:
    named = "+".join(teachers)
    return changed(recipe, output=str(tmp_path / "student"), fold=None, teacher=named)


def test_it_learns_from_all_arguments_and_is_taught_by_those_that_had_not_seen_them(
    config: TrainConfig, teachers: list[str]
) -> None:
    training, _ = load_splits(config)
    parts = [load_set(name, config.data_dir) for name in ("training", "validation")]
    assert training.ids == parts[0].ids + parts[1].ids
    stop_training(config, 0)
    taught = load_file(work_folder(Path(config.output)) / TEACHER_FILE)["logits"]
    manifests = [read_manifest(folder) for folder in teachers]
    for row, fold in enumerate(folds_of(training, FOLDS).tolist()):
        asked = [f for f, m in zip(teachers, manifests, strict=True) if m.data.left_out == (fold,)]
        assert len(asked) == (2 if fold == 0 else 1)
        each = [load_classifier(f, "cpu").logits([training.arguments[row]])[0] for f in asked]
        np.testing.assert_allclose(taught[row], np.mean(each, axis=0), atol=1e-5)


def test_thresholds_are_tuned_on_the_teachers_answers_and_the_last_epoch_is_kept(
    config: TrainConfig,
) -> None:
    stop_training(config, 0)
    taught = load_file(work_folder(Path(config.output)) / TEACHER_FILE)["logits"]
    manifest = train(changed(config, resume=True))
    training, _ = load_splits(config)
    tuned = choose_thresholds("shrunk", training.labels, taught, "training")
    assert manifest.thresholds == tuned
    assert manifest.data.size == TRAINING + VALIDATION
    assert (manifest.data.folds, manifest.data.left_out) == (FOLDS, ())
    # Its own scores nobody knows: the card has the teachers', and says so.
    assert manifest.validation == {}
    expected = score(training.labels, tuned.decide(taught))
    card = (Path(config.output) / CARD_FILE).read_text("utf-8")
    assert f"| `macro_f1` | {expected['macro_f1']:.3f} |" in card
    assert "Of its teachers, on training+validation by cross-validation in 3 folds, 60 arg" in card
    assert "trained on all folds" in summary(config, manifest)
    lines = (Path(config.output) / "metrics.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["validation"] for line in lines] == [{}, {}]
    assert read_adapter(config.output) == manifest


def test_the_last_epoch_is_what_is_written(config: TrainConfig) -> None:
    """A second epoch with no learning rate to speak of would else be the first's equal."""
    one = train(changed(config, output=config.output + "-1", schedule="constant_with_warmup"))
    longer = changed(config, output=config.output + "-2", schedule="constant_with_warmup", epochs=4)
    two = train(longer)
    assert one.weights_sha256 != two.weights_sha256
    resumed = changed(longer, output=config.output + "-3")
    stop_training(resumed, 7)
    assert train(changed(resumed, resume=True)).weights_sha256 == two.weights_sha256


def test_one_that_diverges_claims_no_score(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch has 4 steps; the fifth goes wrong."""
    outputs, calls = Training._outputs_of, iter(range(100))

    def break_down(run: Training, batch: Batch) -> torch.Tensor:
        return outputs(run, batch) * (float("nan") if next(calls) >= 4 else 1.0)

    monkeypatch.setattr(Training, "_outputs_of", break_down)
    with pytest.raises(ValueEvalError, match=r"the weights of epoch 1 in best-1") as caught:
        train(config)
    assert "macro_f1" not in str(caught.value)


def test_members_without_a_fold(teachers: list[str]) -> None:
    members = find_members("+".join(teachers))
    assert [str(folder) for folder in members_without(members, 0).folders] == [
        teachers[0],
        teachers[3],
    ]
    assert [str(folder) for folder in members_without(members, 2).folders] == [teachers[2]]


def test_a_fold_without_a_teacher_is_named(config: TrainConfig, teachers: list[str]) -> None:
    two = changed(config, teacher="+".join(teachers[:2]))
    with pytest.raises(ValueEvalError, match=r"no adapter has left out fold 2 of 3: train it"):
        train(two)
    assert not work_folder(Path(two.output)).exists()


def test_a_teacher_that_has_seen_all_is_refused(config: TrainConfig, teachers: list[str]) -> None:
    train(config)
    again = changed(config, output=config.output + "-again")
    with pytest.raises(ValueEvalError, match=r"student: trained on all of .* left one out each"):
        train(changed(again, teacher=f"{config.distillation.teacher}+{config.output}"))
    with pytest.raises(ValueEvalError, match="may hand on labels"):
        train(changed(again, teacher=teachers[0], fold=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": None}, r"fold: None; allowed with --folds 3: 0 to 2 .* or none with the adap"),
        ({"train_size": 10}, "train_size: 10 does not go with a --teacher of all folds"),
        ({"shots_per_value": 2}, "shots_per_value: 2 does not go with a --teacher of all folds"),
        (
            {"method": "lora", "template": "bca", "max_length": 256},
            "fold: none is left out, and with --template bca",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(
    config: TrainConfig, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        changed(config, **changes)
