"""The parser of the commands: whole option names, hints at near ones, ``--data_dir``."""

from __future__ import annotations

import os

import pytest

from valueeval.tasks.commands.command_line import CommandParser


def a_parser() -> CommandParser:
    parser = CommandParser(prog="valueeval thing")
    parser.add_argument("--batch_size", type=int)
    parser.add_argument("--every-eval-ever")
    parser.add_argument("--form", choices=("csv", "parquet", "xlsx"))
    parser.add_data_dir()
    return parser


@pytest.mark.parametrize("words", [["--batch-size", "3"], ["--batch_size=3"], ["--batch-size=3"]])
def test_hyphens_are_as_good_as_underscores(words: list[str]) -> None:
    assert a_parser().parse_args(words).batch_size == 3
    assert a_parser().parse_args(["--every_eval_ever", "a-b"]).every_eval_ever == "a-b"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--batch", "3"], "no option --batch"),
        (["--bach_size", "3"], "no option --bach_size; did you mean --batch_size?"),
        (["--xyz=1"], "no option --xyz "),
        (
            ["--form", "parket"],
            "--form: 'parket'; allowed: csv, parquet, xlsx; did you mean parquet?",
        ),
        (["--form", "doc"], ": --form: 'doc'; allowed: csv, parquet, xlsx"),
        (["table.csv"], "'table.csv' is one argument too many"),
        (["--batch_size", "x"], "invalid int value: 'x'"),
    ],
)
def test_a_refusal_is_one_line_that_helps(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        a_parser().parse_args(words)
    assert end.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("valueeval thing: ")
    assert told in shown.err
    assert shown.err.endswith(" (valueeval thing --help)\n")
    assert shown.err.count("\n") == 1


def test_data_dir_is_where_data_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALUEEVAL_DATA", "before")
    a_parser().parse_args([])
    assert os.environ["VALUEEVAL_DATA"] == "before"
    a_parser().parse_args(["--data-dir", "here"])
    assert os.environ["VALUEEVAL_DATA"] == "here"
