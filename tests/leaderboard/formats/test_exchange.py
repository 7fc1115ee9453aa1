"""Results in the formats of others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from leaderboard_results import (
    outputs,
    write_results,
)

from valueeval.leaderboard.commands.leaderboard import main


def test_model_index_is_what_the_hub_reads(results: Path) -> None:
    from huggingface_hub.repocard_data import model_index_to_eval_results

    index = yaml.safe_load(outputs(results, ".yaml")[".yaml"])["model-index"]
    assert [model["name"] for model in index] == ["minilm", "gpt2", "gamed"]
    name, found = model_index_to_eval_results(index[:1])
    assert name == "minilm"
    assert {result.metric_name for result in found} >= {"macro_f1", "official_f1"}
    assert all(result.dataset_split == "main" for result in found)


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


def test_eval_results_are_what_the_hub_reads_again(results: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    if not hasattr(hub, "parse_eval_result_entries"):
        pytest.skip("this huggingface_hub knows no .eval_results files")
    main([str(results), "--eval-results", str(results.parent / "hub")])
    files = sorted((results.parent / "hub").rglob("*.yaml"))
    assert [file.parent.parent.name for file in files] == ["gamed", "gpt2", "minilm"]
    assert {file.parent.name for file in files} == {".eval_results"}
    (entry,) = hub.parse_eval_result_entries(yaml.safe_load(files[2].read_text(encoding="utf-8")))
    assert (entry.dataset_id, entry.task_id) == ("webis/Touche23-ValueEval", "main")
    assert 0 < entry.value < 1
    assert entry.date == "2026-11-01T09:30:00Z"
    assert entry.notes.startswith("macro_f1, 95 % [")


def test_the_developer_can_be_named(results: Path) -> None:
    out = results.parent / "eee"
    main([str(results), "--every-eval-ever", str(out), "--developer", "My lab"])
    records = [json.loads(file.read_text(encoding="utf-8")) for file in out.rglob("*.json")]
    assert {record["model_info"]["developer"] for record in records} == {"My-lab"}
    assert {path.name for path in (out / "touche23-valueeval").iterdir()} == {"My-lab"}
