"""The summary: shares by group, rows without labels, and the figure."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from valueeval.adapters.predict.summary import MAX_GROUPS, Summary, check_figure, draw
from valueeval.adapters.tables.rows import Record
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_SLUGS

FACE = VALUE_SLUGS.index("face")


def decided(*places: int) -> np.ndarray:
    labels = np.zeros(20, dtype=bool)
    labels[list(places)] = True
    return labels


def row(**cells: object) -> Record:
    return Record("line 2", cells)


def shown(summary: Summary) -> str:
    out = io.StringIO()
    Console(width=200, file=out).print(summary.table())
    return out.getvalue()


def test_shares_by_group() -> None:
    summary = Summary("land")
    for group, labels in (("DE", decided(FACE)), ("DE", decided()), ("FR", decided(FACE))):
        summary.add(labels, row(land=group))
    line = next(line for line in shown(summary).splitlines() if "Face" in line)
    assert line.split() == ["Face", "2", "67", "%", "50", "%", "100", "%"]
    assert "n = 2" in shown(summary)
    assert summary.lines() == ["1 labelled row has none of the 20 values."]
    assert summary.left_out is None


def test_the_largest_groups_are_shown() -> None:
    summary = Summary("x")
    for group in range(9):
        for _ in range(group + 1):
            summary.add(decided(), row(x=f"g{group}"))
    assert "g2" not in shown(summary)
    assert "g3" in shown(summary)
    assert summary.left_out == "3 smaller groups of column 'x' are not shown."


def test_columns_of_ids_are_no_groups() -> None:
    summary = Summary("id")
    for number in range(MAX_GROUPS):
        summary.expect(row(id=number))
    with pytest.raises(ValueEvalError, match=r"Column 'id' has more than 1000 different entries"):
        summary.expect(row(id="one more"))


def test_rows_without_labels_and_wide_rows() -> None:
    summary = Summary()
    summary.problems.update({"the text is empty": 2, "evil \x1b[31m": 1})
    summary.add(decided(*range(13)))
    summary.add(decided(*range(12)))
    assert summary.rows == 5
    problems, wide = summary.lines()
    assert problems == (
        "3 rows have no labels (column problem): the text is empty (2), evil \ufffd[31m (1)"
    )
    assert wide.startswith("1 row has more than 12 of the 20 values: read")


def test_names_of_groups_are_shown_as_text() -> None:
    summary = Summary("g")
    summary.add(decided(), row(g="[red]\x1b[31m$x$"))
    assert "[red]\ufffd[31m$x$" in shown(summary)


def test_figures(tmp_path: Path) -> None:
    summary = Summary("g")
    for number in range(8):
        summary.add(decided(FACE), row(g=f"$g_{number}^<b>$"))
    for ending, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        path = tmp_path / f"f{ending}"
        draw(summary, path)
        content = path.read_bytes()
        assert content.startswith(start)
        draw(summary, path)
        assert path.read_bytes() == content
    draw(Summary(), tmp_path / "empty.png")
    with pytest.raises(ValueEvalError, match=r"end the name in \.png, \.svg, \.pdf"):
        check_figure(tmp_path / "f.jpg")
    with pytest.raises(ValueEvalError, match="cannot be written"):
        draw(summary, tmp_path / "no" / "f.png")
