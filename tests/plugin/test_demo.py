"""``valueeval demo``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from valueeval import cli, demo


def test_demo_runs_its_commands_in_order_and_shows_the_leaderboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "demo"

    def call(command: list[str], env: dict[str, str]) -> int:
        assert command[:2] == [sys.executable, "-m"]
        if command[3] == "leaderboard":
            (folder / "leaderboard.md").write_text("| minilm |")
        return 0

    monkeypatch.setattr(demo.subprocess, "call", call)
    for _ in range(2):  # the second clears what the first left
        assert cli.main(["demo", "-o", str(folder)]) == 0
        shown = capsys.readouterr().out
        commands = [line.split()[1:3] for line in shown.splitlines() if line.startswith("$ ")]
        train, evaluate, rank = ["valueeval", "train"], ["lm_eval", "--tasks"], ["valueeval"]
        assert commands == [train, *[evaluate] * 3, [*rank, "leaderboard"]]
        assert "| minilm |" in shown
        assert "demonstration only" in shown


def test_demo_leaves_other_folders_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "results"
    kept.mkdir()
    assert cli.main(["demo", "-o", str(tmp_path)]) == 2
    assert "Name a new folder" in capsys.readouterr().err
    assert kept.is_dir()


def test_demo_stops_where_a_command_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo.subprocess, "call", lambda *_, **__: 3)
    assert cli.main(["demo", "-o", str(tmp_path / "demo")]) == 2
    assert "exit status 3 of: valueeval train" in capsys.readouterr().err
