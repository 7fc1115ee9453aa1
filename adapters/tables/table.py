"""Opens a table of whatever kind it is, and writers for every kind."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from valueeval.adapters.tables.delimited import (
    DELIMITERS,
    NO_DELIMITER,
    DelimitedWriter,
    Dialect,
    find_dialect,
    read_header_and_rows,
)
from valueeval.adapters.tables.encodings import (
    check_encoding,
    find_encoding,
    shown_encoding,
    with_mark,
)
from valueeval.adapters.tables.excel import ExcelWriter, read_sheet
from valueeval.adapters.tables.jsonl import JsonLinesWriter, read_json_lines
from valueeval.adapters.tables.parquet import ParquetWriter, open_parquet, read_parquet
from valueeval.adapters.tables.rows import Header, Record
from valueeval.tasks.errors import ValueEvalError

FORMATS = ("csv", "tsv", "jsonl", "xlsx", "parquet")
_BY_ENDING = {
    **{name: name for name in FORMATS},
    **{"txt": "csv", "tab": "tsv", "ndjson": "jsonl", "xlsm": "xlsx", "pq": "parquet"},
}
ENDINGS = ", ".join(f".{name}" for name in FORMATS)
_WORDS = {
    "comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "bar": "|", "pipe": "|",
}  # fmt: skip


@dataclass(frozen=True)
class TableOptions:
    """The user's options for reading a table.

    Attributes:
        form: One of ``FORMATS``; ``None``: by its ending and first bytes.
        delimiter: What separates cells: one character, or ``comma``, ``semicolon``, ``tab``.
        encoding: The encoding's name.
        sheet: The sheet of an Excel workbook.
        has_header: Whether the first row names the columns.
    """

    form: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    sheet: str | None = None
    has_header: bool = True


@dataclass(frozen=True)
class InputTable:
    """A table that has been opened; its rows can be read any number of times.

    Attributes:
        name: What messages call it.
        form: One of ``FORMATS``.
        columns: Every column that a row can have.
        read_rows: Returns an iterator over the rows, from the first.
        notes: What was found out and may be wrong, for people.
        dialect: How it is written, if it is delimited text.
        schema: ``pyarrow.Schema`` of a Parquet file.
    """

    name: str
    form: str
    columns: tuple[str, ...]
    read_rows: Callable[[], Iterator[Record]]
    notes: tuple[str, ...] = ()
    dialect: Dialect | None = None
    schema: Any = field(default=None, compare=False)


class TableWriter(Protocol):
    """Writes rows, one after another."""

    def write(self, row: Record) -> None:
        """Write one row."""

    def close(self) -> None:
        """Write what is left; the stream stays open."""

    def discard(self) -> None:
        """Let go of the stream after an error, so that nothing is written later."""


@contextmanager
def opened_table(path: str, options: TableOptions) -> Iterator[InputTable]:
    """Open a table; ``-`` is standard input, which is copied to a temporary file first.

    Raises:
        ValueEvalError: It cannot be read, or it is not clear how.
    """
    name = "standard input" if path == "-" else path
    with _opened(path) as stream:
        yield _open(stream, name, "" if path == "-" else Path(path).suffix, options)


def format_of_name(path: str) -> str | None:
    """Return the format that a file's name says; ``None`` if it says none."""
    return _BY_ENDING.get(Path(path).suffix.lstrip(".").lower())


def output_dialect(table: InputTable | None, form: str, same_ending: bool) -> Dialect:
    """Return how to write delimited text: as the table came in, if the name says the same.

    Args:
        table: What came in.
        form: ``csv`` or ``tsv``.
        same_ending: Whether the names of both files end alike.
    """
    came = table.dialect if table is not None else None
    if came is not None and came.delimiter == NO_DELIMITER:
        came = Dialect(",", True, came.encoding, came.line_end)
    if came is not None and same_ending:
        # Without quoting only tables with tabs can hold what is added to them.
        return came if came.delimiter == "\t" else replace(came, quoted=True)
    if form == "tsv":
        return Dialect("\t", quoted=False)
    return Dialect(came.delimiter if came is not None and came.delimiter == ";" else ",")


@contextmanager
def opened_writer(
    form: str,
    stream: BinaryIO,
    columns: Sequence[str],
    *,
    dialect: Dialect | None = None,
    kinds: Mapping[str, type] | None = None,
    schema: Any = None,
    guard_formulas: bool = False,
) -> Iterator[TableWriter]:
    """Give a writer, whose file is whole when the block ends without an error.

    Args:
        form: One of ``FORMATS``.
        stream: Where to write; it stays open.
        columns: The columns of every row.
        dialect: How to write delimited text.
        kinds: Types of columns that are numbers, for Parquet.
        schema: The other columns' types, for Parquet.
        guard_formulas: Whether delimited text is for a spreadsheet, which must not run it.
    """
    writer: TableWriter
    if form == "xlsx":
        writer = ExcelWriter(stream, columns)
    elif form == "parquet":
        writer = ParquetWriter(stream, columns, kinds or {}, schema)
    elif form == "jsonl":
        writer = JsonLinesWriter(stream)
    else:
        dialect = dialect or output_dialect(None, form, False)
        writer = DelimitedWriter(stream, columns, dialect, guard_formulas)
    try:
        yield writer
    except BaseException:
        writer.discard()
        raise
    writer.close()


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
            copy.seek(0)
            yield copy
        return
    try:
        stream = Path(path).open("rb")  # noqa: SIM115 (closed below; only opening may fail so)
    except OSError as error:
        raise ValueEvalError(f"{path}: cannot be read ({error.strerror or error}).") from error
    with stream:
        if not stream.seekable():  # a pipe: `<(…)` of a shell
            with tempfile.TemporaryFile() as copy:
                shutil.copyfileobj(stream, copy)
                copy.seek(0)
                yield copy
            return
        yield stream


