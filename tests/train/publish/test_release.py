"""Adapters prepared for publication: files, test scores, model card; the one that ships."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from training import write_small_data

import valueeval
from valueeval.adapters.classifier.classifier import load_classifier
from valueeval.adapters.directory.manifest import BaseModel, Manifest, TrainingData
from valueeval.adapters.directory.manifest_file import CARD_FILE, read_manifest, write_manifest
from valueeval.adapters.engines.choose import int8_is_as_good
from valueeval.adapters.predict import cli as predict_cli
from valueeval.adapters.shipped import finding
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.scoring import score
from valueeval.train.config.config import TrainConfig
from valueeval.train.publish import release
from valueeval.train.publish.release import SCORES_FILE, prepare, ship


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports to ONNX are made elsewhere (tests/adapters/engines)."""
    monkeypatch.setenv("VALUEEVAL_CACHE", str(tmp_path / "cache"))
    measured = {"set": "validation", "float32": 0.5, "int8": 0.4985}
    monkeypatch.setattr(release, "loss_by_int8", lambda adapter, data_dir: measured)


@pytest.fixture(scope="module")
def test_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training, validation and test files of one's own, in the official format."""
    folder = write_small_data(tmp_path_factory.mktemp("data"), 20, 10)
    source = load_set("sample").directory
    for kind in ("arguments", "labels"):
        shutil.copyfile(source / f"{kind}-sample-test.tsv", folder / f"{kind}-test.tsv")
    return folder


def copy_of(adapter: Path, folder: Path, **fields: object) -> Path:
    """Return a copy of an adapter whose manifest says something else."""
    shutil.copytree(adapter, folder)
    manifest = read_manifest(adapter)
    named = {"base_model": BaseModel("minilm", None, manifest.base_model.sha256), **fields}
    changed: Manifest = replace(manifest, **named)  # type: ignore[arg-type]
    write_manifest(folder, changed)
    return folder


def test_it_holds_the_adapter_its_test_scores_and_a_card_that_says_them(
    adapter: Path, tmp_path: Path, test_dir: Path
) -> None:
    config = {**read_manifest(adapter).config, "teacher": "/home/me/runs/fold0+/home/me/runs/fold1"}
    config |= {"teacher_sha256": "0" * 64, "teacher_weight": 0.5}
    source = copy_of(adapter, tmp_path / "runs" / "mine", config=config)
    made = prepare(source, tmp_path / "release" / "mine", "me/mine", str(test_dir))
    classifier, data = load_classifier(made, "cpu"), load_set("main", test_dir)
    assert classifier.manifest.weights_sha256 == read_manifest(adapter).weights_sha256
    assert classifier.manifest.config["teacher"] == "fold0+fold1"
    scores = json.loads((made / SCORES_FILE).read_text("utf-8"))
    assert set(scores) == {"main", "sample"}
    prediction = classifier.manifest.thresholds.decide(classifier.logits(data.arguments))
    expected = score(data.labels, prediction)
    assert scores["main"]["macro_f1"] == pytest.approx(expected["macro_f1"], abs=1e-6)
    assert scores["main"]["arguments"] == len(data.arguments)
    premises = [replace(one, conclusion="", stance="") for one in data.arguments]
    alone = classifier.manifest.thresholds.decide(classifier.logits(premises))
    expected_alone = score(data.labels, alone)["macro_f1"]
    assert scores["main"]["macro_f1_text_alone"] == pytest.approx(expected_alone, abs=1e-6)

    text = (made / CARD_FILE).read_text("utf-8")
    assert f"| {len(data.arguments)} | {expected['macro_f1']:.3f}" in text
    assert "CC BY 4.0" in text
    assert "valueeval predict --adapter me/mine" in text
    for said in (text, (made / "valueeval.json").read_text("utf-8")):
        assert "/home/me" not in said
    card = ModelCard(text).data
    assert (card.license, card.model_name) == ("apache-2.0", "mine")
    assert next(one.metric_value for one in card.eval_results) == scores["main"]["macro_f1"]
    assert int8_is_as_good(made, read_manifest(made))
    assert not list((tmp_path / "release").glob(".*"))

    again = prepare(source, made, "me/mine", str(test_dir))
    assert again == made


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"data": TrainingData("sample", "training", 9, "0" * 64)}, "sample training"),
        (
            {"data": TrainingData("touche23", "training+validation+main", 9, "0+1+2")},
            r"training\+validation\+main .* have seen no test label",
        ),
        ({"data": TrainingData("my.csv", "training", 9, "0" * 64)}, "trained on my.csv"),
        ({"base_model": BaseModel("/home/me/base", None, "00")}, "folder /home/me/base of this"),
    ],
    ids=["sample", "test labels", "own data", "own base"],
)
def test_others_are_refused(
    adapter: Path, tmp_path: Path, test_dir: Path, fields: dict[str, object], why: str
) -> None:
    source = copy_of(adapter, tmp_path / "mine", **fields)
    with pytest.raises(ValueEvalError, match=why):
        prepare(source, tmp_path / "made", "me/mine", str(test_dir))
    assert not (tmp_path / "made").exists()


def test_the_one_that_ships_is_small_and_stands_on_minilm(
    adapter: Path, tmp_path: Path, test_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = copy_of(adapter, tmp_path / "other", base_model=BaseModel("org/base", None, "00"))
    with pytest.raises(ValueEvalError, match=r"base model 'org/base', .* on 'minilm' of at most"):
        ship(other, tmp_path / "made", str(test_dir))
    monkeypatch.setattr(release, "MOST_SHIPPED_BYTES", 1000)
    with pytest.raises(ValueEvalError, match=r"of at most 0 MB \(--method lora\)"):
        ship(copy_of(adapter, tmp_path / "large"), tmp_path / "made", str(test_dir))


def test_predict_and_load_take_the_one_that_ships(
    adapter: Path,
    config: TrainConfig,
    tmp_path: Path,
    test_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shipped = ship(copy_of(adapter, tmp_path / "mine"), tmp_path / "shipped", str(test_dir))
    monkeypatch.setattr(finding, "FOLDER", shipped)
    texts = [one.premise for one in load_set("sample").arguments[:3]]
    labelled = valueeval.load(device="cpu", engine="torch").predict(texts)
    named = valueeval.load(str(adapter), engine="torch", device="cpu").predict(texts)
    assert labelled.equals(named)
    assert np.isfinite(labelled.filter(like="p_").to_numpy()).all()

    predict_cli.main(["--text", texts[0], "--engine", "torch"])
    assert "minilm-lora, which ships with valueeval" in capsys.readouterr().err


def test_a_build_without_one_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "FOLDER", tmp_path / "nothing")
    with pytest.raises(ValueEvalError, match="ships no adapter: name one"):
        valueeval.load()
