"""``valueeval calibrate``, and ``valueeval score --calibration``."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valueeval.tasks.commands import calibrate
from valueeval.tasks.commands import score as cli_score
from valueeval.tasks.errors import ValueEvalError

DATE = "2026-11-28T12-00-00.000001"


def line(row: int, rng: np.random.Generator, bias: float) -> dict[str, Any]:
    """A sample of bca: log-odds of 1 or -1 by the label, all moved by a bias towards yes."""
    labels = (rng.random(20) < 0.25).astype(int).tolist()
    responses = []
    for label in labels:
        odds = (1.0 if label else -1.0) + bias
        no, yes = -math.log1p(math.exp(odds)), -math.log1p(math.exp(-odds))
        responses += [[str(no), "False"], ["-50.0", "False"], [str(yes), "False"]]
        responses += [["-50.0", "False"]]
    doc = {
        "id": f"A{row}", "conclusion": f"c{row % 12}", "stance": "against", "premise": "because",
        "labels": labels,
    }  # fmt: skip
    return {"doc_id": row, "doc": doc, "filtered_resps": responses}


def write_samples(folder: Path, task: str, seed: int, bias: float = 3.0, **origin: Any) -> Path:
    """Samples as lm-eval writes them, with the results beside them."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    path = folder / f"samples_{task}_{DATE}.jsonl"
    path.write_text("".join(json.dumps(line(row, rng, bias)) + "\n" for row in range(60)))
    _, template, *rest = task.split("_")
    metadata = {"template": template, "paraphrase": 1, "wording": "plain"}
    metadata["set"] = rest[0] if rest else "main"
    metadata["data_sha256"] = hashlib.sha256(metadata["set"].encode()).hexdigest()
    results = {
        "model_name": origin.pop("model", "m"),
        "configs": {task: {"metadata": {**metadata, **origin}}},
        "n-shot": {task: 0},
    }
    (folder / f"results_{DATE}.json").write_text(json.dumps(results), encoding="utf-8")
    return path


def scored(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    capsys.readouterr()
    cli_score.main([*map(str, arguments), "--json"])
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


def test_calibrated_on_validation_and_scored_on_the_test_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    validation = write_samples(tmp_path / "a", "valueeval_bca_validation", 0)
    test = write_samples(tmp_path / "b", "valueeval_bca", 1)
    assert calibrate.main([str(validation), "-o", str(tmp_path / "c.json")]) == 0
    told = capsys.readouterr().err
    assert "60 arguments: macro_f1 0.382" in told
    assert "predicted 1.000 of all decisions" in told
    assert "calibrated 1.000" in told
    assert "too good" in told

    report = scored(capsys, "--samples", test, "--calibration", tmp_path / "c.json")
    assert report["predicted_rate"] == 1
    assert report["calibrated"]["macro_f1"] == 1
    assert report["calibrated"]["macro_f1_stderr"] == 0
    assert report["calibrated"]["macro_ap"] == report["macro_ap"] == 1
    assert report["calibrated"]["fitted_on"]["set"] == "validation"
    raw = scored(capsys, "--samples", test)
    assert {key: report[key] for key in raw} == raw

    cli_score.main(["--samples", str(test), "--calibration", str(tmp_path / "c.json")])
    shown = capsys.readouterr().out
    assert "Calibrated on 60 arguments of validation, with their labels:" in shown
    assert "batch prior, shrunk thresholds." in shown
    with pytest.raises(ValueEvalError, match="tuned on the labels of validation, and"):
        scored(capsys, "--samples", validation, "--calibration", tmp_path / "c.json")


def test_a_prior_needs_no_labels_and_may_come_from_the_test_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = write_samples(tmp_path / "a", "valueeval_bca", 1)
    output = tmp_path / "c.json"
    assert calibrate.main([str(test), "-o", str(output), "--thresholds", "none"]) == 0
    assert "too good" not in capsys.readouterr().err
    report = scored(capsys, "--samples", test, "--calibration", output)
    assert report["calibrated"]["fitted_on"]["labels_used"] is False
    assert report["calibrated"]["macro_f1"] == 1


def test_labels_of_the_test_set_are_not_tuned_on(tmp_path: Path) -> None:
    test = write_samples(tmp_path / "a", "valueeval_bca", 1)
    validation = write_samples(tmp_path / "b", "valueeval_bca_validation", 1)
    for samples in ([test], [validation, test]):
        with pytest.raises(ValueEvalError, match=r"labels of a test set \(main\)"):
            calibrate.main([*map(str, samples), "-o", str(tmp_path / "c.json")])
    assert not (tmp_path / "c.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "n"}, "fitted with model m, but .* has n"),
        ({"wording": "chat"}, "fitted with wording plain, but .* has chat"),
        ({"paraphrase": 2}, "fitted with paraphrase 1, but .* has 2"),
    ],
)
def test_another_model_or_prompt_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    validation = write_samples(tmp_path / "a", "valueeval_bca_validation", 0)
    calibrate.main([str(validation), "-o", str(tmp_path / "c.json")])
    other = write_samples(tmp_path / "b", "valueeval_bca", 1, **changes)
    with pytest.raises(ValueEvalError, match=message):
        cli_score.main(["--samples", str(other), "--calibration", str(tmp_path / "c.json")])
    name = next(iter(changes))
    second = write_samples(tmp_path / "d", "valueeval_bca_zhihu", 1, **changes)
    with pytest.raises(ValueEvalError, match=f"its {name} is .*calibrate them apart"):
        calibrate.main([str(validation), str(second), "-o", str(tmp_path / "e.json")])