def _open(stream: BinaryIO, name: str, ending: str, options: TableOptions) -> InputTable:
    form = options.form or _found_form(stream, name, ending)
    if options.sheet is not None and form != "xlsx":
        raise ValueEvalError(f"{name}: --sheet is for Excel workbooks; this is read as {form}.")
    if options.delimiter is not None and form not in ("csv", "tsv"):
        raise ValueEvalError(f"{name}: --delimiter is for text tables; this is read as {form}.")
    if form == "xlsx":
        header, rows = read_sheet(stream, name, options.sheet, options.has_header)
        return InputTable(name, form, header.columns, lambda: iter(rows), header.notes)
    if form == "parquet":
        schema = open_parquet(stream, name).schema_arrow
        read = partial(_from_start, stream, lambda: read_parquet(stream, name))
        return InputTable(name, form, tuple(schema.names), read, schema=schema)
    given = options.encoding and with_mark(stream, check_encoding(options.encoding))
    encoding = given or find_encoding(stream, name)
    notes = []
    if not given and not encoding.startswith("utf-8"):
        shown = shown_encoding(encoding)
        notes.append(f"not UTF-8: read as {shown}; --encoding names another encoding")
    if form == "jsonl":
        read = partial(_from_start, stream, lambda: read_json_lines(stream, name, encoding))
        columns = tuple(dict.fromkeys(column for row in read() for column in row.cells))
        return InputTable(name, form, columns, read, tuple(notes))
    return _open_delimited(stream, name, form, ending, encoding, notes, options)


def _open_delimited(
    stream: BinaryIO,
    name: str,
    form: str,
    ending: str,
    encoding: str,
    notes: list[str],
    options: TableOptions,
) -> InputTable:
    delimiter = options.delimiter and _delimiter(options.delimiter)
    official = form == "tsv"
    if official and options.form == "tsv":
        delimiter = delimiter or "\t"
    dialect = find_dialect(stream, name, encoding, delimiter, by_quotes=not official)
    if dialect.delimiter not in ("\t" if official else ",", NO_DELIMITER):
        notes.append(dialect.described)

    def read() -> tuple[Header, Iterator[Record]]:
        stream.seek(0)
        return read_header_and_rows(stream, name, dialect, options.has_header)

    header, _ = read()
    alone = dialect.delimiter == NO_DELIMITER and options.has_header
    if alone and header.columns and len(header.columns[0].split()) > 5:
        raise ValueEvalError(
            f"{name}: the first line looks like a text and not like a column's name. Write a line "
            "«text» before it, or give --no_header."
        )
    return InputTable(
        name, form, header.columns, lambda: read()[1], (*notes, *header.notes), dialect
    )


def _from_start(stream: BinaryIO, read: Callable[[], Iterator[Record]]) -> Iterator[Record]:
    stream.seek(0)
    return read()


def _found_form(stream: BinaryIO, name: str, ending: str) -> str:
    """Return the format by the first bytes, which cannot lie, else by the ending, else text."""
    head = stream.read(1 << 12)
    stream.seek(0)
    if head.startswith(b"PK\x03\x04"):
        return "xlsx"
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        raise ValueEvalError(
            f"{name}: an old Excel file (.xls), or one with a password. Open it in Excel and save "
            "it as .xlsx without a password."
        )
    said = _BY_ENDING.get(ending.lstrip(".").lower())
    if said in ("xlsx", "parquet") and head:
        kind = "Excel workbook" if said == "xlsx" else "Parquet file"
        raise ValueEvalError(
            f"{name}: is no {kind}, whatever its name says. If it is text, give --input_format csv."
        )
    if said is not None:
        return said
    if ending and ending.lower() not in (".dat", ".data"):
        raise ValueEvalError(
            f"{name}: the format is not clear from the name. Known endings: {ENDINGS}; or say it "
            "by --input_format."
        )
    return "jsonl" if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{") else "csv"


def _delimiter(given: str) -> str:
    character = _WORDS.get(given.lower(), given)
    if len(character) != 1 or character in '"\r\n':
        raise ValueEvalError(
            f"--delimiter {given}: one character, or one of {', '.join(DELIMITERS.values())}."
        )
    return character
