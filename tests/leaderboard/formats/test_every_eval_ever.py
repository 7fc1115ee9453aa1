"""Records of every_eval_ever."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from leaderboard_results import OFFICIAL_SHA, documents, likely, manifest, write_results

from valueeval.leaderboard.commands.leaderboard import main
from valueeval.leaderboard.formats import every_eval_ever
from valueeval.tasks.data.dataset import Argument, DataSet
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_NAMES


def test_every_eval_ever_records_hold_what_their_schema_requires(results: Path) -> None:
    out = results.parent / "eee"
    main([str(results), "-o", str(results.parent / "x.md"), "--every-eval-ever", str(out)])
    files = sorted(out.rglob("*.json"))
    assert len(files) == 3, "ranked rows only"
    for file in files:
        assert file.parent.parent.parent == out / "touche23-valueeval"
        record = json.loads(file.read_text(encoding="utf-8"))
        assert set(record) == {
            "schema_version", "evaluation_id", "evaluation_timestamp", "retrieved_timestamp",
            "source_metadata", "eval_library", "model_info", "evaluation_results",
        }  # fmt: skip
        assert {"name", "id", "additional_details"} <= set(record["model_info"])
        details = record["model_info"]["additional_details"]
        assert {"deployment_type", "model_availability"} <= set(details)
        assert all(isinstance(value, str) for value in details.values())
        for result in record["evaluation_results"]:
            assert {"evaluation_name", "source_data", "metric_config", "score_details"} <= set(
                result
            )
            assert 0 <= result["score_details"]["score"] <= 1
            assert all(
                isinstance(each, str) for each in result["score_details"]["details"].values()
            )
    details = {
        record["model_info"]["name"]: next(
            result["score_details"]["details"]
            for result in record["evaluation_results"]
            if result["metric_config"]["metric_name"] == "macro_f1"
        )
        for file in files
        for record in [json.loads(file.read_text(encoding="utf-8"))]
    }
    assert details["minilm"]["can_be_best"] == "True"
    assert details["minilm"]["ranks"].startswith("1")
    assert " to " in details["minilm"]["without_any_one_conclusion"]
    assert "ranks" not in details["gamed"], "it has no samples"


def test_a_hostile_name_stays_inside_the_exchange_folder(tmp_path: Path) -> None:
    write_results(tmp_path / "results", model="../../etc/..")
    out = tmp_path / "a" / "eee"
    main([str(tmp_path / "results"), "-o", str(tmp_path / "x.md"), "--every-eval-ever", str(out)])
    assert len(list(out.rglob("*.json"))) == 1
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"eee"}


def test_records_say_what_a_reader_must_know(tmp_path: Path) -> None:
    """How many values a mean is over, doubts, and who is who."""
    docs = [{**doc, "labels": [0, 0, *doc["labels"][2:]]} for doc in documents()]
    for method, name in (("full", "系统一"), ("lora", "系统二")):
        write_results(tmp_path / "results" / method, docs=docs, dataset="validation",
                      adapter=manifest(method=method, config={"name": name}))  # fmt: skip
    out = tmp_path / "eee"
    main([str(tmp_path / "results"), "--every-eval-ever", str(out)])
    files = sorted(out.rglob("*.json"))
    assert len({file.parent for file in files}) == 2
    records = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    assert len({record["model_info"]["id"] for record in records}) == 2
    for record in records:
        macro = record["evaluation_results"][0]
        assert macro["metric_config"]["evaluation_description"] == "Mean of the F1 of 18 values"
        doubt = "epoch and thresholds chosen on this very set (validation)"
        assert macro["score_details"]["details"]["warnings"] == doubt


@pytest.mark.parametrize(
    ("template", "method"),
    [("bca", "threshold"), ("cot2", "threshold"), ("cot", "parsed answer"), ("", "unknown")],
)
def test_how_decisions_came_about(template: str, method: str) -> None:
    assert every_eval_ever.extraction(template) == method


def test_the_developer_can_be_named(results: Path) -> None:
    out = results.parent / "eee"
    main([str(results), "--every-eval-ever", str(out), "--developer", "My lab"])
    records = [json.loads(file.read_text(encoding="utf-8")) for file in out.rglob("*.json")]
    assert {record["model_info"]["developer"] for record in records} == {"My-lab"}
    assert {path.name for path in (out / "touche23-valueeval").iterdir()} == {"My-lab"}


# ------------------------------------------------------------------------------- lines

# Name → type of what ``instance_level_eval.schema.json`` 0.3.0 requires of a line that holds one
# answer (``single_turn``); further fields: those in OPTIONAL, and no others.
REQUIRED = {
    "schema_version": str, "evaluation_id": str, "model_id": str, "evaluation_name": str,
    "sample_id": str, "interaction_type": str, "input": dict, "output": dict,
    "answer_attribution": list, "evaluation": dict,
}  # fmt: skip
OPTIONAL = {"evaluation_result_id": str, "sample_hash": str, "metadata": dict}


def exported(results: Path, *options: str) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Records with their lines; the file beside a record is the one that it points to."""
    out = results.parent / "eee"
    main([str(results), "--every-eval-ever", str(out), *options])
    found = []
    for file in sorted(out.rglob("*.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        pointer = record.get("detailed_evaluation_results")
        if pointer is None:
            assert not file.with_name(f"{file.stem}_samples.jsonl").exists()
            continue
        samples = out / pointer["file_path"].removeprefix("data/")
        assert samples == file.with_name(f"{file.stem}_samples.jsonl")
        content = samples.read_bytes()
        assert pointer["format"] == "jsonl"
        assert pointer["hash_algorithm"] == "sha256"
        assert pointer["checksum"] == hashlib.sha256(content).hexdigest()
        lines = [json.loads(line) for line in content.decode().splitlines()]
        assert pointer["total_rows"] == len(lines)
        found.append((record, lines))
    return found


def test_lines_hold_what_their_schema_requires_and_nothing_else(results: Path) -> None:
    found = exported(results, "--instances", "ids")
    assert len(found) == 2, "the third ranked row has no samples"
    for record, lines in found:
        for line in lines:
            assert set(REQUIRED) <= set(line) <= set(REQUIRED) | set(OPTIONAL)
            for name, kind in (REQUIRED | OPTIONAL).items():
                assert isinstance(line[name], kind)
            assert line["schema_version"] == record["schema_version"]
            assert line["evaluation_id"] == record["evaluation_id"]
            assert line["model_id"] == record["model_info"]["id"]
            assert line["interaction_type"] == "single_turn"
            assert isinstance(line["input"]["raw"], str)
            assert set(line["input"]["reference"]) <= set(VALUE_NAMES)
            assert set(line["evaluation"]) == {"score", "is_correct"}
            assert all(isinstance(value, str) for value in line["metadata"].values())
            assert [each["extracted_value"] for each in line["answer_attribution"]] == line[
                "output"
            ]["raw"]
            for each in line["answer_attribution"]:
                assert set(each) == {
                    "turn_idx", "source", "extracted_value", "extraction_method", "is_terminal",
                }  # fmt: skip
            hashed = {name: line["input"][name] for name in ("raw", "reference")}
            text = json.dumps(hashed, sort_keys=True, separators=(",", ":"))
            assert line["sample_hash"] == hashlib.sha256(text.encode()).hexdigest()


def test_lines_average_to_the_score_that_they_are_tied_to(results: Path) -> None:
    for record, lines in exported(results, "--instances", "ids"):
        scores = {
            each["evaluation_result_id"]: each["score_details"]["score"]
            for each in record["evaluation_results"]
        }
        assert len(scores) == len(record["evaluation_results"])
        (tied,) = {line["evaluation_result_id"] for line in lines}
        assert np.mean([line["evaluation"]["score"] for line in lines]) == pytest.approx(
            scores[tied]
        )


def test_a_line_of_several_seeds_holds_the_answer_of_each(results: Path) -> None:
    lines = {
        record["model_info"]["name"]: lines
        for record, lines in exported(results, "--instances", "ids")
    }
    assert {len(line["output"]["raw"]) for line in lines["minilm"]} == {2}
    assert {len(line["output"]["raw"]) for line in lines["gpt2"]} == {1}
    half = [line for line in lines["minilm"] if line["evaluation"]["score"] == 0.5]
    assert half
    assert not any(line["evaluation"]["is_correct"] for line in half)


def test_lines_with_ids_hold_no_text_of_the_data(results: Path) -> None:
    for _, lines in exported(results, "--instances", "ids"):
        assert {line["input"]["raw"] for line in lines} == {
            f"touche23-valueeval/main/{doc['id']}" for doc in documents()
        }
        assert "Premise" not in json.dumps(lines)


def test_lines_with_texts_take_them_from_the_data_at_hand(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = documents()
    arguments = tuple(
        Argument(doc["id"], doc["conclusion"], doc["stance"], doc["premise"]) for doc in docs
    )
    labels = np.array([doc["labels"] for doc in docs], dtype=bool)
    data = DataSet("main", arguments, labels, OFFICIAL_SHA, results, True)
    monkeypatch.setattr(every_eval_ever, "load_data", lambda _: data)
    for _, lines in exported(results, "--instances", "texts"):
        assert lines[0]["input"]["raw"] == (
            "Premise: Premise 0.0\nStance: against\nConclusion: Conclusion 0"
        )
    other = replace(data, sha256="f" * 64)
    monkeypatch.setattr(every_eval_ever, "load_data", lambda _: other)
    with pytest.raises(ValueEvalError, match="the data at hand are ffffffffffff"):
        exported(results, "--instances", "texts")


def test_lines_hold_the_scores_of_systems_that_have_them(tmp_path: Path) -> None:
    scores = likely(documents(), 2.0)
    write_results(tmp_path / "results" / "a", scores=scores)
    ((_, lines),) = exported(tmp_path / "results", "--instances", "ids")
    by_id = {line["sample_id"]: json.loads(line["metadata"]["scores"]) for line in lines}
    for doc, row in zip(documents(), scores, strict=True):
        assert by_id[doc["id"]] == [pytest.approx(row.tolist(), abs=1e-4)]


def test_lines_need_a_folder_for_their_records(results: Path) -> None:
    with pytest.raises(ValueEvalError, match="--instances is for the records of --every-eval-ever"):
        main([str(results), "--instances", "ids"])
