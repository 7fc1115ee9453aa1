"""Tab-separated tables, read strictly."""

from __future__ import annotations

from pathlib import Path

import pytest

from valueeval.tasks.data.tsv import parse_table, read_bytes, shown
from valueeval.tasks.errors import ValueEvalError

FILE = Path("table.tsv")


def rows(content: str, *, run_file: bool = False) -> list[list[str]]:
    return list(parse_table(content.encode(), FILE, ("Id", "A"), run_file=run_file)[1])


def test_fields_come_in_the_order_asked_for_and_quotes_are_characters() -> None:
    assert rows('A\tId\n"x"\t1\ny\t2\n') == [["1", '"x"'], ["2", "y"]]


def test_run_files_may_have_windows_line_ends_quotes_and_a_missing_column() -> None:
    assert rows('Id\tA\r\n"1"\t"0"\r\n', run_file=True) == [["1", "0"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("Id\tA\n", "only a header"),
        ("Id\tB\n1\tx\n", "unknown column 'B'"),
        ("Id\tA\n1\n", "line 2, field 'A': is missing"),
        ("Id\tA\n1\tx\ty\n", "is followed by more"),
        ("Id\tA\n1\tx\n1\ty\n", "stands in line 2 already"),
        ("Id\tA\r\n1\tx\n", "CRLF"),
    ],
)
def test_refuses_what_is_malformed_with_line_and_field(content: str, message: str) -> None:
    with pytest.raises(ValueEvalError, match=message):
        rows(content)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueEvalError, match="cannot be read"):
        read_bytes(tmp_path / "none.tsv")


def test_long_fields_are_cut_in_messages() -> None:
    assert shown("a" * 41) == repr("a" * 40 + "…")
