"""Excel workbooks (.xlsx): the values of one sheet, and a new workbook with one sheet.

openpyxl reads them directly rather than through pandas: sheets of hostile or odd workbooks are
looked at before they are unpacked, numbers and dates keep their type, and merged cells are found.
"""

from __future__ import annotations

import datetime
import io
import math
import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from valueeval.adapters.tables.rows import (
    Header,
    Record,
    as_text,
    is_blank,
    is_missing,
    title_rows,
    without_blank_end,
)
from valueeval.tasks.display import did_you_mean
from valueeval.tasks.errors import ValueEvalError

MAX_ROWS = 1_048_576
MAX_TEXT = 32_767
_LARGE = 64 << 20
_MAX_UNPACKED = 4 << 30
_MAX_STRINGS = 1 << 30
_MAX_RATIO = 200
_MAX_STRAY = 1000  # columns whose name may be blank
_MAX_CELLS = 50_000_000  # some 5 GB
_NUMBERS = (bool, int, float)
_ZEROS = re.compile("0{2,}")  # a number's format: 00007
_TIME_FORMAT = re.compile("[hs]", re.IGNORECASE)
_MERGED = re.compile(rb'<mergeCell [^>]*?ref="([A-Z]{1,3})(\d{1,7}):([A-Z]{1,3})(\d{1,7})"')
_FORMULA = re.compile(rb"<f[ >/]")
_ESCAPED = re.compile(r"_x((?![Dd][89A-Fa-f])[0-9A-Fa-f]{4})_")  # not half a surrogate pair
# What XML cannot hold, and "\r", which XML reads as a line feed.
_ILLEGAL = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff]")


