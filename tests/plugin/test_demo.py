"""``valueeval demo``."""

from __future__ import annotations

import shlex
import sys
from importlib import import_module
from pathlib import Path

import pytest
from leaderboard_results import SAMPLE_SHA, documents, predictions, write_results

from valueeval import cli, demo


def test_demo_runs_its_commands_in_order_and_shows_the_leaderboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "demo"

    def call(command: list[str], env: dict[str, str]) -> int:
        assert command[:2] == [sys.executable, "-m"]
        if command[2] == "lm_eval":
            model = command[-1].partition("=")[2].rpartition("/")[2]
            skill = {"minilm": 0.9, "every_value": 0.6}.get(model, 0.3)
            write_results(
                folder / "results" / model, model=model,
                prediction=predictions(documents(), skill, 1),
                docs=documents(), dataset="sample", sample=True, official=False, sha=SAMPLE_SHA,
            )  # fmt: skip
        return 0

    monkeypatch.setattr(demo.subprocess, "call", call)
    for _ in range(2):  # the second clears what the first left
        assert cli.main(["demo", "-o", str(folder)]) == 0
        shown = capsys.readouterr().out
        commands = [line.split()[1:3] for line in shown.splitlines() if line.startswith("$ ")]
        train, evaluate, rank = ["valueeval", "train"], ["lm_eval", "--tasks"], ["valueeval"]
        assert commands == [train, *[evaluate] * 3, [*rank, "leaderboard"]]
        assert shown.index("minutes on one CPU core") < shown.index("$ valueeval train")
        rows = [line.split() for line in shown.splitlines() if " to 0." in line]
        assert [row[0] for row in rows[:3]] == ["minilm", "every_value", "training_frequency"]
        assert "demonstration only" in shown
        next_ones = shown.partition("What to do next:\n")[2].splitlines()[:3]
        for line in next_ones:
            words = shlex.split(line, comments=True)
            assert words[0] == "valueeval"
            assert import_module(cli.COMMANDS[words[1]][0]).build_parser().parse_args(words[2:])
        assert str(folder / "leaderboard.html") in shown


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
