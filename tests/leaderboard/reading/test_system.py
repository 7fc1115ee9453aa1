"""The system of a results file: method, seed, warnings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from leaderboard_results import (
    OFFICIAL_SHA,
    manifest,
    only_row,
    table_of,
    write_results,
)


def test_a_manifest_beside_the_results_fills_in_for_stock_hf_with_peft(tmp_path: Path) -> None:
    adapter = tmp_path / "adapters" / "lora-1"
    adapter.mkdir(parents=True)
    (adapter / "valueeval.json").write_text(json.dumps(manifest(method="lora", seed=5)))
    write_results(
        tmp_path / "results", template="bca", model_args="pretrained=gpt2,peft=runs/lora-1"
    )
    assert only_row(table_of(tmp_path / "results")).run.method == "adapter"
    run = only_row(table_of(tmp_path / "results", adapters=(tmp_path / "adapters",))).run
    assert (run.method, run.seed, run.trainable) == ("lora", 5, 22_720_916)


TUNED = {"values": [0.4] * 20, "split": "validation", "metric": "macro_f1"}


def test_raw_decisions_of_an_adapter_stand_beside_tuned_ones(tmp_path: Path) -> None:
    adapter = tmp_path / "adapters" / "lora-1"
    adapter.mkdir(parents=True)
    tuned = manifest(method="lora", thresholds=TUNED)
    (adapter / "valueeval.json").write_text(json.dumps(tuned))
    write_results(
        tmp_path / "tuned", template="bca", kind="valueeval", adapter=tuned,
        model_args={"adapter": "runs/lora-1"},
    )  # fmt: skip
    for kind, peft in (("hf", "peft"), ("vllm", "lora_local_path")):
        write_results(tmp_path / kind, template="bca", kind=kind,
                      model_args=f"pretrained=gpt2,{peft}=runs/lora-1")  # fmt: skip
    table = table_of(tmp_path, adapters=(tmp_path / "adapters",))
    rows = [row for board in table.boards for row in board.rows]
    methods = sorted(row.run.method for row in rows)
    assert methods == ["lora", "lora, raw decisions", "lora, raw decisions"]
    assert not table.notes, "none is a repetition of another"


def test_adapters_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for method in ("full", "lora"):
        folder = tmp_path / "out" / method / "s0"
        folder.mkdir(parents=True)
        (folder / "valueeval.json").write_text(json.dumps(manifest(method=method)))
    for name, peft in (("a", "out/full/s0"), ("b", "/elsewhere/lora/s0/")):
        write_results(tmp_path / name, model_args=f"pretrained=gpt2,peft={peft}")
    table = table_of(tmp_path / "a", tmp_path / "b", adapters=(tmp_path / "out",))
    methods = sorted(row.run.method for board in table.boards for row in board.rows)
    assert methods == ["full", "lora"]
    write_results(tmp_path / "c", model_args="pretrained=gpt2,peft=s0")
    (problem,) = table_of(tmp_path / "c", adapters=(tmp_path / "out",)).problems
    assert "its adapter is s0, and --adapters has " in problem.reason
    assert "name the folder of the one that is meant" in problem.reason
    (tmp_path / "out/full/s0/valueeval.json").write_text(json.dumps(manifest(method="lora")))
    table = table_of(tmp_path / "c", adapters=(tmp_path / "out",))
    assert only_row(table).run.method == "lora", "two copies of one"


def test_requests_that_a_server_did_not_answer_are_a_doubt(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        failed = [{"task": task, "id": "A1", "problem": "HTTP 400"}
                  for task in ("valueeval_cls", "valueeval_cls", "valueeval_bca")]  # fmt: skip
        content["config"]["failed_requests"] = failed

    write_results(tmp_path, change=change)
    (warning,) = only_row(table_of(tmp_path)).run.warnings
    assert warning == "requests that its server did not answer: 2 (counted as unparsed)"


@pytest.mark.parametrize(
    ("arguments", "shots", "method", "trainable"),
    [
        ("pretrained=gpt2,dtype=float32", 0, "zero-shot", 0),
        ({"pretrained": "gpt2"}, 5, "5-shot", 0),
        ("pretrained=gpt2,peft=x/y", 0, "adapter", None),
    ],
)
def test_method_of_a_stock_model(
    tmp_path: Path, arguments: Any, shots: int, method: str, trainable: int | None
) -> None:
    write_results(tmp_path, model_args=arguments, shots=shots)
    run = only_row(table_of(tmp_path)).run
    assert (run.method, run.trainable, run.base) == (method, trainable, "gpt2")


def test_vllm_with_an_adapter_is_the_adapter(tmp_path: Path) -> None:
    arguments = "pretrained=org/base,lora_local_path=runs/lora-1,max_lora_rank=16"
    write_results(tmp_path, model="org/base", kind="vllm", model_args=arguments)
    run = only_row(table_of(tmp_path)).run
    assert (run.model, run.base, run.method, run.trainable) == (
        "lora-1", "org/base", "adapter", None,
    )  # fmt: skip


def test_method_names_chats_and_guided_decoding(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["chat_template_sha"] = "a" * 64
        content["config"]["guided"] = True

    write_results(tmp_path, model_args={"pretrained": "gpt2", "guided": True}, change=change)
    assert only_row(table_of(tmp_path)).run.method == "zero-shot, chat, guided"


@pytest.mark.parametrize(
    ("prior", "labels_used", "name"),
    [
        (None, True, "tuned"),
        ("batch", True, "calibrated (batch), tuned"),
        ("batch", False, "calibrated (batch)"),
        ("content-free", False, "calibrated (content-free)"),
        ("<b>", False, "calibrated"),
    ],
)
def test_calibrated_decisions_stand_beside_raw_ones(
    tmp_path: Path, prior: str | None, labels_used: bool, name: str
) -> None:
    """Wherever the file of the calibration was, and whatever numbers it holds."""
    given = {"pretrained": "gpt2"}
    write_results(tmp_path / "raw", model_args=given)
    for number, folder in enumerate(("a", "b")):

        def change(content: dict[str, Any], number: int = number) -> None:
            fitted_on = {"labels_used": labels_used, "set": "validation", "arguments": 60}
            content["config"]["calibration"] = {
                "method": "batch prior", "fitted_on": fitted_on, "thresholds": {"face": number},
                "prior": {"source": prior},
            }  # fmt: skip

        arguments = {**given, "calibration": f"{folder}/calibration.json"}
        write_results(tmp_path / folder, model_args=arguments, change=change)
    rows = table_of(tmp_path).boards[0].rows
    assert sorted(row.run.method for row in rows) == ["zero-shot", f"zero-shot, {name}"]


@pytest.mark.parametrize(
    ("settings", "method"),
    [
        ({"guided": "json_schema"}, "zero-shot, guided by json_schema"),
        ({"guided": False, "top_logprobs": 20}, "zero-shot, first token's top 20"),
    ],
)
def test_method_names_how_a_server_was_asked(
    tmp_path: Path, settings: dict[str, Any], method: str
) -> None:
    write_results(
        tmp_path,
        model_args={"pretrained": "gpt2"},
        change=lambda content: content["config"].update(settings),
    )
    assert only_row(table_of(tmp_path)).run.method == method


def test_a_vote_is_a_method_and_a_system_of_its_own(tmp_path: Path) -> None:
    def vote(content: dict[str, Any]) -> None:
        (task,) = content["configs"].values()
        task["metadata"]["votes"] = 5

    write_results(tmp_path / "a", template="cot", model_args={"pretrained": "gpt2"})
    write_results(tmp_path / "b", template="cot", model_args={"pretrained": "gpt2"}, change=vote)
    one, other = (only_row(table_of(tmp_path / name)).run for name in "ab")
    assert (one.method, other.method) == ("zero-shot", "zero-shot, self-consistency of 5")
    assert one.system != other.system


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"thresholds": {"split": "test"}}, "thresholds tuned on test"),
        ({"thresholds": {"split": "main"}}, "epoch and thresholds chosen on this very set"),
        ({"data": {"sha256": "0" * 63 + "1", "size": 60}}, "trained on the very data"),
    ],
)
def test_tuning_on_the_test_set_is_called_out(
    tmp_path: Path, change: dict[str, Any], warning: str
) -> None:
    write_results(tmp_path, kind="valueeval", adapter=manifest(**change))
    assert warning in only_row(table_of(tmp_path)).run.warnings[0]


def test_thresholds_that_nobody_tuned_need_no_warning(tmp_path: Path) -> None:
    half = {"values": [0.5] * 20, "split": "none", "metric": "none"}
    write_results(tmp_path, kind="valueeval", adapter=manifest(thresholds=half))
    assert only_row(table_of(tmp_path)).run.warnings == ()


def test_a_validation_score_after_tuning_on_validation_is_called_out(tmp_path: Path) -> None:
    write_results(tmp_path, kind="valueeval", dataset="validation", adapter=manifest())
    assert "this very set" in only_row(table_of(tmp_path)).run.warnings[0]


def test_predictions_of_every_value_are_flagged_when_only_official_f1_likes_them(
    tmp_path: Path,
) -> None:
    write_results(tmp_path, prediction=np.ones((60, 20), dtype=bool), kind="valueeval_baseline",
                  model_args="strategy=every_value", parameters=0)  # fmt: skip
    row = only_row(table_of(tmp_path))
    assert (row.name, row.run.method, row.run.parameters) == (
        "baseline every value",
        "baseline",
        None,
    )


@pytest.mark.parametrize(
    ("wording", "template_sha", "method"),
    [
        ("plain", None, "zero-shot"),
        ("chat", "a" * 64, "zero-shot, chat"),
        ("plain", "a" * 64, "zero-shot, chat, plain wording"),
        ("chat", None, "zero-shot, chat wording"),
    ],
)
def test_the_method_says_which_wording_stands_in_which_prompt(
    tmp_path: Path, wording: str, template_sha: str | None, method: str
) -> None:
    def change(content: dict[str, Any]) -> None:
        content["chat_template_sha"] = template_sha
        content["configs"]["valueeval_bca"]["metadata"]["wording"] = wording

    write_results(tmp_path, template="bca", change=change)
    assert only_row(table_of(tmp_path)).run.method == method


@pytest.mark.parametrize(
    ("labels_used", "seen", "warnings"),
    [
        (True, f"{'f' * 64}+{OFFICIAL_SHA}", ("thresholds tuned on the labels of this very set",)),
        (True, "f" * 64, ()),
        (False, OFFICIAL_SHA, ()),
    ],
)
def test_thresholds_tuned_on_the_tested_set_are_a_warning(
    tmp_path: Path, labels_used: bool, seen: str, warnings: tuple[str, ...]
) -> None:
    def change(content: dict[str, Any]) -> None:
        fitted_on = {"labels_used": labels_used, "data_sha256": seen}
        content["config"]["calibration"] = {"fitted_on": fitted_on}

    write_results(tmp_path, template="bca", change=change)
    assert only_row(table_of(tmp_path)).run.warnings == warnings
