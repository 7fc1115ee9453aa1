"""Results files are read, and those that cannot be used are named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leaderboard_results import (
    manifest,
    only_row,
    outputs,
    statuses,
    table_of,
    write_results,
)

from valueeval.leaderboard.commands.leaderboard import main
from valueeval.leaderboard.formats import to_csv as format_csv
from valueeval.leaderboard.formats import to_json as format_json
from valueeval.leaderboard.formats import to_latex as format_latex
from valueeval.leaderboard.formats import to_markdown as format_markdown
from valueeval.leaderboard.page import to_html as format_html
from valueeval.leaderboard.table.table import LIMITED, RANKED, UNKNOWN_SIZE, Table


def test_a_row_knows_what_the_results_and_the_manifest_say(tmp_path: Path) -> None:
    write_results(
        tmp_path / "minilm", kind="valueeval", adapter=manifest(), model="runs/minilm",
        model_args={"adapter": "runs/minilm"},
    )  # fmt: skip
    row = only_row(table_of(tmp_path))
    run = row.run
    assert (row.name, run.base, run.method) == ("minilm", "minilm", "full")
    assert (run.parameters, run.trainable, run.training_size) == (22_720_916, 22_720_916, 5393)
    assert (run.template, run.paraphrase, run.dataset, run.seed) == ("cls", 1, "main", 1)
    assert (run.arguments, run.date) == (60, "2026-11-01T09:30:00")
    assert run.versions == {"lm_eval": "0.4.13", "transformers": "5.23.0",
                            "training: torch": "2.13.0"}  # fmt: skip
    assert run.samples is not None
    low, high = row.macro_interval
    assert low < row.macro_f1 < high


def test_results_as_lm_eval_0_4_9_wrote_them(tmp_path: Path) -> None:
    def older(content: dict[str, Any]) -> None:
        for scores in content["results"].values():
            del scores["name"], scores["sample_len"]
            scores |= {"macro_f1_stderr_stderr,none": "N/A", "unparsed_stderr,none": "N/A"}
        content["config"]["model_args"] = "pretrained=gpt2,dtype=float32"
        content["groups"], content["task_hashes"] = {}, {}
        content["lm_eval_version"] = "0.4.9"

    write_results(tmp_path, change=older)
    row = only_row(table_of(tmp_path))
    assert (row.run.base, row.run.versions["lm_eval"]) == ("gpt2", "0.4.9")


def test_unknown_is_missing_not_zero(tmp_path: Path) -> None:
    def strip(content: dict[str, Any]) -> None:
        for key in ("n-samples", "n-shot", "date", "lm_eval_version", "model_name"):
            del content[key]
        del content["results"]["valueeval_cls"]["sample_len"]
        content["config"] = {"model": "hf", "model_args": None, "model_num_parameters": -1}

    write_results(
        tmp_path, metrics={"f1_face": None, "unparsed": "N/A"}, change=strip, samples=False
    )
    row = only_row(table_of(tmp_path))
    assert (row.run.parameters, row.run.arguments, row.run.base) == (None, None, None)
    assert (row.mean("f1_face"), row.mean("unparsed")) == (None, None)
    assert row.run.date == "2026-11-01T10:30:00"  # from the file's name


def without_counts(*also: str) -> Any:
    def strip(content: dict[str, Any]) -> None:
        del content["n-samples"]
        for key in also:
            del content["results"]["valueeval_cls"][key]

    return strip


def test_a_limit_beyond_the_set_leaves_nothing_out(tmp_path: Path) -> None:
    def whole(content: dict[str, Any]) -> None:
        counts = content["n-samples"]["valueeval_cls"]
        counts["original"] = counts["effective"]

    write_results(tmp_path / "whole", limit=5000, change=whole, model="whole")
    write_results(tmp_path / "part", limit=60, model="part")
    assert statuses(table_of(tmp_path)) == [(RANKED, "main", 1), (LIMITED, "main", 1)]


def test_the_number_of_arguments_is_the_one_that_the_file_or_its_samples_say(
    tmp_path: Path,
) -> None:
    write_results(tmp_path / "file", change=without_counts(), model="file")
    write_results(tmp_path / "samples", change=without_counts("sample_len"), model="samples")
    write_results(
        tmp_path / "no", change=without_counts("sample_len"), model="unknown", samples=False
    )
    table = table_of(tmp_path)
    assert statuses(table) == [(RANKED, "main", 2), (UNKNOWN_SIZE, "main", 1)]
    assert {row.name: row.run.arguments for board in table.boards for row in board.rows} == {
        "file": 60, "samples": 60, "unknown": None,
    }  # fmt: skip
    (note,) = table.notes
    assert "does not say how many arguments were evaluated; its samples are 60" in note
    page = format_markdown.render(table)
    assert "### Main test set: number of arguments unknown" in page
    assert "Run lm_eval with --log_samples" in page


@pytest.mark.parametrize(
    "task",
    ["valueeval_cls\x1b]0;pwned\x07", "valueeval_cls\u202e", "valueeval_x/../../y", "valueeval_ü",
     "valueeval_" + "a" * 100_000],
    ids=range(5),
)  # fmt: skip
def test_a_task_whose_name_is_no_name_is_refused_in_clean_text(
    tmp_path: Path, task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def rename(content: dict[str, Any]) -> None:
        for key in ("results", "configs", "versions", "n-shot", "n-samples"):
            content[key] = dict.fromkeys([task], content[key]["valueeval_cls"])

    write_results(tmp_path / "results" / "odd", change=rename)
    write_results(tmp_path / "results" / "good", model="\x1b[31mred\x07")
    pages = outputs(tmp_path / "results", ".md", ".html", ".csv", ".json", ".tex", ".yaml")
    said = capsys.readouterr()
    assert "not a name that a ValueEval task can have" in said.err
    for text in (*pages.values(), said.err, said.out):
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
        assert "u001b" not in text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b'{"results": {"valueeval_cls"', "cut off?"),
        (b"\x80\x81PK\x03\x04", "not UTF-8 text"),
        (b"[1, 2]", "holds a list"),
        (b'{"a": 1}', "not results of lm-eval"),
        (b'{"results": 5, "configs": {}}', "not results of lm-eval"),
        (b'{"results": {"mmlu": {"acc,none": 1}}, "configs": {"mmlu": {}}}', "no ValueEval task"),
        (b"[" * 200_000, "not readable as JSON (RecursionError)"),
        (b'{"results": ' + b"9" * 5000 + b"}", "not readable as JSON"),
        (
            b'{"results": {"valueeval_cls": 3}, "configs": {"valueeval_cls": []}}',
            "none of our templates",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_the_rest_goes_on(
    tmp_path: Path, content: bytes, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_results(tmp_path / "good")
    (tmp_path / "results_bad.json").write_bytes(content)
    assert main([str(tmp_path), "-o", str(tmp_path / "out.md")]) == 0
    page = (tmp_path / "out.md").read_text(encoding="utf-8")
    error = capsys.readouterr().err
    assert f"not used: {tmp_path.name}/results_bad.json" in error
    assert reason in error
    assert "results\\_bad.json" in page
    assert "| runs/minilm |" in page


@pytest.mark.parametrize(
    ("metrics", "reason"),
    [
        ({"macro_f1": float("nan")}, "no macro_f1"),
        ({"macro_f1": None}, "no macro_f1"),
        ({"macro_f1": "0.5"}, "no macro_f1"),
        ({"macro_f1": True}, "no macro_f1"),
        ({"macro_f1": 43.2}, "macro_f1 is 43.2, not between 0 and 1"),
        (
            {"macro_f1": 10**400},
            "0000000000, not between",
        ),
        ({"official_f1": -0.1}, "official_f1 is -0.1"),
        ({"macro_f1": None, "bypass": 999}, "--predict_only"),
    ],
)
def test_a_run_without_usable_scores_is_refused(
    tmp_path: Path, metrics: dict[str, Any], reason: str
) -> None:
    write_results(tmp_path, metrics=metrics)
    table = table_of(tmp_path)
    assert not any(board.rows for board in table.boards)
    assert reason in table.problems[0].reason


@pytest.mark.parametrize("make", ["fifo", "link", "folder"])
def test_what_is_no_file_is_named_and_does_not_block(tmp_path: Path, make: str) -> None:
    write_results(tmp_path / "good")
    path = tmp_path / "results_odd.json"
    if make == "fifo":
        os.mkfifo(path)
    elif make == "link":
        path.symlink_to(tmp_path / "nowhere")
    else:
        path.mkdir()
    table = table_of(tmp_path)
    assert len(table.boards[0].rows) == 1
    assert [problem.reason for problem in table.problems] == (
        [] if make == "folder" else ["not a file, or a broken link"]
    )


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


def table_of_anything(data: st.DataObject, folder: Path) -> Table:
    """A table of one results file, any part of which may be anything."""
    path = write_results(folder, kind="valueeval", adapter=manifest(), samples=False)
    content = json.loads(path.read_text(encoding="utf-8"))
    place = content
    while data.draw(st.booleans() if place is not content else st.just(True)):
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or not place[key]:
            break
        place = place[key]
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(_JSON)
    path.write_text(json.dumps(content), encoding="utf-8")
    return table_of(folder)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_no_content_whatever_crashes_the_reader(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It is read, or named as a problem."""
    table = table_of_anything(data, tmp_path_factory.mktemp("any"))
    assert sum(len(board.rows) for board in table.boards) + len(table.problems) == 1
    for render in (format_csv, format_json, format_latex, format_markdown):
        render.render(table).encode("utf-8")


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_no_content_whatever_crashes_the_page_with_its_figures(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    format_html.render(table_of_anything(data, tmp_path_factory.mktemp("any"))).encode("utf-8")
