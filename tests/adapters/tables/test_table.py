"""Tables of every kind: read back what was written, guessed rightly, hostile ones refused."""

from __future__ import annotations

import csv
import datetime
import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook, load_workbook
from pyarrow import parquet

from valueeval.adapters.tables import excel
from valueeval.adapters.tables.delimited import NO_DELIMITER, Dialect
from valueeval.adapters.tables.encodings import shown_encoding
from valueeval.adapters.tables.rows import Record
from valueeval.adapters.tables.table import (
    InputTable,
    TableOptions,
    format_of_name,
    opened_table,
    opened_writer,
    output_dialect,
)
from valueeval.tasks.errors import ValueEvalError

ROWS = [
    {"id": "1", "Text": "Trees, they say, give shade; it is cool", "Topic": "Plant trees"},
    {"id": "2", "Text": 'They are "messy" …\nand old', "Topic": "Bäume"},
]


def write(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def read(path: Path, **options: Any) -> tuple[InputTable, list[Record]]:
    with opened_table(str(path), TableOptions(**options)) as table:
        return table, list(table.read_rows())


def cells(path: Path, **options: Any) -> list[dict[str, Any]]:
    return [row.cells for row in read(path, **options)[1]]


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(ValueEvalError) as caught:
        read(path, **options)
    return str(caught.value)


def written(form: str, rows: Sequence[dict[str, Any]], **options: Any) -> bytes:
    stream = io.BytesIO()
    with opened_writer(form, stream, list(rows[0]), **options) as writer:
        for number, row in enumerate(rows, start=2):
            writer.write(Record(f"line {number}", row))
    return stream.getvalue()


# -------------------------------------------------------------------------------- text tables

cell_texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"))
names = st.sampled_from(["id", "Premise", "The conclusion", "Haltung", "Text (deutsch)", "x_1"])


@given(
    columns=st.lists(names, min_size=2, unique=True),
    data=st.data(),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    line_end=st.sampled_from(["\r\n", "\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_what_a_csv_writer_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    columns: list[str],
    data: st.DataObject,
    delimiter: str,
    quoting: Any,
    line_end: str,
    encoding: str,
) -> None:
    width = len(columns)
    cell = cell_texts.filter(lambda text: "\r" not in text)  # which csv.writer does not quote
    row = st.lists(cell, min_size=width, max_size=width).filter(lambda r: any(map(str.strip, r)))
    rows = data.draw(st.lists(row, min_size=1))
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=line_end)
    writer.writerows([columns, *rows])
    path = write(tmp_path_factory.getbasetemp() / "any.csv", out.getvalue(), encoding)
    table, found = read(path)
    assert [list(row.cells.values()) for row in found] == rows
    assert [row.problem for row in found] == [None] * len(rows)
    assert table.columns == tuple(columns)
    assert table.dialect is not None
    assert (table.dialect.delimiter, table.dialect.encoding) == (delimiter, encoding)


@given(st.lists(st.tuples(cell_texts, cell_texts), min_size=1), st.sampled_from(",;\t|"))
def test_every_dialect_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]], delimiter: str
) -> None:
    rows = [{"text": one, "note": two} for one, two in pairs if (one + two).strip()]
    dialect = Dialect(delimiter, encoding="utf-16", line_end="\r\n")
    content = written("csv", rows or [{"text": "x", "note": ""}], dialect=dialect)
    path = write(tmp_path_factory.getbasetemp() / "own.csv", content)
    assert cells(path) == (rows or [{"text": "x", "note": ""}])


lines = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\t\r\n"), min_size=1)