def test_two_sets_of_one_run(tmp_path: Path) -> None:
    validation = write_samples(tmp_path / "a", "valueeval_bca_validation", 0)
    zhihu = tmp_path / "b" / "samples_valueeval_bca_zhihu.jsonl"
    zhihu.parent.mkdir()
    zhihu.write_text(validation.read_text().replace('"id": "A', '"id": "Z'))
    calibrate.main([str(validation), str(zhihu), "-o", str(tmp_path / "c.json")])
    fitted_on = json.loads((tmp_path / "c.json").read_text())["fitted_on"]
    assert (fitted_on["set"], fitted_on["arguments"]) == ("validation+zhihu", 120)
    assert fitted_on["data_sha256"] is None


def test_thresholds_need_labels(tmp_path: Path) -> None:
    output = tmp_path / "c.json"
    free = write_samples(tmp_path / "a", "valueeval_bca_contentfree", 5)
    with pytest.raises(ValueEvalError, match=r"no labels to tune .*\nGive them as --prior .*free"):
        calibrate.main([str(free), "-o", str(output)])
    samples = write_samples(tmp_path / "b", "valueeval_bca_validation", 0)
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    for one in lines:
        one["doc"]["labels"] = [0] * 20
    samples.write_text("".join(json.dumps(one) + "\n" for one in lines))
    with pytest.raises(ValueEvalError, match="no argument has a label, so no threshold can be"):
        calibrate.main([str(samples), "-o", str(output)])
    assert not output.exists()
    assert calibrate.main([str(samples), "--thresholds", "none", "-o", str(output)]) == 0


def test_nothing_to_calibrate(tmp_path: Path) -> None:
    samples = write_samples(tmp_path / "a", "valueeval_bca_validation", 0)
    nothing = ["--prior", "none", "--thresholds", "none"]
    with pytest.raises(ValueEvalError, match="leave nothing"):
        calibrate.main([str(samples), "-o", str(tmp_path / "c.json"), *nothing])
    mbc = tmp_path / "samples_valueeval_mbc_validation.jsonl"
    doc = json.loads(samples.read_text().splitlines()[0])["doc"]
    mbc.write_text(json.dumps({"doc": doc, "filtered_resps": ["?"]}) + "\n")
    with pytest.raises(ValueEvalError, match="hold no scores"):
        calibrate.main([str(mbc), "-o", str(tmp_path / "c.json")])
    calibrate.main([str(samples), "-o", str(tmp_path / "c.json")])
    with pytest.raises(ValueEvalError, match="hold no scores, so nothing"):
        cli_score.main(["--samples", str(mbc), "--calibration", str(tmp_path / "c.json")])


