"""Tables of people's own arguments, row by row: TSV, CSV and JSON Lines, in and out.

A row is a dict from column to content. TSV is as in the shared task: no quoting, so no tab or line
break inside a field. CSV is quoted as spreadsheets do. JSON Lines is one object a line. All UTF-8;
a byte order mark and Windows line ends are accepted, empty lines are skipped.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from valueeval.tasks.errors import ValueEvalError

FORMATS = ("tsv", "csv", "jsonl")
Row = dict[str, Any]


def format_of(path: str, given: str | None, option: str) -> str:
    """The format of a file, by its ending or as ``given``.

    Raises:
        ValueEvalError: Neither says it.
    """
    if given is not None:
        return given
    ending = Path(path).suffix.lstrip(".").lower()
    if ending not in FORMATS:
        allowed = ", ".join(f".{name}" for name in FORMATS)
        raise ValueEvalError(
            f"{path}: the format is not clear from the name. Known endings: {allowed}; or say it "
            f"by {option}."
        )
    return ending


def read_rows(stream: BinaryIO, name: str, form: str) -> Iterator[tuple[int, Row]]:
    """The rows of a table with the line that each begins at (the first line is 1).

    Args:
        stream: The table's bytes.
        name: What to call it in messages.
        form: One of ``FORMATS``.

    Raises:
        ValueEvalError: Something cannot be read; the message names the line.
    """
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    reader = _READERS[form](text, name)
    line = 1
    try:
        for line, row in reader:
            yield line, row
    except UnicodeDecodeError as error:
        raise ValueEvalError(f"{name}: after line {line}: not UTF-8 text.") from error
    except OSError as error:
        raise ValueEvalError(f"{name}: cannot be read ({error.strerror or error}).") from error
    finally:
        text.detach()  # the stream is the caller's to close


def writer_of(form: str) -> TableWriter:
    """A writer of one of ``FORMATS``."""
    return JsonWriter() if form == "jsonl" else DelimitedWriter(form)


class TableWriter:
    """Turns rows into text, all of them with the columns of the first."""

    def text(self, row: Row, where: str) -> str:
        """One row's text, before it a header's where the format has one and this is the first.

        Raises:
            ValueEvalError: The format cannot hold it; the message begins with ``where``.
        """
        raise NotImplementedError


class JsonWriter(TableWriter):
    """JSON Lines: whatever a row has."""

    def text(self, row: Row, where: str) -> str:
        """The row as a JSON object and a line end."""
        return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


class DelimitedWriter(TableWriter):
    """TSV without quoting, or CSV with it; what is no text is written as JSON, null as nothing."""

    def __init__(self, form: str) -> None:
        self._is_tsv = form == "tsv"
        self._columns: list[str] | None = None

    def text(self, row: Row, where: str) -> str:
        """The row's cells, joined; the first time with the column names before it."""
        columns = list(row)
        head = ""
        if self._columns is None:
            head = self._join(columns, f"{where}, a column's name")
            self._columns = columns
        if columns != self._columns:
            odd = sorted(set(columns) ^ set(self._columns)) or columns
            raise ValueEvalError(
                f"{where}: field {odd[0]!r} is not in every line, or not in the same place; a "
                "table needs that. Write .jsonl."
            )
        return head + self._join([_cell(content) for content in row.values()], where)

    def _join(self, cells: Sequence[str], where: str) -> str:
        if not self._is_tsv:
            out = io.StringIO()
            # With this line end both of its characters are quoted inside a field.
            csv.writer(out, lineterminator="\r\n").writerow(cells)
            return out.getvalue().removesuffix("\r\n") + "\n"
        for cell in cells:
            if any(character in cell for character in "\t\n\r"):
                raise ValueEvalError(
                    f"{where}: a tab or line break inside a field, which TSV cannot hold. "
                    "Write .csv or .jsonl."
                )
        return "\t".join(cells) + "\n"


def _cell(content: Any) -> str:
    if isinstance(content, str):
        return content
    if type(content) in (int, float):
        return str(content)
    return "" if content is None else json.dumps(content, ensure_ascii=False)


def _read_tsv(text: TextIO, name: str) -> Iterator[tuple[int, Row]]:
    lines = ((number, line.rstrip("\r\n")) for number, line in enumerate(text, start=1))
    return _with_header(((number, line.split("\t")) for number, line in lines if line), name)


def _read_csv(text: TextIO, name: str) -> Iterator[tuple[int, Row]]:
    return _with_header(_csv_records(text, name), name)


def _csv_records(text: TextIO, name: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(text, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueEvalError(
                f"{name}, line {line}: not valid CSV ({error}). Is a quotation mark missing?"
            ) from error
        if record:
            yield line, record


def _with_header(records: Iterator[tuple[int, list[str]]], name: str) -> Iterator[tuple[int, Row]]:
    _, header = next(records, (0, []))
    for column in header:
        if header.count(column) > 1:
            raise ValueEvalError(f"{name}, line 1: column {column!r} is there twice.")
    for line, fields in records:
        if len(fields) != len(header):
            raise ValueEvalError(
                f"{name}, line {line}: {len(fields)} fields where the first line has {len(header)}."
            )
        yield line, dict(zip(header, fields, strict=True))


def _read_jsonl(text: TextIO, name: str) -> Iterator[tuple[int, Row]]:
    for line, content in enumerate(text, start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content, parse_constant=_refuse_constant)
            json.dumps(row, ensure_ascii=False).encode()  # half a surrogate pair is no text
        except (ValueError, RecursionError) as error:
            raise ValueEvalError(f"{name}, line {line}: not valid JSON: {error}.") from error
        if not isinstance(row, dict):
            raise ValueEvalError(f"{name}, line {line}: not a JSON object.")
        yield line, row


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


_READERS: dict[str, Callable[[TextIO, str], Iterator[tuple[int, Row]]]] = {
    "tsv": _read_tsv,
    "csv": _read_csv,
    "jsonl": _read_jsonl,
}
