"""Text tables with a delimiter: which one, whether cells are quoted, reading and writing.

Python's csv module reads them rather than pandas: rows with too few or too many cells are to be
kept and named, which ``pandas.read_csv`` fills up or refuses.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, BinaryIO

from valueeval.adapters.tables.encodings import shown_encoding
from valueeval.adapters.tables.rows import Header, Record, as_text, title_rows, without_blank_end
from valueeval.tasks.errors import ValueEvalError

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
NO_DELIMITER = "\x1f"  # the unit separator: stands between the columns of a table that has one
_SAMPLE = 1 << 20  # characters that the dialect is read from
_SAID = re.compile("sep=(.)\r?\n")  # a first line that tells Excel the delimiter
_TITLE_ROWS = 10  # the header is one of the first
# Of any language: «-0,75», «+1.200,5», «-50 %», «-1.2e-05».
_NUMBER = re.compile(r"[+-]?\d[\d.,]*(?:[eE][+-]?\d+)?[ \xa0]?%?")
_CSV_LINE = 1 << 30  # the csv module's own limit is 131,072 characters a cell


@dataclass(frozen=True)
class Dialect:
    """How a text table is written.

    Attributes:
        delimiter: What stands between cells; ``NO_DELIMITER`` in a table of one column.
        quoted: Whether ``"`` around a cell protects delimiters and line breaks inside it. If not,
            it is a plain character, as in the files of the shared task.
        encoding: Python's name; ``utf-8-sig`` and ``utf-16`` begin with a byte order mark.
        line_end: What ends a row.
    """

    delimiter: str = ","
    quoted: bool = True
    encoding: str = "utf-8"
    line_end: str = "\n"

    @property
    def described(self) -> str:
        """Return in words what separates the cells."""
        if self.delimiter == NO_DELIMITER:
            return "one column"
        shown = DELIMITERS.get(self.delimiter, repr(self.delimiter))
        return f"separated by {shown}" + ("" if self.quoted else ", no quoting")


def find_dialect(
    stream: BinaryIO, name: str, encoding: str, delimiter: str | None, by_quotes: bool
) -> Dialect:
    """Return the dialect of a text table; the stream is at its start before and after.

    The delimiter is the one that cuts the header, and the rows after it, into the same number of
    cells. Quotation marks protect cells where so read the rows fit better than without; in tables
    with tabs, which mostly have no quoting, only if some cell needs it.

    Args:
        stream: The file.
        name: What to call it in messages.
        encoding: Python's name of its encoding.
        delimiter: The delimiter, if it was given by hand.
        by_quotes: Whether doubled quotation marks are a sign of quoting in a table with tabs;
            they are not in the shared task's ``.tsv``.

    Raises:
        ValueEvalError: It is not text of that encoding.
    """
    with _text_of(stream, encoding, name) as text:
        sample = text.read(_SAMPLE)
        whole = len(sample) < _SAMPLE
    stream.seek(0)
    first_end = sample.find("\n")
    line_end = "\r\n" if sample[first_end - 1 : first_end + 1] == "\r\n" else "\n"
    if said := _SAID.match(sample):
        delimiter = delimiter or said[1]
        sample = sample[said.end() :]
    candidates = (*DELIMITERS, NO_DELIMITER) if delimiter is None else (delimiter,)
    best: tuple[tuple[float, int, int], Dialect] | None = None
    for candidate in candidates:
        quoted, fit, width = _reading(sample, candidate, whole, by_quotes)
        if width == 1 and candidate != NO_DELIMITER and delimiter is None:
            continue
        if best is not None and candidate == NO_DELIMITER and best[0][0] < 0.5:
            best = None
        # «Tea, coffee; milk»: what a blank follows belongs to the text rather than to the table.
        rank = fit, width, -sample.count(f"{candidate} ")
        if best is None or (candidate != NO_DELIMITER and rank > best[0]):
            best = rank, Dialect(candidate, quoted, encoding, line_end)
    assert best is not None  # noqa: S101 (NO_DELIMITER is never passed over without another)
    return best[1]


def read_header_and_rows(
    stream: BinaryIO, name: str, dialect: Dialect, has_header: bool
) -> tuple[Header, Iterator[Record]]:
    """Return the header and an iterator over the rows, which reads as it goes.

    Args:
        stream: The file, at its start.
        name: What to call it in messages.
        dialect: How it is written.
        has_header: Whether the first row names the columns; if not they are ``column 1`` …, and an
            only one is ``text``.

    Returns:
        Rows above the header with a single cell (a title) are left out, which the header's notes
        say. Blank lines are no rows, but in a table of one column with a name: there they are empty
        cells.

    Raises:
        ValueEvalError: It is not text of that encoding, or a quotation mark is missing (also while
            iterating).
    """
    records = _records(stream, name, dialect, has_header and dialect.delimiter == NO_DELIMITER)
    first = list(islice(records, _TITLE_ROWS))
    if not first:
        return Header(()), iter(())
    width = len(first[0][1])
    if not has_header:
        header = Header.of(["text"] if width == 1 else [""] * width)
        return header, _rows(header, chain(first, records))
    title = title_rows([cells for _, cells in first])
    line, cells = first[title]
    header = Header.of(cells)
    if title:
        note = f"the header is in line {line}; what stands above it is left out"
        header.notes = (note, *header.notes)
    return header, _rows(header, chain(first[title + 1 :], records))


def _rows(header: Header, records: Iterator[tuple[int, list[str]]]) -> Iterator[Record]:
    for line, cells in without_blank_end(records):
        where = f"line {line}"
        if cells is None:
            yield Record(where, dict.fromkeys(header.columns, ""), "the row is empty")
        else:
            yield header.row(where, cells)


class DelimitedWriter:
    """Writes rows as delimited text.

    Args:
        stream: Where to.
        columns: The columns of every row.
        dialect: How.
        guard_formulas: Whether to put an apostrophe before text that a spreadsheet would run as a
            formula (``=cmd|…``), as OWASP advises.
    """

    def __init__(
        self,
        stream: BinaryIO,
        columns: Sequence[str],
        dialect: Dialect,
        guard_formulas: bool = False,
    ) -> None:
        self._columns = tuple(columns)
        self._dialect = dialect
        self._guards = guard_formulas
        self._text = io.TextIOWrapper(stream, encoding=dialect.encoding, newline="")
        self._line = io.StringIO()
        # With this line end both of its characters are quoted inside a cell.
        self._csv = csv.writer(self._line, delimiter=dialect.delimiter, lineterminator="\r\n")
        self._has_header = False

    def write(self, row: Record) -> None:
        """Write one row; columns that it lacks stay empty.

        Raises:
            ValueEvalError: The dialect or the encoding cannot hold a cell.
        """
        if not self._has_header:
            self._write(self._columns, "the header")
            self._has_header = True
        self._write([row.cells.get(column) for column in self._columns], row.where)

    def close(self) -> None:
        """Flush; the stream stays open."""
        if not self._has_header:
            self._write(self._columns, "the header")
        self._text.flush()
        self._text.detach()

    def discard(self) -> None:
        """Let go of the stream, which is not whole."""
        with suppress(OSError, ValueError):  # a reader that has gone, reported by whoever flushed
            self._text.detach()

    def _write(self, cells: Sequence[Any], where: str) -> None:
        line = self._joined(list(map(self._guarded if self._guards else as_text, cells)), where)
        try:
            self._text.write(line)
        except UnicodeEncodeError as error:
            raise ValueEvalError(
                f"{where}: {error.object[error.start]!r} cannot be written in "
                f"{shown_encoding(self._dialect.encoding)}. Name an output that ends in .xlsx."
            ) from error

    def _guarded(self, cell: Any) -> str:
        text = as_text(cell)
        if isinstance(cell, str) and text[:1] in ("=", "+", "-", "@", "\t", "\r"):
            return text if _NUMBER.fullmatch(text) else f"'{text}"
        return text

    def _joined(self, texts: Sequence[str], where: str) -> str:
        delimiter, line_end = self._dialect.delimiter, self._dialect.line_end
        if self._dialect.quoted:
            self._line.seek(0)
            self._line.truncate()
            self._csv.writerow(texts)
            return self._line.getvalue().removesuffix("\r\n") + line_end
        for text in texts:
            if any(character in text for character in (delimiter, "\n", "\r")):
                raise ValueEvalError(
                    f"{where}: a {DELIMITERS.get(delimiter, delimiter)} or line break inside a "
                    "cell, which a table without quoting cannot hold. Write .csv, .xlsx or .jsonl."
                )
        return delimiter.join(texts) + line_end


def _reading(sample: str, delimiter: str, whole: bool, by_quotes: bool) -> tuple[bool, float, int]:
    """Return whether to read with quoting, the share of rows that then fit, and the width."""
    plain = [line.split(delimiter) for line in _lines(sample) if line]
    if not whole:
        plain = plain[:-1] or plain
    plain_fit, plain_width = _fit(plain)
    protected = _parsed(sample, delimiter, whole)
    if protected is None:
        # Without quoting everything may fit; if not, the message about a quotation mark helps.
        usable = plain_fit == 1.0
        return not usable and delimiter != NO_DELIMITER, plain_fit, plain_width
    fit, width = _fit(protected)
    quoted = fit >= plain_fit
    if delimiter in ("\t", NO_DELIMITER) and fit == plain_fit:
        # The shared task's header has no quotation marks, R's has them around every name.
        quoted = _all_quoted(plain[:1]) or (
            by_quotes and _needs_quotes(plain, protected, delimiter)
        )
    return quoted, fit if quoted else plain_fit, width if quoted else plain_width


def _needs_quotes(
    plain: Sequence[Sequence[str]], protected: Sequence[Sequence[str]], delimiter: str
) -> bool:
    """Return whether quotation marks look like protection and not like a part of the text."""
    return (
        any(cell[:1] == '"' == cell[-1:] and len(cell) > 1 for row in plain[:1] for cell in row)
        or (delimiter == NO_DELIMITER and any(_protects(plain, other) for other in ",;"))
        or any('""' in cell[1:-1] for row in plain for cell in row if cell[:1] == '"' == cell[-1:])
        or any(
            character in cell
            for row in protected
            for cell in row
            for character in (delimiter, "\n", "\r")
        )
    )


def _protects(lines: Sequence[Sequence[str]], delimiter: str) -> bool:
    """Return whether each line of an only column that has a delimiter in it is in quotes."""
    return _all_quoted([cells for cells in lines if delimiter in cells[0]])


def _all_quoted(records: Sequence[Sequence[str]]) -> bool:
    cells = [cell for record in records for cell in record]
    return bool(cells) and all(len(cell) > 1 and cell[0] == '"' == cell[-1] for cell in cells)


def _fit(records: Sequence[Sequence[str]]) -> tuple[float, int]:
    """Return the share of rows that are as wide as the first, and that width."""
    if not records:
        return 1.0, 1
    width = len(records[0])
    # Cells beyond the header's that are empty do no harm.
    fitting = sum(
        len(record) == width or (len(record) > width and not any(record[width:]))
        for record in records
    )
    return fitting / len(records), width


def _parsed(sample: str, delimiter: str, whole: bool) -> list[list[str]] | None:
    """Return the rows of a sample read with quoting; ``None`` if quotation marks do not pair up."""
    records: list[list[str]] = []
    reader = _reader(io.StringIO(sample, newline=""), delimiter)
    try:
        records.extend(record for record in reader if record)
    except csv.Error as error:
        if whole or "unexpected end" not in str(error):
            return None
        return records
    return records if whole else records[:-1] or records


def _lines(text: str) -> Iterator[str]:
    for line in io.StringIO(text, newline=""):
        yield line.rstrip("\r\n")


def _reader(lines: Iterable[str], delimiter: str) -> Any:
    csv.field_size_limit(_CSV_LINE)
    return csv.reader(lines, delimiter=delimiter, strict=True)


def _records(
    stream: BinaryIO, name: str, dialect: Dialect, keeps_blank: bool
) -> Iterator[tuple[int, list[str]]]:
    """Yield the line at which a row begins, and its cells.

    Lines without any text are skipped; if ``keeps_blank``, only those before the first row.
    """
    begun = False
    with _text_of(stream, dialect.encoding, name) as text:
        first_line = text.readline()
        skipped = int(_SAID.match(first_line) is not None)
        lines = text if skipped else chain([first_line], text)
        if not dialect.quoted:
            for number, line in enumerate(lines, start=1 + skipped):
                content = line.rstrip("\r\n")
                if content or (begun and keeps_blank):
                    yield number, content.split(dialect.delimiter)
                    begun = True
            return
        reader = _reader(lines, dialect.delimiter)
        while True:
            line = reader.line_num + 1 + skipped
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise ValueEvalError(
                    f"{name}, line {line}: the cells of this row do not end ({error}). Is a "
                    "quotation mark missing, or one too many?"
                ) from error
            if record or (begun and keeps_blank):
                yield line, record or [""]
                begun = True


@contextmanager
def _text_of(stream: BinaryIO, encoding: str, name: str) -> Iterator[io.TextIOWrapper]:
    """Open a binary stream as text, which leaves it open; errors name the file and what to do."""
    text = io.TextIOWrapper(stream, encoding=encoding, newline="")
    try:
        yield text
    except UnicodeError as error:
        raise ValueEvalError(
            f"{name}: not text in {encoding}. Name its encoding by --encoding."
        ) from error
    except OSError as error:
        raise ValueEvalError(f"{name}: cannot be read ({error.strerror or error}).") from error
    finally:
        with suppress(ValueError):  # closed by its owner before an iterator was done
            text.detach()
