"""Where labelled rows go, in which form, and that files are there whole or not at all."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from killing import forked_seconds, in_fresh_process, killed
from naming_model import NamingModel

from valueeval.adapters.predict import labelling
from valueeval.adapters.predict.labelling import label_rows
from valueeval.adapters.predict.layout import Roles, find_layout
from valueeval.adapters.predict.output import Output, checking_writer, choose_output, whole_file
from valueeval.adapters.tables.delimited import Dialect
from valueeval.adapters.tables.rows import Record
from valueeval.adapters.tables.table import InputTable, TableOptions, opened_table, opened_writer
from valueeval.tasks.errors import ValueEvalError


def table(form: str = "csv", dialect: Dialect | None = None) -> InputTable:
    return InputTable("t", form, ("text",), lambda: iter(()), dialect=dialect or Dialect())


def chosen(
    came_from: str,
    path: str | None = None,
    form: str | None = None,
    for_excel: bool = False,
    **came: Any,
) -> Output:
    return choose_output(table(**came), came_from, path, form, for_excel)


def test_beside_the_table_as_it_came_in() -> None:
    excel_text = Dialect("\t", True, "utf-16", "\r\n")
    assert chosen("d/t.txt", dialect=excel_text) == Output(
        "d/t-labelled.txt", "csv", excel_text, False
    )
    assert chosen("t.tsv", form="csv").path == "t-labelled.csv"
    assert chosen("t").path == "t-labelled.csv"
    assert choose_output(table("xlsx"), "t.xlsm", None, None, False).path == "t-labelled.xlsx"
    assert choose_output(table("parquet"), "t.pq", None, None, False).form == "parquet"
    assert choose_output(table("jsonl"), "-", None, None, False).path == "-"


def test_as_the_name_says() -> None:
    semicolons = Dialect(";", True, "cp1252", "\r\n")
    assert chosen("t.csv", "o.csv", dialect=semicolons).dialect == semicolons
    assert chosen("t.txt", "o.csv", dialect=semicolons).dialect == Dialect(";")
    assert chosen("t.csv", "o.tsv", dialect=semicolons).dialect == Dialect("\t", quoted=False)
    assert chosen("t.csv", "o.dat", "jsonl") == Output("o.dat", "jsonl", None, False)
    assert chosen("t.csv", "o.xlsx").form == "xlsx"
    with pytest.raises(ValueEvalError, match=r"o\.docx: the format is not clear from the name"):
        chosen("t.csv", "o.docx")


def test_for_excel() -> None:
    assert chosen("t.csv", for_excel=True) == Output("t-labelled.xlsx", "xlsx", None, True)
    marked = Dialect(",", True, "utf-8-sig", "\r\n")
    assert chosen("t.tsv", "o.csv", for_excel=True).dialect == marked
    kept = chosen("t.csv", "o.csv", for_excel=True, dialect=Dialect(";", True, "cp1252"))
    assert kept.dialect == Dialect(";", True, "utf-8-sig", "\r\n")
    with pytest.raises(ValueEvalError, match=r"--for_excel writes \.xlsx or \.csv"):
        chosen("t.csv", "o.jsonl", for_excel=True)


def test_terminals_show_no_workbook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", SimpleNamespace(isatty=lambda: True))
    with pytest.raises(ValueEvalError, match="Name a file by -o"):
        choose_output(table("xlsx"), "-", None, None, False)


def test_what_cannot_be_written_is_found_before() -> None:
    tabs = Output("o.tsv", "tsv", Dialect("\t", quoted=False), False)
    with checking_writer(tabs, ["text"]) as check:
        check(Record("line 2", {"text": "fine"}))
        with pytest.raises(ValueEvalError, match="line 3: a tab or line break"):
            check(Record("line 3", {"text": "two\nlines"}))
    with checking_writer(Output("o.xlsx", "xlsx", None, False), ["text"]) as check:
        check(Record("line 2", {"text": "x" * 32_767}))
        with pytest.raises(ValueEvalError, match="line 3: a text of more than 32,767"):
            check(Record("line 3", {"text": "x" * 32_768}))
    with checking_writer(Output("o.jsonl", "jsonl", None, False), ["text"]) as check:
        check(Record("line 2", {"text": "two\nlines"}))


def test_standard_output_stays_open(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with (
        whole_file("-", overwrite=False) as stream,
        opened_writer("csv", stream, ["text"]) as writer,
    ):
        writer.write(Record("line 2", {"text": "ä"}))
    print("still open", flush=True)
    assert capfdbinary.readouterr().out == "text\nä\nstill open\n".encode()


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"

    def interrupted(form: str) -> None:
        with (
            whole_file(str(out), overwrite=False) as stream,
            opened_writer(form, stream, ["text"]) as writer,
        ):
            writer.write(Record("line 2", {"text": "half"}))
            assert not out.exists()
            raise KeyboardInterrupt

    for form in ("csv", "jsonl", "xlsx", "parquet"):
        with pytest.raises(KeyboardInterrupt):
            interrupted(form)
        assert list(tmp_path.iterdir()) == []


def test_refused_outputs(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("before")
    for path, message in (
        (out, "exists already"),
        (tmp_path, "this is a folder"),
        (tmp_path / "no" / "x.csv", "cannot be written"),
    ):
        with pytest.raises(ValueEvalError, match=message), whole_file(str(path), False):
            pass
    assert out.read_text() == "before"


def kill_a_hundred_times(tmp_path: Path) -> None:
    labelling.CHUNK = 100
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("id,text\n" + "".join(f"{n},Trees give shade\n" for n in range(500)))

    def run() -> None:
        with (
            opened_table(str(source), TableOptions()) as found,
            whole_file(str(out), overwrite=True) as stream,
            opened_writer("csv", stream, ["id", "values"]) as writer,
        ):
            layout = find_layout(found.columns, Roles(), [], "in.csv")
            for row in label_rows(found.read_rows(), layout, NamingModel()):
                writer.write(Record(row.row.where, row.cells()))

    run()
    lasts = forked_seconds(run)
    whole = out.read_bytes()
    assert whole.decode().split("\n")[1:-1] == [f"{n}," for n in range(500)]
    moments, half_way = np.random.default_rng(1), 0
    # On a busy machine more kills may miss the work.
    for number in range(1000):
        if number >= 100 and half_way > 10:
            break
        if number % 2:
            out.unlink(missing_ok=True)
        killed(run, 1.2 * lasts, moments)
        left = {path.name for path in tmp_path.iterdir()} - {"in.csv", "out.csv"}
        assert len(left) <= 1  # that of the last kill
        half_way += bool(left)
        assert not out.exists() or out.read_bytes() == whole
    assert half_way > 10
    run()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]
    assert out.read_bytes() == whole


def test_a_hundred_kills_leave_nothing_behind(tmp_path: Path) -> None:
    in_fresh_process(kill_a_hundred_times, tmp_path)