@pytest.mark.parametrize("rule", ["none", "shrunk"])
def test_content_free_prior(tmp_path: Path, capsys: pytest.CaptureFixture[str], rule: str) -> None:
    """Arguments that say nothing give the bias of the prompt alone."""
    free = write_samples(tmp_path / "a", "valueeval_bca_contentfree", 5, bias=3.0)
    validation = write_samples(tmp_path / "b", "valueeval_bca_validation", 0)
    test = write_samples(tmp_path / "c", "valueeval_bca", 1)
    output = tmp_path / "c.json"
    samples = [] if rule == "none" else [str(validation)]
    arguments = [*samples, "--prior", str(free), "--thresholds", rule, "-o", str(output)]
    assert calibrate.main(arguments) == 0
    content = json.loads(output.read_text())
    assert content["prior"]["source"] == "content-free"
    assert content["prior"]["arguments"] == 60
    assert content["fitted_on"]["set"] == ("contentfree" if rule == "none" else "validation")
    assert content["fitted_on"]["labels_used"] is (rule != "none")
    report = scored(capsys, "--samples", test, "--calibration", output)
    assert report["predicted_rate"] == 1
    assert report["calibrated"]["macro_f1"] == 1
    assert report["calibrated"]["method"].startswith("content-free prior")


def test_a_content_free_prior_is_of_the_same_prompt_and_of_arguments_without_content(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    validation = write_samples(tmp_path / "a", "valueeval_bca_validation", 0)
    chat = write_samples(tmp_path / "b", "valueeval_bca_contentfree", 0, wording="chat")
    output = ["-o", str(tmp_path / "c.json")]
    with pytest.raises(ValueEvalError, match=r"its wording is chat, .*calibrate them apart"):
        calibrate.main([str(validation), "--prior", str(chat), *output])
    with pytest.raises(ValueEvalError, match="the samples are of validation"):
        calibrate.main([str(validation), "--prior", str(validation), *output])
    with pytest.raises(SystemExit):
        calibrate.main(["--thresholds", "none", *output])
    assert "name the samples" in capsys.readouterr().err
    assert not (tmp_path / "c.json").exists()


def with_folds(samples: Path) -> Path:
    """Give argument A<row> fold row mod 5; its twelve conclusions do not matter here."""
    lines = [json.loads(text) for text in samples.read_text("utf-8").splitlines()]
    for number, sample in enumerate(lines):
        sample["doc"]["fold"] = number % 5
    samples.write_text("".join(json.dumps(sample) + "\n" for sample in lines), "utf-8")
    return samples


def test_set_cv_is_tuned_by_fold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = with_folds(write_samples(tmp_path / "a", "valueeval_bca_cv", 0))
    raw = scored(capsys, "--samples", samples)
    assert "tuned_by_fold" not in raw
    report = scored(capsys, "--samples", samples, "--tune_by_fold")
    tuned = report.pop("tuned_by_fold")
    assert report == raw  # raw decisions keep their name
    assert tuned["rule"] == "shrunk"
    assert tuned["macro_f1"] == 1.0 > raw["macro_f1"]
    assert scored(capsys, "--samples", samples, "--tune_by_fold", "global")["tuned_by_fold"]
    cli_score.main(["--samples", str(samples), "--tune_by_fold"])
    assert "tuned by fold (cv)" in capsys.readouterr().out
    with pytest.raises(ValueEvalError, match="labels of all of set cv, the test set among them"):
        calibrate.main([str(samples), "-o", str(tmp_path / "c.json")])


def test_samples_without_folds_or_scores(tmp_path: Path) -> None:
    samples = write_samples(tmp_path / "a", "valueeval_bca_validation", 0)
    with pytest.raises(ValueEvalError, match=r"name no folds; --tune_by_fold is for .*_cv"):
        cli_score.main(["--samples", str(samples), "--tune_by_fold"])