@given(st.lists(st.tuples(lines, lines), min_size=1))
def test_official_tables_have_no_quoting(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    rows = [{"Argument ID": "A", "Premise": one, "Stance": two} for one, two in pairs]
    path = write(tmp_path_factory.getbasetemp() / "own.tsv", written("tsv", rows))
    assert cells(path) == rows


def test_quoting_in_tables_with_tabs(tmp_path: Path) -> None:
    """A `.tsv` is read without quoting where so it fits; Excel's text is quoted where needed."""
    plain = 'Premise\tStance\n"Quoted" words\tfor\n""x""\tfor\n'
    assert [r["Premise"] for r in cells(write(tmp_path / "a.tsv", plain))] == [
        '"Quoted" words',
        '""x""',
    ]
    excel_text = 'Premise\tStance\n"He said ""no"""\tfor\n"two\nlines"\tfor\n'
    found = cells(write(tmp_path / "b.txt", excel_text))
    assert [row["Premise"] for row in found] == ['He said "no"', "two\nlines"]
    assert cells(write(tmp_path / "c.tsv", excel_text)) == found
    table, _ = read(tmp_path / "a.tsv")
    assert output_dialect(table, "tsv", True) == Dialect("\t", quoted=False)


def test_stray_quotation_marks(tmp_path: Path) -> None:
    """A text that begins with a quotation of its own does not swallow the rows below it."""
    path = write(tmp_path / "t.csv", 'id;text;side\n1;"No" he said;for\n2;yes;for\n')
    assert [row["text"] for row in cells(path)] == ['"No" he said', "yes"]
    table, _ = read(path)
    assert output_dialect(table, "csv", same_ending=True) == Dialect(";")
    broken = write(tmp_path / "b.csv", 'a,b,c\n1,"x,for\n2,"y, z",for\n')
    assert "line 2: the cells of this row do not end" in refusal(broken)


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        ("text\nHello, world\nNo; never, ever\n", NO_DELIMITER),
        ('text\n"Hello, world"\n"two\nlines"\n', NO_DELIMITER),
        ("a;b\n1,5;2,5\n3,5;4,5\n", ";"),
        ("a, short;b\nx, y;z\nw;v, u\n", ";"),
        ("a|b\n1|2\n", "|"),
        ("a\tb\nx, y\tz\n", "\t"),
    ],
)
def test_delimiters(tmp_path: Path, content: str, delimiter: str) -> None:
    table, rows = read(write(tmp_path / "t.csv", content))
    assert table.dialect is not None
    assert table.dialect.delimiter == delimiter
    assert all(row.problem is None for row in rows)


def test_named_delimiters(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "a:b\n1:2\n")
    assert cells(path, delimiter=":") == [{"a": "1", "b": "2"}]
    assert cells(write(path, "a\tb\n1\t2\n"), delimiter="tab") == [{"a": "1", "b": "2"}]
    assert "one character, or one of comma" in refusal(path, delimiter="::")


@pytest.mark.parametrize(
    "text",
    [
        "Text;Thema\nDie Bäume spenden Schatten;Bäume pflanzen\nDas ist übel;Straßen\n",
        "premise;conclusion\nCafés bring life;Ban cars\n",
        "premise,conclusion\n“It is unfair” - they say,Ban cars\n",
        "premise;conclusion\nIt costs 50€ a year;Ban cars\n",
        "texte\nLes élèves méritent une école où ils apprennent à vivre ensemble.\n",
    ],
)
def test_windows_1252_is_found_and_said(tmp_path: Path, text: str) -> None:
    table, rows = read(write(tmp_path / "t.csv", text, "cp1252"))
    assert [" ".join(row.cells.values()) for row in rows] == [
        line.replace(";", " ").replace(",", " ") for line in text.splitlines()[1:]
    ]
    assert any("not UTF-8: read as Windows-1252; --encoding" in note for note in table.notes)


