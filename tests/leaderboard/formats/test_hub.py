"""Results for the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from leaderboard_results import manifest, outputs, write_results

from valueeval.leaderboard.commands.leaderboard import main


def test_model_index_is_what_the_hub_reads(results: Path) -> None:
    from huggingface_hub.repocard_data import model_index_to_eval_results

    index = yaml.safe_load(outputs(results, ".yaml")[".yaml"])["model-index"]
    assert [model["name"] for model in index] == ["minilm", "gpt2", "gamed"]
    name, found = model_index_to_eval_results(index[:1])
    assert name == "minilm"
    assert {result.metric_name for result in found} >= {"macro_f1", "official_f1"}
    assert all(result.dataset_split == "main" for result in found)


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


def test_no_two_systems_share_a_file_and_doubts_are_handed_on(tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    if not hasattr(hub, "parse_eval_result_entries"):
        pytest.skip("this huggingface_hub knows no .eval_results files")
    for method, name in (("full", "系统一"), ("lora", "系统二"), ("head", "alone")):
        write_results(tmp_path / "results" / method, dataset="validation",
                      adapter=manifest(method=method, config={"name": name}))  # fmt: skip
    main([str(tmp_path / "results"), "--eval-results", str(tmp_path / "hub")])
    files = sorted((tmp_path / "hub").rglob("*.yaml"))
    names = [file.parent.parent.name for file in files]
    assert (names[0], len(set(names))) == ("alone", 3)
    assert all(name.startswith("unnamed-") for name in names[1:])
    for file in files:
        (entry,) = hub.parse_eval_result_entries(yaml.safe_load(file.read_text(encoding="utf-8")))
        assert entry.notes.endswith("epoch and thresholds chosen on this very set (validation)")
