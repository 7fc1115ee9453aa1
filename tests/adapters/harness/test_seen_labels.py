"""The protocol cv from end to end: five tiny trainings, evaluated apart and together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
from tasks import FOLDER
from training import small_config, write_cv_data

from valueeval.adapters.classifier.classifier import load_classifier
from valueeval.adapters.directory.manifest import TrainingData
from valueeval.adapters.directory.manifest_file import read_manifest
from valueeval.adapters.harness.seen_labels import cv_data_of, refuse_seen_labels
from valueeval.registration import register
from valueeval.tasks.data.dataset import CV_PARTS, load_set
from valueeval.tasks.data.folds import CV_FOLDS, folds_of
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.requests import ValueRequest
from valueeval.tasks.scores.calibration import Origin
from valueeval.train.options import changed
from valueeval.train.run import train

register()


@pytest.fixture(autouse=True)
def no_environment_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval's report on the machine takes many seconds and is not what is tested here."""
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cv_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def adapters(
    tiny_bert: Path, data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    """An adapter for each fold, and one of the protocol main."""
    runs = tmp_path_factory.mktemp("runs")
    options: dict[str, Any] = {"epochs": 1, "batch_size": 8, "learning_rate": 0.1}
    config = small_config(runs / "main", tiny_bert, data_dir, method="head", **options)
    train(config)
    for fold in range(CV_FOLDS):
        train(changed(config, output=str(runs / f"cv{fold}"), protocol="cv", fold=fold))
    return [runs / f"cv{fold}" for fold in range(CV_FOLDS)] + [runs / "main"]


def evaluate(adapter: object, task: str, data_dir: Path, **metadata: Any) -> dict[str, Any]:
    metadata = {"data_dir": str(data_dir), **metadata}
    manager = TaskManager(include_path=str(FOLDER), include_defaults=False, metadata=metadata)
    return simple_evaluate(
        model="valueeval",
        model_args={"adapter": str(adapter)},
        tasks=[task],
        device="cpu",
        batch_size=32,
        task_manager=manager,
        bootstrap_iters=0,
    )


def entries(results: dict[str, Any], task: str) -> dict[str, Any]:
    return {sample["macro_f1"]["id"]: sample["macro_f1"] for sample in results["samples"][task]}


@pytest.mark.parametrize("task", ["valueeval_cls_cv", "valueeval_bca_cv"])
def test_each_argument_is_answered_by_the_member_that_has_not_seen_it(
    adapters: list[Path], data_dir: Path, task: str
) -> None:
    data = load_set("cv", data_dir)
    folds = folds_of(data, CV_FOLDS)
    # In any order: a member's own manifest says its fold.
    results = evaluate("+".join(map(str, [*adapters[2:5], *adapters[:2]])), task, data_dir)
    found = entries(results, task)
    assert set(found) == set(data.ids)
    for fold in range(CV_FOLDS):
        member = load_classifier(adapters[fold], "cpu")
        rows = np.flatnonzero(folds == fold).tolist()
        logits = member.logits([data.arguments[row] for row in rows]).astype(np.float64)
        expected = logits - member.manifest.thresholds.logits
        scores = np.array([found[data.ids[row]]["scores"] for row in rows])
        assert scores == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_the_results_say_how_it_was_answered(adapters: list[Path], data_dir: Path) -> None:
    task = "valueeval_cls_cv"
    joined = "+".join(map(str, adapters[:5]))
    config = evaluate(joined, task, data_dir)["config"]
    manifest, one = config["valueeval"], read_manifest(adapters[0])
    assert (manifest["data"]["protocol"], manifest["data"]["left_out"]) == ("cv", [0, 1, 2, 3, 4])
    assert manifest["parameters"]["total"] == one.parameters.total
    assert config["model_num_parameters"] == one.parameters.total
    members = manifest["config"]["cross_validation"]
    assert [member["left_out"] for member in members] == [[fold] for fold in range(5)]
    assert [member["thresholds"] for member in members] == [
        list(read_manifest(folder).thresholds.values) for folder in adapters[:5]
    ]
    assert "fold" not in manifest["config"]
    assert manifest["validation"] == {}


def test_one_adapter_answers_its_own_fold(adapters: list[Path], data_dir: Path) -> None:
    task, fold = "valueeval_cls_cv", 3
    whole = entries(evaluate("+".join(map(str, adapters[:5])), task, data_dir), task)
    part = entries(evaluate(adapters[fold], task, data_dir, fold=fold), task)
    assert part
    for id, entry in part.items():
        assert entry["scores"] == pytest.approx(whole[id]["scores"], rel=1e-5, abs=1e-5)


def test_what_an_adapter_must_not_answer(adapters: list[Path], data_dir: Path) -> None:
    own = r"cv0 may answer fold 0 of set cv alone and is asked about fold .*\"fold\": 0"
    with pytest.raises(ValueEvalError, match=own):
        evaluate(adapters[0], "valueeval_cls_cv", data_dir)
    with pytest.raises(ValueEvalError, match="fold 0 of set cv alone and is asked about fold 2:"):
        evaluate(adapters[0], "valueeval_cls_cv", data_dir, fold=2)
    for task, name in (("cls", "main"), ("cls_zhihu", "zhihu"), ("bca_validation", "validation")):
        with pytest.raises(ValueEvalError, match=rf"has seen labels of this set \({name}\)"):
            evaluate(adapters[0], f"valueeval_{task}", data_dir)
    with pytest.raises(ValueEvalError, match=r"main was trained on arguments of set cv"):
        evaluate(adapters[5], "valueeval_cls_cv", data_dir)


def test_sets_that_are_no_part_of_it_are_allowed(
    adapters: list[Path], data_dir: Path, tmp_path: Path
) -> None:
    for kind in ("arguments", "labels"):
        text = (data_dir / f"{kind}-test.tsv").read_text("utf-8")
        header, *lines = text.splitlines(keepends=True)
        other = "".join([header, *("N" + line for line in lines)])
        (tmp_path / f"{kind}-test-nyt.tsv").write_text(other, "utf-8")
    results = evaluate(adapters[0], "valueeval_cls_nyt", tmp_path)
    assert len(results["samples"]["valueeval_cls_nyt"]) == 20
    everything = "+".join(map(str, adapters[:5]))
    with pytest.raises(ValueEvalError, match="answer tasks valueeval_cls_cv and valueeval_bca_cv"):
        evaluate(everything, "valueeval_cls_nyt", tmp_path)


def test_sets_of_members_that_are_refused(
    adapters: list[Path], data_dir: Path, tiny_bert: Path
) -> None:
    def refused(folders: list[Path], message: str) -> None:
        with pytest.raises(ValueEvalError, match=message):
            evaluate("+".join(map(str, folders)), "valueeval_cls_cv", data_dir)

    refused(adapters[:4], "fold 4 of protocol cv is missing")
    refused(adapters[1:4], "fold 0 and 4 of protocol cv are missing")
    refused([*adapters[:4], adapters[5]], "were trained on different data: .*fold 0 of 5 left out")
    config = small_config(
        adapters[0].parent / "again", tiny_bert, data_dir, method="head", protocol="cv", fold=4,
        epochs=1, batch_size=8, learning_rate=0.05,
    )  # fmt: skip
    train(config)
    again = Path(config.output)
    refused([*adapters[:5], again], "cv4 and .*again: both are of fold 4; protocol cv needs one")
    refused([*adapters[:4], again], "cv0 and .*again: learning_rate differs; the five folds")


def test_a_language_model_asks_the_same_question() -> None:
    """By what its manifest says of the data; requests of other tasks are not looked at."""
    hashes = "+".join(letter * 64 for letter in "abcd")
    data = TrainingData("touche23", "cv", 9, hashes, 5, (1,), protocol="cv", labels_seen=CV_PARTS)

    def request(of: str, sha256: str, fold: int | None = None) -> ValueRequest:
        doc = {"id": "A", **({} if fold is None else {"fold": fold})}
        return ValueRequest(
            "loglikelihood", doc, ("", ""), 0, ("task", 0, 1),
            origin=Origin(set=of, data_sha256=sha256),
        )  # fmt: skip

    refuse_seen_labels(data, "lm", [request("cv", hashes, 1), request("nyt", "e" * 64)])
    refuse_seen_labels(None, "lm", [request("cv", hashes, 0)])
    for wrong, message in (
        (request("cv", hashes, 0), "task: lm may answer fold 1 of set cv alone"),
        (request("cv", "e" * 64, 1), "trained on other files of set cv"),
        (request("main", "e" * 64), r"seen labels of this set \(main\)"),
        (request("mine", "d" * 64), r"seen labels of this set \(mine\)"),
    ):
        with pytest.raises(ValueEvalError, match=message):
            refuse_seen_labels(data, "lm", [request("nyt", "e" * 64), wrong])


def test_what_a_peft_folder_tells(adapters: list[Path], tmp_path: Path) -> None:
    data = cv_data_of(adapters[2])
    assert data is not None
    assert (data.protocol, data.left_out) == ("cv", (2,))
    assert cv_data_of(adapters[5]) is None
    assert cv_data_of(tmp_path) is None
