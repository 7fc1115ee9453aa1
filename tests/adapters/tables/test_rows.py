"""Cells as text and as JSON; headers; blank rows."""

from __future__ import annotations

import datetime
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from valueeval.adapters.tables.rows import (
    Header,
    as_json,
    as_text,
    is_blank,
    is_missing,
    title_rows,
    without_blank_end,
)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("a", "a"), (None, ""), (float("nan"), ""), (pd.NA, ""), (pd.NaT, ""), (3, "3"),
        (3.0, "3"), (0.5, "0.5"), (1e300, "1e+300"), (True, "true"), (float("inf"), "null"),
        (np.int64(3), "3"), (np.float32(0.5), "0.5"), (np.bool_(True), "true"),
        ([1, None], "[1, null]"), ({"a": "ä"}, '{"a": "ä"}'),
        (datetime.date(2026, 1, 2), "2026-01-02"), (datetime.time(1, 2), "01:02:00"),
        (datetime.datetime(2026, 1, 2, 3, 4), "2026-01-02T03:04:00"),
        (10**4000, str(10**4000)),
    ],
)  # fmt: skip
def test_as_text(cell: Any, text: str) -> None:
    assert as_text(cell) == text
    json.dumps(as_json(cell), allow_nan=False)


def test_a_number_of_5000_digits_is_no_error() -> None:
    assert as_text(10**5000).startswith("0x")


def test_blank_and_missing() -> None:
    for cell in (None, "", " \t", float("nan"), pd.NA, pd.NaT, np.float64("nan")):
        assert is_blank(cell)
    for cell in (0, False, 0.0, [], "a", np.array([1, 2])):
        assert not is_blank(cell)
        assert not is_missing(cell)


def test_headers_have_names_that_differ() -> None:
    header = Header.of(["a", "", None, "a", "a (2)", "a", 3])
    assert header.columns == ("a", "column 2", "column 3", "a (3)", "a (2)", "a (4)", "3")
    assert len(header.notes) == 2


def test_blank_rows_at_the_end_go() -> None:
    rows = [(1, ["a"]), (2, [""]), (3, ["b"]), (4, [" "]), (5, [None])]
    assert list(without_blank_end(iter(rows))) == [(1, ["a"]), (2, None), (3, ["b"])]


def test_title_rows() -> None:
    assert title_rows([["Our survey", ""], ["", ""], ["a", "b"], ["c", "d"]]) == 2
    assert title_rows([["a", "b"], ["c", ""]]) == 0
    assert title_rows([["text", ""], ["c", "d"]]) == 0
    assert title_rows([["", "What do you think?"], ["0", "We care"], ["1", "So do I"]]) == 0
    assert title_rows([["Our survey"], ["x"]]) == title_rows([]) == title_rows([["A B", ""]]) == 0
