"""`valueeval score` on tables of one's own: predictions against labels in one table or two."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openpyxl import Workbook

from valueeval.adapters.predict.score_table import main, table_report
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.average_precision import macro_ap
from valueeval.tasks.scores.scoring import score
from valueeval.tasks.values import VALUE_NAMES, VALUE_SLUGS

DATA = load_set("sample")
N = len(DATA.arguments)
PREDICTED = np.roll(DATA.labels, 3, axis=0) | np.eye(20, dtype=bool)[np.arange(N) % 20]
PROBABILITIES = np.random.default_rng(0).random((N, 20)).round(4)
EXPECTED = score(DATA.labels, PREDICTED)


def table(*parts: tuple[list[str], Any]) -> list[list[Any]]:
    header = [name for names, _ in parts for name in names]
    columns = [list(cells) for _, cells in parts]
    return [header, *([cell for part in columns for cell in part[row]] for row in range(N))]


TEXTS = (
    ["Argument ID", "Premise", "Conclusion", "Stance"],
    [[one.id, one.premise, one.conclusion, one.stance] for one in DATA.arguments],
)
IDS = (["id"], [[one.id] for one in DATA.arguments])
LABELS = (list(VALUE_NAMES), DATA.labels.astype(int).tolist())
DECISIONS = ([f"predicted_{slug}" for slug in VALUE_SLUGS], PREDICTED.astype(int).tolist())
CHANCES = ([f"predicted_p_{slug}" for slug in VALUE_SLUGS], PROBABILITIES.tolist())


def write(path: Path, rows: list[list[Any]], delimiter: str = ";") -> str:
    if path.suffix == ".xlsx":
        book = Workbook()
        for row in rows:
            book.active.append(row)
        book.save(path)
    else:
        out = io.StringIO(newline="")
        csv.writer(out, delimiter=delimiter).writerows(rows)
        path.write_text(out.getvalue(), "utf-8")
    return str(path)


@pytest.mark.parametrize("name", ["my.csv", "my.xlsx"])
def test_one_table_with_both(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / name, table(TEXTS, LABELS, DECISIONS, CHANCES))
    assert main([path, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["n"] == N
    assert {key: report[key] for key in EXPECTED} == EXPECTED
    assert report["macro_ap"] == pytest.approx(macro_ap(DATA.labels, PROBABILITIES))
    assert report["interval"]["over"] == "conclusions"
    main([path])
    shown = capsys.readouterr().out
    assert f"{EXPECTED['macro_f1']:.4f}" in shown
    assert "jackknife over" in shown


def test_two_tables_by_id_in_any_order(tmp_path: Path) -> None:
    labels = write(tmp_path / "gold.csv", table(TEXTS, LABELS))
    header, *rows = table(IDS, (list(VALUE_SLUGS), DECISIONS[1]))
    predictions = write(tmp_path / "mine.csv", [header, *reversed(rows)], ",")
    report = table_report(predictions, labels)
    assert report["macro_f1"] == EXPECTED["macro_f1"]
    assert report["interval"]["over"] == "conclusions"
    assert report["macro_ap"] is None


def test_two_tables_row_by_row_and_rows_without_labels_do_not_count(tmp_path: Path) -> None:
    rows = table(LABELS)
    for row in rows[1:6]:
        row[:] = [""] * 20
    labels = write(tmp_path / "gold.csv", rows)
    predictions = write(tmp_path / "mine.xlsx", table((list(VALUE_SLUGS), DECISIONS[1])))
    report = table_report(predictions, labels)
    assert report["n"] == N - 5
    assert report["macro_f1"] == score(DATA.labels[5:], PREDICTED[5:])["macro_f1"]
    assert report["interval"]["over"] == "arguments"


def test_values_without_labels_do_not_count(tmp_path: Path) -> None:
    some = (list(VALUE_NAMES[:6]), DATA.labels[:, :6].astype(int).tolist())
    path = write(tmp_path / "my.csv", table(some, DECISIONS))
    labels, decided = DATA.labels.copy(), PREDICTED.copy()
    labels[:, 6:] = decided[:, 6:] = False
    assert table_report(path)["macro_f1"] == score(labels, decided)["macro_f1"]


@pytest.mark.parametrize(
    ("rows", "gold", "options", "why"),
    [
        (table(LABELS), None, {}, r"my\.csv: holds predictions or labels, not both"),
        (table(TEXTS), None, {}, r"my\.csv: predictions: no column is called like a value"),
        (table(TEXTS, DECISIONS), None, {}, r"my\.csv: labels: no column is called like a value"),
        (table(LABELS), None, {"prefix": "mine_"}, r"no column begins with 'mine_' \(--prefix\)"),
        (table(LABELS)[:5], table(LABELS), {}, r"my\.csv has 4 rows, gold\.csv \d+, and no column"),
        (table(IDS, LABELS)[:5], table(IDS, LABELS), {}, r"gold\.csv, line 6: id .* is not in my"),
        (table(LABELS), table(LABELS), {"id_column": "nr"}, r"my\.csv: no column 'nr' \(--id\)"),
        ([*table(IDS, LABELS), table(IDS, LABELS)[1]], table(IDS, LABELS), {}, "is there twice"),
    ],
)
def test_what_is_unclear_is_refused(
    tmp_path: Path,
    rows: list[list[Any]],
    gold: list[list[Any]] | None,
    options: dict[str, str],
    why: str,
) -> None:
    path = write(tmp_path / "my.csv", rows)
    labels = None if gold is None else write(tmp_path / "gold.csv", gold)
    with pytest.raises(ValueEvalError, match=why):
        table_report(path, labels, options.get("prefix"), options.get("id_column"))


def test_options_of_run_files_do_not_go_with_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "my.csv", table(LABELS))
    for argv, why in (
        ([path, "--run", "r.tsv"], "--run is for run files and samples, not for a table"),
        (["--prefix", "x", "--samples", "s.jsonl"], "--prefix is for a table: give its FILE"),
    ):
        with pytest.raises(SystemExit):
            main(argv)
        assert why in capsys.readouterr().err