def read_sheet(
    stream: BinaryIO, name: str, sheet: str | None, has_header: bool
) -> tuple[Header, list[Record]]:
    """Return the header and the rows of a sheet; values of formulas are those that are stored.

    Args:
        stream: The workbook.
        name: What to call it in messages.
        sheet: The sheet's name; ``None``: the only one that is visible and not empty.
        has_header: Whether the first row names the columns.

    Returns:
        A merged cell's value stands in every row that it spans. Lines above the header with a
        single cell (a title) are left out, which the header's notes say.

    Raises:
        ValueEvalError: It is no workbook, unpacks to more than is safe, has no such sheet, or
            several could be meant.
    """
    from openpyxl import load_workbook

    _check_archive(stream, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and extensions, which are not read
            book = load_workbook(stream, read_only=True, data_only=True)
            title, rows = _chosen(book, name, sheet)
            formulas, merged = _features(stream, book[title])
    except ValueEvalError:
        raise
    except Exception as error:  # openpyxl raises whatever broken XML makes its parts raise
        raise ValueEvalError(
            f"{name}: cannot be read as an Excel workbook ({type(error).__name__}: {error}). Open "
            "it in Excel and save it again, or save it as CSV."
        ) from error
    _fill_merged(rows, merged)
    notes = []
    if formulas:
        notes.append(
            "formulas count by the values that Excel stored; a cell whose value is not stored is "
            "empty (open the file in Excel and save it to store them)"
        )
    if merged:
        notes.append("merged cells: the value counts for every row that they span")
    return _header_and_rows(rows, name, has_header, notes)


class SheetLimits:
    """Content that a sheet cannot hold."""

    def __init__(self) -> None:
        self._rows = 1  # the header

    def check(self, row: Record) -> None:
        """Count one row more.

        Raises:
            ValueEvalError: Excel cannot hold so many rows, or so long a text.
        """
        self._rows += 1
        if self._rows > MAX_ROWS:
            raise ValueEvalError(
                f"{row.where}: Excel holds {MAX_ROWS:,} rows at most. Write .csv or .parquet."
            )
        for content in row.cells.values():
            if isinstance(content, _NUMBERS) or is_missing(content):
                continue
            if len(_escape(as_text(content))) > MAX_TEXT:
                raise ValueEvalError(
                    f"{row.where}: a text of more than {MAX_TEXT:,} characters, which an Excel "
                    "cell cannot hold. Write .csv or .parquet."
                )


class ExcelWriter:
    """Writes rows into a new workbook; text stays text, whatever it begins with.

    Args:
        stream: Where to, at the end.
        columns: The columns of every row.
    """

    def __init__(self, stream: BinaryIO, columns: Sequence[str]) -> None:
        from openpyxl import Workbook

        self._stream = stream
        self._columns = tuple(columns)
        self._book = Workbook(write_only=True)
        self._sheet = self._book.create_sheet("labelled")
        self._sheet.freeze_panes = "A2"
        self._limits = SheetLimits()
        self._sheet.append([self._cell(column) for column in columns])

    def write(self, row: Record) -> None:
        """Write one row; columns that it lacks stay empty.

        Raises:
            ValueEvalError: Excel cannot hold so many rows, or so long a text.
        """
        self._limits.check(row)
        self._sheet.append([self._cell(row.cells.get(column)) for column in self._columns])

    def close(self) -> None:
        """Write the workbook; the stream stays open."""
        self._book.save(self._stream)

    def discard(self) -> None:
        """Let go of what was not written: openpyxl's temporary file goes when it is saved."""
        self._book.save(io.BytesIO())

    def _cell(self, content: Any) -> Any:
        from openpyxl.cell import WriteOnlyCell

        if content is None or isinstance(content, _NUMBERS):
            if isinstance(content, int) and abs(content) >= 2**53:
                content = str(content)  # beyond what Excel's numbers hold
            elif isinstance(content, float) and math.isinf(content):
                content = str(content)  # Excel has no such number
            elif isinstance(content, float) and content != content:
                content = None
            else:
                return content
        if type(content).__module__ == "datetime" and getattr(content, "tzinfo", None) is None:
            return content
        cell = WriteOnlyCell(self._sheet, _escape(as_text(content)))
        cell.data_type = "s"  # never a formula, never an error value
        return cell


def _check_archive(stream: BinaryIO, name: str) -> None:
    """Refuse what is no workbook, or unpacks to more than a sheet of a person would."""
    try:
        with zipfile.ZipFile(stream) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise ValueEvalError(
            f"{name}: is no Excel workbook ({error}). Save it as .xlsx, or as CSV."
        ) from error
    if not any(part.filename == "[Content_Types].xml" for part in parts):
        raise ValueEvalError(
            f"{name}: is an archive, but no Excel workbook. Save the table as .xlsx or CSV."
        )
    unpacked = sum(part.file_size for part in parts)
    strings = sum(part.file_size for part in parts if "sharedStrings" in part.filename)
    packed = sum(part.compress_size for part in parts)
    ratio = unpacked / max(packed, 1)
    if (
        unpacked > _MAX_UNPACKED
        or strings > _MAX_STRINGS
        or (unpacked > _LARGE and ratio > _MAX_RATIO)
    ):
        raise ValueEvalError(
            f"{name}: would unpack to {unpacked / 2**20:,.0f} MiB, {ratio:,.0f} times its size, "
            "which is not safe to read. Save the table as CSV."
        )


def _chosen(book: Any, name: str, sheet: str | None) -> tuple[str, list[tuple[int, list[Any]]]]:
    """Return the title and the cells of the sheet that is meant."""
    titles = [each.title for each in book.worksheets]
    if sheet is not None:
        if sheet not in titles:
            raise ValueEvalError(
                f"{name}: no sheet {sheet!r} (--sheet){did_you_mean(sheet, titles) or '.'} "
                f"{_listed(titles)}"
            )
        return sheet, _cells(book[sheet])
    visible = [each for each in book.worksheets if each.sheet_state == "visible"]
    filled = [each.title for each in visible or book.worksheets if _has_cells(each)]
    if len(filled) > 1:
        raise ValueEvalError(
            f"{name}: several sheets hold something: choose one by --sheet NAME. {_listed(filled)}"
        )
    if not filled:
        return titles[0] if titles else "", []
    return filled[0], _cells(book[filled[0]])


def _has_cells(sheet: Any) -> bool:
    sheet.reset_dimensions()  # else a wrong or huge one is believed
    return any(not is_blank(cell) for row in sheet.iter_rows(values_only=True) for cell in row)


def _cells(sheet: Any) -> list[tuple[int, list[Any]]]:
    """Return the rows that hold something, each with its number."""
    sheet.reset_dimensions()
    found = []
    for number, row in enumerate(sheet.iter_rows(), start=1):
        cells = list(map(_content, row))
        while cells and is_blank(cells[-1]):
            cells.pop()
        if cells:
            found.append((number, cells))
    return found


def _content(cell: Any) -> Any:
    """Return a cell's content; leading zeros that a number's format shows are kept, as text."""
    content = cell.value
    if isinstance(content, str):
        return _unescape(content)
    if type(content) is int and content >= 0 and _ZEROS.fullmatch(cell.number_format):
        return str(content).zfill(len(cell.number_format))
    if isinstance(content, datetime.datetime) and not _TIME_FORMAT.search(cell.number_format):
        return content.date()
    return content


def _features(stream: BinaryIO, sheet: Any) -> tuple[bool, list[tuple[int, int, int, int]]]:
    """Return whether a sheet has formulas, and its merged ranges (column, row, column, row)."""
    from openpyxl.utils import column_index_from_string

    formulas, merged, rest = False, [], b""
    stream.seek(0)
    with zipfile.ZipFile(stream) as archive, archive.open(sheet._worksheet_path) as part:
        while chunk := part.read(1 << 20):
            text = rest + chunk
            formulas = formulas or _FORMULA.search(text) is not None
            end = 0
            for match in _MERGED.finditer(text):
                end = match.end()
                left, top, right, bottom = (group.decode() for group in match.groups())
                columns = column_index_from_string(left), column_index_from_string(right)
                merged.append((columns[0], int(top), columns[1], int(bottom)))
            rest = text[max(end, len(text) - 200) :]
    return formulas, merged


def _fill_merged(
    rows: Sequence[tuple[int, list[Any]]], merged: Sequence[tuple[int, int, int, int]]
) -> None:
    """Put the value of merged cells into every row that they span (not into further columns)."""
    place = {number: index for index, (number, _) in enumerate(rows)}
    for left, top, _, bottom in merged:
        if top not in place or bottom == top:
            continue
        above = rows[place[top]][1]
        if len(above) < left:
            continue
        for number, cells in rows[place[top] + 1 :]:
            if number > bottom:
                break
            if len(cells) < left:
                cells.extend([None] * (left - len(cells)))
            if cells[left - 1] is None:
                cells[left - 1] = above[left - 1]


def _header_and_rows(
    rows: list[tuple[int, list[Any]]], name: str, has_header: bool, notes: list[str]
) -> tuple[Header, list[Record]]:
    if not rows:
        return Header(()), []
    width = _width(rows)
    if any(len(cells) > width for _, cells in rows):
        notes.append(f"cells beyond column {width:,} have no name and are left out")
        rows = [(number, cells[:width]) for number, cells in rows]
    if width * len(rows) > _MAX_CELLS:
        raise ValueEvalError(
            f"{name}: {len(rows):,} rows of up to {width:,} columns, which would take too much "
            "memory. Save the table as CSV, or without the columns that are not needed."
        )
    title = title_rows([[*cells, *[None] * (width - len(cells))] for _, cells in rows[:10]])
    if has_header:
        if title:
            notes.append(f"the header is in row {rows[title][0]}; what stands above it is left out")
        first = rows[title][1]
        header = Header.of([*first, *[None] * (width - len(first))])
        rows = rows[title + 1 :]
    else:
        header = Header.of(["text"] if width == 1 else [None] * width)
    header.notes = (*notes, *header.notes)
    numbered = _with_gaps(rows)
    found = []
    for number, cells in without_blank_end(numbered):
        where = f"row {number}"
        if cells is None:
            found.append(Record(where, dict.fromkeys(header.columns), "the row is empty"))
        else:
            found.append(header.row(where, [*cells, *[None] * (width - len(cells))]))
    return header, found


def _width(rows: Sequence[tuple[int, list[Any]]]) -> int:
    """Return the number of columns: a stray cell far beyond the header makes none."""
    top = [cells for number, cells in rows if number < rows[0][0] + 10]
    most = max(_MAX_STRAY, *map(len, top))
    return min(most, max(len(cells) for _, cells in rows))


def _with_gaps(rows: Sequence[tuple[int, list[Any]]]) -> Iterator[tuple[int, list[Any]]]:
    """Yield rows with the blank ones between them; of a long gap, the first hundred."""
    for place, (number, cells) in enumerate(rows):
        before = rows[place - 1][0] if place else number - 1
        for blank in range(before + 1, min(number, before + 101)):
            yield blank, []
        yield number, cells


def _listed(titles: Sequence[str]) -> str:
    return f"Sheets: {', '.join(map(repr, titles))}."


def _escape(text: str) -> str:
    """Write what XML cannot hold as Excel does (``_x0001_``), and text that looks so, too."""
    text = _ESCAPED.sub(r"_x005F_x\1_", text)
    return _ILLEGAL.sub(lambda found: f"_x{ord(found[0]):04X}_", text)


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text
