"""The output of labelled rows: its name, format and dialect; the file is written whole."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from valueeval.adapters.predict.labelling import PROBLEM_COLUMN, LabelledRow
from valueeval.adapters.tables.delimited import Dialect
from valueeval.adapters.tables.excel import SheetLimits
from valueeval.adapters.tables.rows import Record
from valueeval.adapters.tables.table import (
    ENDINGS,
    InputTable,
    format_of_name,
    opened_writer,
    output_dialect,
)
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.files import replacing


@dataclass(frozen=True)
class Output:
    """The file that labelled rows are written to, and its form.

    Attributes:
        path: The file; ``-`` is standard output.
        form: Its format, one of ``valueeval.adapters.tables.table.FORMATS``.
        dialect: How delimited text is written; ``None`` for the other formats.
        for_excel: True if it must be safe and correct in Excel.
    """

    path: str
    form: str
    dialect: Dialect | None
    for_excel: bool

    def record(self, labelled: LabelledRow, prefix: str) -> Record:
        """Return a row to write, its problem with ``?`` for what the encoding cannot hold.

        A model's odd answer must not end a long run whose table could be read.
        """
        encoding = "utf-8" if self.dialect is None else self.dialect.encoding
        cells = labelled.cells(prefix)
        problem = cells[prefix + PROBLEM_COLUMN].encode(encoding, "replace")
        cells[prefix + PROBLEM_COLUMN] = problem.decode(encoding)
        return Record(labelled.row.where, cells)


def choose_output(
    table: InputTable, came_from: str, path: str | None, form: str | None, for_excel: bool
) -> Output:
    """Return where to write: as the names say, else beside the table and as it came in.

    Args:
        table: The table that was read.
        came_from: Its path; ``-`` is standard input.
        path: The output's path, if it was given.
        form: Its format, if it was given.
        for_excel: True if Excel will open it.

    Raises:
        ValueEvalError: The format is not clear, or is none that Excel opens.
    """
    if path is None:
        path = "-" if came_from == "-" else _beside(table, came_from, form, for_excel)
    same_ending = path == "-" or Path(path).suffix.lower() == Path(came_from).suffix.lower()
    said = None if path == "-" else format_of_name(path)
    if form is None and path == "-":
        form = "csv" if for_excel and table.form != "xlsx" else table.form
    form = form or said
    if form is None:
        raise ValueEvalError(
            f"{path}: the format is not clear from the name. Known endings: {ENDINGS}; or say it "
            "by --output_format."
        )
    if for_excel and form not in ("xlsx", "csv"):
        raise ValueEvalError(
            f"{path}: --for_excel writes .xlsx or .csv; name the output accordingly."
        )
    if path == "-" and form in ("xlsx", "parquet") and sys.stdout.isatty():
        raise ValueEvalError("Name a file by -o: a terminal cannot show this format.")
    dialect = None
    if form in ("csv", "tsv"):
        dialect = output_dialect(table, form, same_ending and table.form == form)
        if for_excel:
            delimiter = ";" if dialect.delimiter == ";" else ","
            dialect = Dialect(delimiter, True, "utf-8-sig", "\r\n")
    return Output(path, form, dialect, for_excel)


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Refuse to write over a file unless told to.

    Raises:
        ValueEvalError: It is a folder, or it exists and ``overwrite`` is false.
    """
    if path.is_dir():
        raise ValueEvalError(f"{path}: this is a folder. Name a file.")
    if path.exists() and not overwrite:
        raise ValueEvalError(f"{path}: exists already. Name another file, or give --overwrite.")


@contextmanager
def whole_file(path: str, overwrite: bool) -> Iterator[BinaryIO]:
    """Open a file that appears under its name when everything is written; ``-``: stdout.

    Yields:
        Where to write.

    Raises:
        ValueEvalError: It exists already, or cannot be written.
    """
    if path == "-":
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(path)
    refuse_existing(target, overwrite)
    try:
        with replacing(target) as temporary, temporary.open("wb") as stream:
            yield stream
    except OSError as error:
        raise ValueEvalError(f"{path}: cannot be written ({error.strerror or error}).") from error


def _beside(table: InputTable, came_from: str, form: str | None, for_excel: bool) -> str:
    """Return ``survey-labelled.csv`` for ``survey.csv``."""
    source = Path(came_from)
    ending = f".{form}" if form is not None else source.suffix
    if form is None and (format_of_name(came_from) is None or not source.suffix):
        ending = f".{table.form}"
    if for_excel and form is None:
        ending = ".xlsx"
    if ending == ".xlsm":
        ending = ".xlsx"  # without macros
    return str(source.with_name(f"{source.stem}-labelled{ending}"))


class _Nowhere(io.RawIOBase):
    """A stream that forgets what is written to it."""

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        return len(content)


@contextmanager
def checking_writer(output: Output, columns: Sequence[str]) -> Iterator[Callable[[Record], None]]:
    """Give a function that raises what writing a row to an output would, and writes nothing."""
    if output.dialect is not None:
        with opened_writer(
            output.form, cast(BinaryIO, _Nowhere()), columns, dialect=output.dialect
        ) as writer:
            yield writer.write
    elif output.form == "xlsx":
        yield SheetLimits().check
    else:
        yield lambda row: None
