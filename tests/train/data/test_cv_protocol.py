"""Training by the protocol cv: the data, the manifest, the card, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from training import small_config, write_cv_data

from valueeval.adapters.classifier.classifier import load_classifier
from valueeval.adapters.directory.manifest_file import CARD_FILE, read_manifest
from valueeval.tasks.data.dataset import CV_PARTS, load_set
from valueeval.tasks.data.folds import CV_FOLDS, folds_of
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.scoring import score
from valueeval.train.cli import summary
from valueeval.train.config.choice import ConfigError
from valueeval.train.config.config import TrainConfig
from valueeval.train.options import changed, configure
from valueeval.train.run import load_splits, train


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cv_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def config(
    tiny_bert: Path, data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> TrainConfig:
    output = tmp_path_factory.mktemp("runs") / "cv4"
    options: dict[str, Any] = {"epochs": 2, "batch_size": 16, "learning_rate": 0.1}
    return small_config(
        output, tiny_bert, data_dir, method="head", protocol="cv", fold=4, **options
    )


@pytest.fixture(scope="module")
def adapter(config: TrainConfig) -> Path:
    train(config)
    return Path(config.output)


@pytest.mark.parametrize("fold", range(CV_FOLDS))
def test_three_folds_are_trained_on_and_the_next_one_is_chosen_on(
    config: TrainConfig, data_dir: Path, fold: int
) -> None:
    data = load_set("cv", data_dir)
    fold_of = dict(zip(data.ids, folds_of(data, CV_FOLDS).tolist(), strict=True))
    training, inner = load_splits(changed(config, fold=fold))
    following = (fold + 1) % CV_FOLDS
    assert {fold_of[id] for id in inner.ids} == {following}
    assert {fold_of[id] for id in training.ids} == set(range(CV_FOLDS)) - {fold, following}
    assert len(training.ids) + len(inner.ids) == len(data.ids) - list(fold_of.values()).count(fold)
    small, same = load_splits(changed(config, fold=fold, train_size=9))
    assert set(small.ids) < set(training.ids)
    assert same.ids == inner.ids


def test_the_manifest_says_what_was_seen(
    adapter: Path, config: TrainConfig, data_dir: Path
) -> None:
    manifest, data = read_manifest(adapter), load_set("cv", data_dir)
    training, inner = load_splits(config)
    assert (manifest.data.protocol, manifest.data.set) == ("cv", "cv")
    assert manifest.data.labels_seen == CV_PARTS
    assert "main" in manifest.data.labels_seen
    assert (manifest.data.folds, manifest.data.left_out) == (5, (4,))
    assert (manifest.data.size, manifest.data.sha256) == (len(training.ids), data.sha256)
    assert (manifest.config["protocol"], manifest.config["fold"]) == ("cv", 4)
    assert manifest.task == "valueeval_cls_cv"
    # Epoch and thresholds were chosen on the inner fold.
    assert manifest.thresholds.split == "inner_fold"
    logits = load_classifier(adapter, "cpu").logits(inner.arguments)
    assert score(inner.labels, manifest.thresholds.decide(logits)) == manifest.validation


def test_what_people_are_told(adapter: Path, config: TrainConfig) -> None:
    said = summary(config, read_manifest(adapter))
    assert "on the inner fold 0 of 5;" in said
    assert "--tasks valueeval_cls_cv " in said
    assert """ --metadata '{"fold": 4}' """ in said
    card = (adapter / CARD_FILE).read_text("utf-8")
    assert "it has seen labels of the test set" in card
    assert "tuned for macro_f1 on fold 0 of 5 (counted from 0) of set cv |" in card
    assert """ --metadata '{"fold": 4}'""" in card


def test_the_protocol_main_says_so_too(config: TrainConfig) -> None:
    plain = changed(config, output=f"{config.output}-main", protocol="main", fold=None, epochs=1)
    manifest = train(plain)
    assert (manifest.data.protocol, manifest.data.folds) == ("main", None)
    assert manifest.data.labels_seen == ("training", "validation")
    assert "protocol" not in manifest.config  # as in earlier manifests


def test_a_teacher_has_left_out_the_same_fold(adapter: Path, config: TrainConfig) -> None:
    student = changed(config, output=f"{config.output}-student", teacher=str(adapter), epochs=1)
    assert train(student).data.left_out == (4,)
    other = changed(student, output=f"{config.output}-other", fold=3)
    with pytest.raises(ValueEvalError, match="labels that the student must not see"):
        train(other)
    main = changed(student, output=f"{config.output}-main2", protocol="main", fold=None)
    with pytest.raises(ValueEvalError, match="labels that the student must not see"):
        train(main)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fold": 5}, "fold: 5; allowed with --protocol cv: 0 to 4"),
        ({}, "fold: None; allowed with --protocol cv: 0 to 4"),
        ({"fold": 0, "folds": 5}, "folds: 5 has no meaning with --protocol cv, which has 5"),
        ({"fold": 0, "data": "sample"}, "protocol: 'cv' has no meaning with --data sample"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configure("x", protocol="cv", **options)