def test_other_encodings(tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        content = "text\tnote\nBäume\t“x”\n".encode(encoding)
        assert cells(write(tmp_path / "t.txt", content)) == [{"text": "Bäume", "note": "“x”"}]
    russian = "Текст;Тема\nДеревья дают тень и прохладу;Сажать деревья\n"  # noqa: RUF001
    path = write(tmp_path / "t.csv", russian, "cp1251")
    assert cells(path)[0]["Тема"] == "Сажать деревья"
    assert cells(path, encoding="windows-1251") == cells(path)
    assert "not text in utf-8. Name its encoding" in refusal(path, encoding="UTF-8")
    assert "not the name of an encoding" in refusal(path, encoding="excel")
    assert "not the name of an encoding" in refusal(path, encoding="base64")
    assert "; did you mean windows-1252? Examples: utf-8, " in refusal(path, encoding="windws-1252")
    damaged = "text\nBäume über Straßen\n".encode() + b"\xff\n"
    assert "UTF-8 text with broken characters" in refusal(write(path, damaged))
    assert [shown_encoding(name) for name in ("cp1252", "utf-16", "iso8859-15")] == [
        "Windows-1252",
        "UTF-16",
        "ISO8859-15",
    ]


def test_odd_headers_and_rows(tmp_path: Path) -> None:
    content = "text;;text;x\n1;2;3;4\n\n;;;\n1;2\n1;2;3;4;5;6\n1;2;3;4;;\n;;;\n"
    table, rows = read(write(tmp_path / "t.csv", content))
    assert table.columns == ("text", "column 2", "text (2)", "x")
    assert "column 'text' is there twice: the later one is called 'text (2)' now" in table.notes
    assert [row.where for row in rows] == ["line 2", "line 4", "line 5", "line 6", "line 7"]
    assert [row.problem for row in rows] == [
        None,
        "the row is empty",
        "2 cells where the header has 4",
        "6 cells where the header has 4; the rest: 5 | 6",
        None,
    ]
    assert rows[2].cells == {"text": "1", "column 2": "2", "text (2)": "", "x": ""}


def test_the_line_that_tells_excel_the_delimiter(tmp_path: Path) -> None:
    for line_end in ("\n", "\r\n"):
        content = line_end.join(["sep=;", "id;text", "1;We care, you know", '2;"a;b"', ""])
        _, rows = read(write(tmp_path / "t.csv", content))
        assert [row.cells["text"] for row in rows] == ["We care, you know", "a;b"]
        assert [row.where for row in rows] == ["line 3", "line 4"]


def test_titles_above_the_header(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "Survey 2024;;\n;;\nID;Answer;Age\n1;We care;33\n2;;\n")
    table, rows = read(path)
    assert table.columns == ("ID", "Answer", "Age")
    assert "the header is in line 3; what stands above it is left out" in table.notes
    assert [row.where for row in rows] == ["line 4", "line 5"]
    assert len(cells(path, has_header=False)) == 5
    assert cells(write(path, "text\nWe care\n")) == [{"text": "We care"}]
    stray = write(path, "text;\nWe care;\nWe all care;see above\n")
    assert read(stray)[0].columns == ("text", "column 2")


def test_a_column_of_row_numbers_needs_no_name(tmp_path: Path) -> None:
    """Pandas writes its index so; the header is no title."""
    path = write(tmp_path / "t.csv", ",Survey answer\n0,We care\n1,So do we\n")
    assert [row["Survey answer"] for row in cells(path)] == ["We care", "So do we"]
    book = workbook(tmp_path / "t.xlsx", [[None, "Survey answer"], [0, "We care"]])
    assert [row["Survey answer"] for row in cells(book)] == ["We care"]


def test_empty_cells_of_an_only_column_are_rows(tmp_path: Path) -> None:
    """Whoever pastes the labels beside the table must find each beside its text."""
    for name in ("t.csv", "t.txt"):
        _, rows = read(write(tmp_path / name, "\ntext\nA\n\n  \nB\n\n"))
        assert [row.cells["text"] for row in rows] == ["A", "", "", "B"]
        assert [row.problem for row in rows] == [None, *["the row is empty"] * 2, None]
        assert [row.where for row in rows] == ["line 3", "line 4", "line 5", "line 6"]
    quoted = write(tmp_path / "t.csv", 'text\n"A, and\n\nmore"\n\nB\n')
    assert [row["text"] for row in cells(quoted)] == ["A, and\n\nmore", "", "B"]
    texts = write(tmp_path / "t.txt", "We care.\n\nSo do we.\n")
    assert [row["text"] for row in cells(texts, has_header=False)] == ["We care.", "So do we."]


def test_names_in_quotation_marks_are_those_of_a_quoted_table(tmp_path: Path) -> None:
    """R's write.table quotes every text, also in a .tsv; the shared task's files quote none."""
    content = '"id"\t"text"\n"007"\t"We care"\n"008"\t"He said ""no"""\n'
    for name in ("t.tsv", "t.txt"):
        found = cells(write(tmp_path / name, content))
        assert found[1] == {"id": "008", "text": 'He said "no"'}
    plain = 'id\ttext\n1\t"We care, too"\n'
    assert cells(write(tmp_path / "t.tsv", plain)) == [{"id": "1", "text": '"We care, too"'}]


def test_an_only_column_is_quoted_where_its_delimiters_are(tmp_path: Path) -> None:
    """Excel and pandas quote what has a comma (or a semicolon) in it, and nothing else."""
    for comma in (",", ";"):
        content = f'text\nWe care\n"Trees{comma} they say"\n'
        assert [r["text"] for r in cells(write(tmp_path / "t.csv", content))] == [
            "We care",
            f"Trees{comma} they say",
        ]
    quotation = 'text\n"We care, all"\nYes, we do\n"No"\n'
    found = [row["text"] for row in cells(write(tmp_path / "t.csv", quotation))]
    assert found == ['"We care, all"', "Yes, we do", '"No"']


def test_a_named_encoding_reads_the_byte_order_mark(tmp_path: Path) -> None:
    for encoding, named in (
        ("utf-8-sig", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16-le"),
        ("utf-32", "utf-32"),
    ):
        path = write(tmp_path / "t.csv", "Premise,x\nBäume,1\n", encoding)
        assert cells(path, encoding=named) == [{"Premise": "Bäume", "x": "1"}]
    path = write(tmp_path / "t.csv", "Premise,x\nBäume,1\n", "utf-8-sig")
    assert read(path, encoding="cp1252")[0].columns[0].endswith("Premise")


def test_numbers_of_any_language_are_no_formulas(tmp_path: Path) -> None:
    numbers = ["-0,75", "+1.200,5", "-50%", "-50 %", "-1.2e-05", "-3"]
    formulas = ["-1+1", "=1", "@x", "+cmd|'/c calc'!A0", "-", "-2,5,a"]
    rows = [{"a": text, "b": "x"} for text in (*numbers, *formulas)]
    path = write(tmp_path / "t.csv", written("csv", rows, guard_formulas=True))
    assert [row["a"] for row in cells(path)] == [*numbers, *(f"'{text}" for text in formulas)]


def test_no_header(tmp_path: Path) -> None:
    path = write(tmp_path / "t.txt", "We should plant many more trees.\nThey are beautiful.\n")
    assert "give --no_header" in refusal(path)
    found = cells(path, has_header=False)
    assert [row["text"] for row in found] == path.read_text().splitlines()
    path = write(tmp_path / "t.csv", "1,x\n2,y\n")
    assert cells(path, has_header=False)[0] == {"column 1": "1", "column 2": "x"}


def test_empty_tables(tmp_path: Path) -> None:
    for content in ("", "\n\n", "\ufeff"):
        table, rows = read(write(tmp_path / "t.csv", content))
        assert (table.columns, rows) == ((), [])
    table, rows = read(write(tmp_path / "t.csv", "text,note\n"))
    assert (table.columns, rows) == (("text", "note"), [])


def test_long_cells(tmp_path: Path) -> None:
    long = "x" * 300_000
    assert cells(write(tmp_path / "t.csv", f"a,b\n{long},1\n")) == [{"a": long, "b": "1"}]


# ------------------------------------------------------------------------------------- output


def test_output_keeps_what_came_in(tmp_path: Path) -> None:
    semicolons = "id;text\r\n1;Bäume\r\n"
    table, _ = read(write(tmp_path / "t.csv", semicolons, "cp1252"))
    same = output_dialect(table, "csv", same_ending=True)
    assert same == Dialect(";", True, "cp1252", "\r\n")
    content = written("csv", [{"id": "1", "text": "Bäume"}], dialect=same)
    assert content == semicolons.encode("cp1252")
    assert output_dialect(table, "csv", same_ending=False) == Dialect(";")
    assert output_dialect(table, "tsv", same_ending=False) == Dialect("\t", quoted=False)
    table, _ = read(write(tmp_path / "t.txt", "text\nx\n"))
    assert output_dialect(table, "csv", same_ending=True) == Dialect(",")


def test_what_a_dialect_cannot_hold() -> None:
    with pytest.raises(ValueEvalError, match=r"line 2: a tab or line break inside a cell"):
        written("tsv", [{"a": "x\ty"}])
    with pytest.raises(ValueEvalError, match=r"line 2: '木' cannot be written in Windows-1252"):
        written("csv", [{"a": "木"}], dialect=Dialect(encoding="cp1252"))


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_nothing_that_a_spreadsheet_runs(tmp_path: Path, form: str) -> None:
    """Cells and headers that begin as formulas do; numbers stay numbers."""
    hostile = {"=cmd|'/c calc'!A0": "=1+1", "b": "@SUM(A1)", "c": "-5", "d": "-5+cmd", "e": 2}
    content = written(form, [hostile], guard_formulas=True)
    if form == "csv":
        header, row = csv.reader(io.StringIO(content.decode(), newline=""))
        assert header[0] == "'=cmd|'/c calc'!A0"
        assert row == ["'=1+1", "'@SUM(A1)", "-5", "'-5+cmd", "2"]
        return
    sheet = load_workbook(io.BytesIO(content)).active
    assert [[cell.data_type for cell in row] for row in sheet.iter_rows()] == [
        ["s"] * 5,
        ["s", "s", "s", "s", "n"],
    ]
    assert cells(write(tmp_path / "t.xlsx", content)) == [hostile]


values = st.one_of(
    cell_texts.filter(lambda text: bool(text.strip()) and len(text) < 1000),
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.booleans(),
)


@given(st.lists(st.tuples(values, values), min_size=1))
def test_excel_gives_back_what_it_was_given(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[Any, Any]]
) -> None:
    rows = [{"one": one, "two": two} for one, two in pairs]
    path = write(tmp_path_factory.getbasetemp() / "any.xlsx", written("xlsx", rows))
    assert cells(path) == rows


def test_excel_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for long in ("x" * 32_768, ["x" * 32_768], {"a": "x" * 32_768}):
        with pytest.raises(ValueEvalError, match=r"line 2: a text of more than 32,767 characters"):
            written("xlsx", [{"a": long}])
    monkeypatch.setattr(excel, "MAX_ROWS", 2)
    with pytest.raises(ValueEvalError, match=r"line 3: Excel holds 2 rows at most"):
        written("xlsx", [{"a": 1}, {"a": 2}])


def test_parquet_keeps_types(tmp_path: Path) -> None:
    source = pa.table({"n": pa.array([1, None], pa.int32()), "t": ["a", "b"], "l": [[1], []]})
    parquet.write_table(source, tmp_path / "in.parquet")
    table, rows = read(tmp_path / "in.parquet")
    assert [row.cells for row in rows] == source.to_pylist()
    added = [{**row.cells, "p": 0.5, "d": 1} for row in rows]
    kinds = {"p": float, "d": int}
    path = write(
        tmp_path / "o.parquet", written("parquet", added, kinds=kinds, schema=table.schema)
    )
    found = parquet.read_table(path)
    assert found.select(["n", "t", "l"]).equals(source)
    assert (found["p"].to_pylist(), found["d"].type) == ([0.5, 0.5], pa.int64())
    assert cells(write(path, written("parquet", [{"a": [1]}, {"a": None}]))) == [
        {"a": "[1]"},
        {"a": None},
    ]


def test_json_lines(tmp_path: Path) -> None:
    content = (
        '{"a": "x", "b": [1, null]}\n\n[1]\n{"a": 1\n{"a": NaN}\n{"a": "\\ud800"}\n{"a": 1e999}\n'
        + '{"a": ' + "7" * 5000 + "}\n" + '{"c": true}\n'
    )  # fmt: skip
    table, rows = read(write(tmp_path / "t.jsonl", content))
    assert table.columns == ("a", "b", "unreadable_line", "c")
    assert [row.where for row in rows] == [f"line {n}" for n in (1, 3, 4, 5, 6, 7, 8, 9)]
    problems = [row.problem or "" for row in rows]
    assert problems[0] == problems[-1] == ""
    assert problems[1] == "not a JSON object"
    assert all(problem.startswith("not valid JSON: ") for problem in problems[2:-1])
    assert rows[1].cells == {"unreadable_line": "[1]"}
    utf16 = write(tmp_path / "u.jsonl", '{"a": "ä\u2028"}\n{"a": "b"}\n', "utf-16")
    assert cells(utf16) == [{"a": "ä\u2028"}, {"a": "b"}]


# ------------------------------------------------------------------------------------- Excel


def workbook(path: Path, rows: Sequence[Sequence[Any]], **more: Sequence[Sequence[Any]]) -> Path:
    book = Workbook()
    for title, content in {"Sheet": rows, **more}.items():
        sheet = book["Sheet"] if title == "Sheet" else book.create_sheet(title)
        for row in content:
            sheet.append(row)
    book.save(path)
    return path


def test_sheets(tmp_path: Path) -> None:
    one, two = [["text"], ["a"]], [["text"], ["b"]]
    path = workbook(tmp_path / "t.xlsx", one, Empty=[], Second=two)
    assert (
        "several sheets hold something: choose one by --sheet NAME. Sheets: 'Sheet', 'Second'"
        in (refusal(path))
    )
    assert cells(path, sheet="Second") == [{"text": "b"}]
    assert "no sheet 'Third' (--sheet). Sheets:" in refusal(path, sheet="Third")
    assert "(--sheet); did you mean Second? Sheets:" in refusal(path, sheet="second")
    book = load_workbook(path)
    book["Second"].sheet_state = "hidden"
    book.save(path)
    assert cells(path) == [{"text": "a"}]
    assert "--sheet is for Excel" in refusal(write(tmp_path / "t.csv", "a\n1\n"), sheet="Second")


def test_titles_merged_cells_formulas_and_gaps(tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.active
    sheet.append(["Our survey, 2024"])
    sheet.append([])
    sheet.append(["Topic", "Text", "Words"])
    sheet.append(["Cars", "They are loud", "=LEN(B4)"])
    sheet.append([None, "They are fast", None])
    sheet.append([])
    sheet.append(["Trees", "They give shade", 3])
    sheet.merge_cells("A4:A5")
    sheet.merge_cells("A1:C1")
    sheet["C400"].number_format = "0.0"  # a formatted cell without content, far below
    book.save(tmp_path / "t.xlsx")
    table, rows = read(tmp_path / "t.xlsx")
    assert [tuple(row.cells.values()) for row in rows] == [
        ("Cars", "They are loud", None),
        ("Cars", "They are fast", None),
        (None, None, None),
        ("Trees", "They give shade", 3),
    ]
    assert [row.where for row in rows] == ["row 4", "row 5", "row 6", "row 7"]
    assert [row.problem for row in rows] == [None, None, "the row is empty", None]
    assert "the header is in row 3; what stands above it is left out" in table.notes
    assert any("formulas count by the values that Excel stored" in note for note in table.notes)
    assert any("merged cells" in note for note in table.notes)


def test_leading_zeros_days_and_infinities_stay(tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.active
    sheet.append(["id", "text", "day", "time", "share"])
    day = datetime.datetime(2024, 3, 1)
    sheet.append([7, "We care", day, day.replace(hour=9), 0.25])
    for cell, form in (("A2", "00000"), ("C2", "dd.mm.yyyy"), ("D2", "dd.mm.yyyy hh:mm"),
                       ("E2", "0%")):  # fmt: skip
        sheet[cell].number_format = form
    book.save(tmp_path / "t.xlsx")
    expected = {"id": "00007", "text": "We care", "day": day.date(), "time": day.replace(hour=9),
                "share": 0.25}  # fmt: skip
    assert cells(tmp_path / "t.xlsx") == [expected]
    again = write(tmp_path / "o.xlsx", written("xlsx", [expected]))
    assert cells(again) == [expected]
    assert b"00007,We care,2024-03-01,2024-03-01T09:00:00,0.25" in written("csv", [expected])
    path = write(tmp_path / "i.xlsx", written("xlsx", [{"a": float("inf"), "b": 1}]))
    assert cells(path) == [{"a": "inf", "b": 1}]


def test_wide_sheets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = workbook(tmp_path / "t.xlsx", [[f"q{n}" for n in range(1100)], [1] * 1100])
    assert len(cells(path)[0]) == 1100
    monkeypatch.setattr(excel, "_MAX_CELLS", 2000)
    assert "2 rows of up to 1,100 columns, which would take too much memory" in refusal(path)


def test_what_is_no_workbook(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    assert "is no Excel workbook, whatever its name says" in refusal(write(path, "a,b\n1,2\n"))
    assert cells(path, form="csv") == [{"a": "1", "b": "2"}]
    assert "an old Excel file (.xls), or one with a password" in refusal(
        write(path, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
    )
    assert "is no Excel workbook" in refusal(write(path, b"PK\x03\x04 and no more"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "x")
    assert "an archive, but no Excel workbook" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
    assert "cannot be read as an Excel workbook" in refusal(path)


def parts_of(path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            yield name, archive.read(name)


def test_zip_bombs_are_not_unpacked(tmp_path: Path) -> None:
    source = workbook(tmp_path / "s.xlsx", [["text"], ["a"]])
    path = tmp_path / "bomb.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts_of(source):
            more = b" " * (100 << 20) if name == "xl/worksheets/sheet1.xml" else b""
            archive.writestr(name, content + more)
    assert "times its size, which is not safe to read" in refusal(path)


def test_a_cell_at_the_edge_of_a_sheet_costs_nothing(tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.active
    sheet["A1"], sheet["B1"], sheet["A2"] = "text", "note", "a"
    sheet["XFD1048576"] = "far away"
    book.save(tmp_path / "t.xlsx")
    table, rows = read(tmp_path / "t.xlsx")
    assert rows[0].cells == {"text": "a", "note": None} | dict.fromkeys(table.columns[2:])
    assert len(table.columns) <= 1000
    assert len(rows) <= 102
    assert "cells beyond column 1,000 have no name and are left out" in table.notes


def test_entities_in_xml_are_not_expanded(tmp_path: Path) -> None:
    source = workbook(tmp_path / "s.xlsx", [["text"], ["a"]])
    path = tmp_path / "t.xlsx"
    lol = b"".join(b'<!ENTITY l%d "%s">' % (n + 1, b"&l%d;" % n * 10) for n in range(1, 9))
    declared = b'<!DOCTYPE x [<!ENTITY l1 "lol">' + lol + b"]>"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts_of(source):
            if name == "xl/sharedStrings.xml":
                start = content.find(b"<sst")
                content = content[:start] + declared + content[start:].replace(b"text", b"&l9;")
            archive.writestr(name, content)
    assert "lol" not in str(read(path))


# ----------------------------------------------------------------------------------- formats


def test_formats(tmp_path: Path) -> None:
    assert [format_of_name(f"a.{x}") for x in ("CSV", "txt", "ndjson", "xlsm", "pq", "json")] == [
        "csv", "csv", "jsonl", "xlsx", "parquet", None,
    ]  # fmt: skip
    assert "Known endings: .csv, .tsv" in refusal(write(tmp_path / "t.docx", "x"))
    renamed = workbook(tmp_path / "t.csv", [["text"], ["a"]])
    assert read(renamed)[0].form == "xlsx"
    assert "is no Parquet file" in refusal(write(tmp_path / "t.parquet", "x"))
    assert "cannot be read as Parquet" in refusal(write(tmp_path / "t.parquet", "PAR1x"))
    assert "cannot be read" in refusal(tmp_path / "none.csv")
    assert "--delimiter is for text tables" in refusal(
        write(tmp_path / "t.jsonl", "{}"), delimiter=";"
    )


@pytest.mark.parametrize("form", ["csv", "jsonl", "xlsx", "parquet"])
def test_standard_input_of_any_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(written(form, ROWS)))
    monkeypatch.setattr("sys.stdin", stream)
    table, rows = read(Path("-"))
    assert (table.name, table.form) == ("standard input", form)
    assert [row.cells for row in rows] == ROWS
