"""Labels of rows: what is added, in which order, with how much memory."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from naming_model import NamingModel

from valueeval.adapters.predict import labelling
from valueeval.adapters.predict.labelling import (
    ADDED_COLUMNS,
    Labels,
    kinds_of,
    label_rows,
    value_names,
)
from valueeval.adapters.predict.layout import Roles, find_layout
from valueeval.adapters.tables.rows import Record
from valueeval.adapters.tables.table import TableOptions, opened_table
from valueeval.tasks.data.dataset import Argument
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_SLUGS

LAYOUT = find_layout(["text"], Roles(), [], "t.csv")


def test_what_is_added() -> None:
    rows = [
        Record("line 2", {"text": "Tradition, and Security: personal"}),
        Record("line 3", {"text": ""}),
        Record("line 4", {"text": "nothing"}),
        Record("line 5", {"text": "x"}, "torn\tin\n two"),
    ]
    both, empty, none, torn = (row.cells() for row in label_rows(rows, LAYOUT, NamingModel()))
    assert tuple(both) == ("text", *ADDED_COLUMNS)
    assert both["values"] == "Security: personal; Tradition"
    assert (both["problem"], both["labelled_from"]) == ("", "text alone")
    assert (both["tradition"], both["p_tradition"]) == (1, 0.880797)
    assert (both["face"], both["p_face"]) == (0, 0.119203)
    assert sum(both[slug] for slug in VALUE_SLUGS) == 2
    assert (empty["values"], empty["problem"]) == ("", "the text is empty")
    assert {empty[column] for column in ADDED_COLUMNS[3:]} == {None}
    assert torn["problem"] == "torn in two"
    assert (none["values"], none["problem"], none["face"]) == ("", "", 0)


def test_prefix() -> None:
    (row,) = label_rows([Record("line 2", {"text": "x"})], LAYOUT, NamingModel())
    assert tuple(row.cells("m_")) == ("text", *(f"m_{column}" for column in ADDED_COLUMNS))
    assert kinds_of("m_")["m_p_face"] is float
    assert kinds_of()["face"] is int


def test_value_names() -> None:
    assert value_names([True] + [False] * 19) == "Self-direction: thought"
    assert value_names([0] * 20) == ""


def test_a_threshold_for_each_value() -> None:
    labels = Labels(np.zeros((1, 20)), np.linspace(-1, 1, 20))
    assert labels.decided.tolist() == [[True] * 10 + [False] * 10]
    assert labels.probabilities.tolist() == [[0.5] * 20]
    assert labels.margins[0, 0] == 1


def test_order_is_kept_over_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelling, "CHUNK", 5)
    rows = [Record(f"line {n}", {"text": "" if n % 3 == 0 else f"t{n}"}) for n in range(23)]
    model = NamingModel()
    found = list(label_rows(rows, LAYOUT, model))
    assert [each.row for each in found] == rows
    assert [each.argument is None for each in found] == [n % 3 == 0 for n in range(23)]
    assert [argument.premise for argument in model.read] == [f"t{n}" for n in range(23) if n % 3]


def test_broken_model() -> None:
    class Broken:
        def label(self, arguments: Sequence[Argument]) -> Labels:
            return Labels(np.full((len(arguments), 20), np.nan), np.zeros(20))

    with pytest.raises(ValueEvalError, match="not finite"):
        list(label_rows([Record("line 2", {"text": "x"})], LAYOUT, Broken()))


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_memory_does_not_grow_with_the_table(tmp_path: Path, form: str) -> None:
    class Zero:
        def label(self, arguments: Sequence[Argument]) -> Labels:
            return Labels(np.zeros((len(arguments), 20)), np.zeros(20))

    text = "p" * 500
    row = json.dumps({"text": text}) if form == "jsonl" else text
    peaks = []
    for copies in (2_100, 5_200):
        path = tmp_path / f"{copies}.{form}"
        with path.open("w") as file:
            file.writelines(["text\n"] if form == "csv" else [])
            file.writelines(f"{row}\n" for _ in range(copies))
        tracemalloc.start()
        with opened_table(str(path), TableOptions()) as table:
            count = sum(1 for _ in label_rows(table.read_rows(), LAYOUT, Zero()))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count == copies
    assert peaks[1] < 1.1 * peaks[0] + 100_000
