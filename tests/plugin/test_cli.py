"""The ``valueeval`` command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import valueeval
from valueeval import cli
from valueeval.tasks.errors import ValueEvalError


def test_help_lists_every_command_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in cli.COMMANDS:
        assert sum(line.startswith(f"  {name} ") for line in lines) == 1
    assert max(map(len, lines)) <= 80
    assert cli.main([]) == 0


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([name, "--help"])
    assert end.value.code == 0
    assert "usage:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "titles"),
    [
        ("leaderboard", ["what is read", "what is written", "results for other sites"]),
        (
            "compare",
            ["two systems", "two run files of the shared task", "many comparisons at once"],
        ),
        (
            "score",
            ["a table of your own", "a run file of the shared task", "samples logged by lm_eval"],
        ),
    ],
)
def test_help_shows_options_in_groups(
    name: str, titles: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main([name, "--help"])
    shown = capsys.readouterr().out
    places = [shown.index(f"\n{title}:\n") for title in titles]
    assert places == sorted(places)
    ungrouped = shown[shown.index("\noptions:\n") : places[0]].splitlines()
    assert [line.split()[0] for line in ungrouped if line.startswith("  -")] in (
        ["-h,"],
        ["-h,", "--data_dir"],
    )


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"valueeval {valueeval.__version__}\n"


@pytest.mark.parametrize(
    ("word", "hint"),
    [("trian", "did you mean train?"), ("--verison", "unknown option"), ("x", "see valueeval")],
)
def test_unknown_words_get_a_hint(word: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([word]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert hint in shown.err
    assert shown.err.count("\n") == 1


def fake_command(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Makes ``valueeval fake`` raise ``error``."""
    module = ModuleType("fake_command")

    def main(argv: list[str]) -> int:
        raise error

    module.main = main  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_command", module)
    monkeypatch.setitem(cli.COMMANDS, "fake", ("fake_command", "raises"))


def test_errors_for_people(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_command(monkeypatch, ValueEvalError("a.tsv, line 3: no tab"))
    assert cli.main(["fake"]) == 2
    assert capsys.readouterr().err == "valueeval fake: a.tsv, line 3: no tab\n"
    with pytest.raises(ValueEvalError):
        cli.main(["fake", "--debug"])


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueEvalError("a\x1b[2J\u202eb\nwhat to do"), "a\ufffd[2J\ufffdb\nwhat to do"),
        (FileNotFoundError(2, "No such file or directory", "x\x07"), "x\ufffd: No such file or"),
        (OSError("disk on fire"), "disk on fire"),
        (RecursionError("maximum recursion depth exceeded"), "the input is nested too deeply"),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"), "no valid Unicode"),
    ],
)
def test_bad_input_shows_no_traceback(
    error: Exception,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake_command(monkeypatch, error)
    assert cli.main(["fake"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("valueeval fake: ")
    assert told in shown
    with pytest.raises(type(error)):
        cli.main(["fake", "--debug"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["score", "--labels", "x" * 100_000, "--run", "r"],
        ["score", "--samples", f"{'x' * 1000}/samples_valueeval_bca_.jsonl"],
        ["score", "--samples", "samples_valueeval_bca_\udcff.jsonl"],
        ["export", "samples_valueeval_bca_.jsonl", "-o", "x" * 100_000],
        ["data", "info", "x" * 100_000],
        ["data", "verify", "x" * 100_000],
        ["data", "info", "--set", "x" * 100_000],
        ["data", "fetch", "--cache", "x" * 100_000],
    ],
)
def test_hostile_arguments_of_our_commands(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    message = capsys.readouterr().err.lstrip("\n")  # where a progress bar was to come
    assert message.startswith(f"valueeval {arguments[0]}: ")
    assert message.count("\n") <= 2
    assert max(map(len, message.split("\n"))) < 1100
    assert not list(tmp_path.iterdir())


def test_errors_of_ours_show_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_command(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["fake"])


def test_interrupt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fake_command(monkeypatch, KeyboardInterrupt())
    assert cli.main(["fake"]) == 130
    assert capsys.readouterr().err == "valueeval: interrupted\n"


def test_a_reader_that_has_gone_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        command = [sys.executable, "-m", "valueeval", "--help"]
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (cli.BROKEN_PIPE, b"")


def test_where_a_character_cannot_be_printed() -> None:
    """For the log of a job whose locale is not UTF-8; the help has «…» in it."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "valueeval", "train", "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--resume" in done.stdout
