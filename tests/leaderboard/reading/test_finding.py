"""Which files are found in what a user names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from leaderboard_results import outputs, write_results

from valueeval.leaderboard.commands.leaderboard import main
from valueeval.leaderboard.reading.finding import find_files, find_results
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.runfile import write_run


def test_no_results_at_all_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueEvalError, match=r"looked for results_\*\.json; run lm_eval"):
        main([str(tmp_path), "-o", str(tmp_path / "out.md")])
    with pytest.raises(ValueEvalError, match="no such file or folder"):
        main([str(tmp_path / "nowhere"), "-o", str(tmp_path / "out.md")])
    assert not (tmp_path / "out.md").exists()


def run_file(path: Path) -> Path:
    data = load_set("sample")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_run(path, data.ids, data.labels)
    return path


def test_a_folder_of_run_files_holds_those_and_neither_data_nor_an_archive_s_samples(
    tmp_path: Path,
) -> None:
    for name in ("team.tsv", "deeper/team.tsv", "labels-test.tsv", "samples_valueeval_cls_1.tsv"):
        run_file(tmp_path / "runs" / name)
    (tmp_path / "runs" / "arguments-test.tsv").write_text("Argument ID\tConclusion\n")
    (tmp_path / "runs" / "notes.tsv").write_text("date\tnote\n")
    write_results(tmp_path / "runs" / "archived")
    run_file(tmp_path / "runs" / "archived" / "beside-results.tsv")
    results, runs = find_files([tmp_path / "runs"])
    assert [file.source for file in results] == [
        "runs/archived/results_2026-11-01T10-30-00.123456.json"
    ]
    assert [file.source for file in runs] == ["runs/deeper/team.tsv", "runs/team.tsv"]


def test_files_of_one_name_have_more_of_their_folders_in_theirs(tmp_path: Path) -> None:
    for team in ("a", "b"):
        run_file(tmp_path / team / "runs" / "run.tsv")
    _, runs = find_files([tmp_path / team / "runs" for team in ("a", "b")])
    assert [file.source for file in runs] == ["a/runs/run.tsv", "b/runs/run.tsv"]
    _, runs = find_files([tmp_path / team / "runs" / "run.tsv" for team in ("a", "b")])
    assert [file.source for file in runs] == ["a/runs/run.tsv", "b/runs/run.tsv"]


def test_run_files_where_results_are_wanted_are_told_with_what_to_do(tmp_path: Path) -> None:
    run_file(tmp_path / "runs" / "team.tsv")
    for place in (tmp_path / "runs", tmp_path / "runs" / "team.tsv"):
        with pytest.raises(ValueEvalError, match=r"team\.tsv: a run file, .* compare --labels TSV"):
            find_results([place])


def test_run_files_of_one_name_in_two_folders_are_two_systems(
    tmp_path: Path, real_data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VALUEEVAL_DATA", str(real_data_dir))
    data = load_set("main")
    for team, prediction in (("a", np.ones_like(data.labels)), ("b", data.labels)):
        (tmp_path / "runs" / team).mkdir(parents=True)
        write_run(tmp_path / "runs" / team / "run.tsv", data.ids, prediction)
    rows = json.loads(outputs(tmp_path / "runs", ".json")[".json"])["rows"]
    ranked = [row for row in rows if row["status"] == "ranked"]
    assert [row["macro_f1"] for row in ranked] == [1.0, pytest.approx(0.24842634517)]
    assert len({row["system"] for row in ranked}) == 2
