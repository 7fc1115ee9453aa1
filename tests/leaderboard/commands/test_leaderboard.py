"""`valueeval leaderboard`: outputs whole or not at all, the same for the same input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from leaderboard_results import (
    documents,
    outputs,
    predictions,
    write_results,
)

from valueeval.leaderboard.commands import leaderboard as command
from valueeval.leaderboard.commands.leaderboard import main
from valueeval.tasks.errors import ValueEvalError

DOCS = documents()


def test_the_same_input_gives_the_same_bytes_wherever_it_lies(tmp_path: Path) -> None:
    pages = []
    for place in ("one", "two"):
        folder = tmp_path / place / "results"
        for skill in (0.2, 0.8):
            write_results(folder / f"m{skill}", model=f"m{skill}",
                          prediction=predictions(DOCS, skill))  # fmt: skip
        main([str(folder), "-o", str(tmp_path / place / "out.md")])
        pages.append((tmp_path / place / "out.md").read_bytes())
    assert pages[0] == pages[1]


def test_unknown_formats_and_folders_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    write_results(tmp_path / "r")
    (tmp_path / "dir.md").mkdir()
    for bad, message in (
        (tmp_path / "x.docx", "no output format"),
        (tmp_path / "x.htm", r"did you mean \.html\?"),
        (tmp_path / "dir.md", "folder"),
    ):
        with pytest.raises(ValueEvalError, match=message):
            main([str(tmp_path / "r"), "-o", str(tmp_path / "ok.md"), "-o", str(bad)])
    assert not (tmp_path / "ok.md").exists()


def test_an_output_that_cannot_be_written_is_an_error_and_nothing_is_half_written(
    results: Path,
) -> None:
    (results.parent / "file").write_text("")
    with pytest.raises(ValueEvalError, match="cannot be written"):
        main([str(results), "-o", str(results.parent / "file" / "board.md")])
    assert [path.name for path in results.parent.iterdir() if path.name.startswith(".")] == []


def test_two_thousand_files_without_samples_make_one_board(tmp_path: Path) -> None:
    content = write_results(tmp_path / "one", samples=False).read_text(encoding="utf-8")
    for number in range(2000):
        folder = tmp_path / "results" / str(number)
        folder.mkdir(parents=True)
        changed = content.replace("runs/minilm", f"model-{number}")
        (folder / "results_2026-11-01T10-30-00.000000.json").write_text(changed, encoding="utf-8")
    rows = json.loads(outputs(tmp_path / "results", ".json")[".json"])["rows"]
    assert sum(row["status"] == "ranked" for row in rows) == 2000


def test_without_an_output_the_best_rows_are_printed(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(results), "--top", "2"]) == 0
    out = capsys.readouterr().out
    assert "Main test set" in out
    assert "minilm" in out
    assert "gamed" not in out
    assert "… and 1 more; -o leaderboard.md writes all" in out


def test_a_log_gets_a_line_now_and_then(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_SECONDS_BETWEEN_LINES", 0.0)
    main([str(results)])
    assert "samples: 2 of 6 read" in capsys.readouterr().err
