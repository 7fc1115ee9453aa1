"""A row of a table, and what every reader does with header cells and blank rows."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a table.

    Attributes:
        where: Its place as people find it: ``"line 4"`` of a text file, ``"row 4"`` of a sheet.
        cells: Content by column.
        problem: Why the row cannot be trusted (too few cells, broken JSON …); ``None`` if it can.
    """

    where: str
    cells: dict[str, Any]
    problem: str | None = None


@dataclass
class Header:
    """The columns of a table, each with a name of its own.

    Attributes:
        columns: Names. A blank one becomes ``column 3``, a second ``text`` becomes ``text (2)``.
        notes: What was renamed, for people.
    """

    columns: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, cells: Sequence[Any]) -> Header:
        """Return the header that the cells of a table's first row make."""
        names: list[str] = []
        taken = {text for cell in cells if (text := as_text(cell)).strip()}
        notes = []
        for place, cell in enumerate(cells, start=1):
            name = as_text(cell)
            if not name.strip():
                name = _free(f"column {place}", taken)
            elif name in names:
                new = _free(f"{name} (2)", taken)
                notes.append(f"column {name!r} is there twice: the later one is called {new!r} now")
                name = new
            taken.add(name)
            names.append(name)
        return cls(tuple(names), tuple(notes))

    def row(self, where: str, cells: Sequence[Any]) -> Record:
        """Return a row of these columns; with a problem if there are too few or too many cells."""
        width = len(self.columns)
        if len(cells) > width and all(is_blank(cell) for cell in cells[width:]):
            cells = cells[:width]
        named = dict.fromkeys(self.columns, "") | dict(zip(self.columns, cells, strict=False))
        if len(cells) == width:
            return Record(where, named)
        problem = f"{len(cells)} cell{'s' * (len(cells) != 1)} where the header has {width}"
        if len(cells) > width:
            problem += "; the rest: " + " | ".join(map(as_text, cells[width:]))
        return Record(where, named, problem)


def _free(name: str, taken: set[str]) -> str:
    """Return ``name``, or ``name`` with a number that nothing else is called."""
    number = 2
    stem = name.removesuffix(" (2)")
    while name in taken:
        name = f"{stem} ({number})"
        number += 1
    return name


def title_rows(first: Sequence[Sequence[Any]]) -> int:
    """Return how many of a table's first rows stand above its header: those with a single cell.

    A spreadsheet's title is such a row. It has several words: a single one can be the name of the
    only column that has a name. In a table of one column there is no title, nor where the first
    column alone has no name, as that of the row numbers which pandas writes.
    """
    filled = [[cell for cell in cells if not is_blank(cell)] for cells in first]
    if not filled or len(first[0]) < 2 or len(filled[0]) > 1:
        return 0
    if len(first[0]) == 2 and is_blank(first[0][0]):
        return 0
    if filled[0] and len(as_text(filled[0][0]).split()) < 2:
        return 0
    return next((place for place, cells in enumerate(filled) if len(cells) > 1), 0)


def without_blank_end(rows: Iterator[tuple[int, Sequence[Any]]]) -> Iterator[tuple[int, Any]]:
    """Yield numbered rows of cells, without the blank ones that a spreadsheet leaves at the end."""
    blank: list[int] = []
    for number, cells in rows:
        if all(map(is_blank, cells)):
            blank.append(number)
            continue
        for before in blank:
            yield before, None
        blank.clear()
        yield number, cells


def is_blank(cell: Any) -> bool:
    """Return whether a cell is missing or holds nothing but white space."""
    return is_missing(cell) or (isinstance(cell, str) and not cell.strip())


def is_missing(cell: Any) -> bool:
    """Return whether a cell is null, NaN, or pandas' NA or NaT."""
    if cell is None:
        return True
    if isinstance(cell, (str, bytes, list, dict, tuple, bool, int)):
        return False
    try:
        return bool(cell != cell)
    except (TypeError, ValueError):  # NA is neither like nor unlike; arrays have many answers
        return type(cell).__name__ == "NAType"


def as_text(cell: Any) -> str:
    """Return a cell as text: null as nothing, 3.0 as «3», dates by ISO 8601, the rest as JSON."""
    if isinstance(cell, str):
        return cell
    if is_missing(cell):
        return ""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))
    if type(cell) is int:
        # Python writes no decimal number of more than 4300 digits.
        return repr(cell) if cell.bit_length() < 14_000 else hex(cell)
    if type(cell) is float and math.isfinite(cell):
        return repr(cell)
    plain = as_json(cell)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def as_json(cell: Any) -> Any:
    """Return a cell as JSON holds it: NaN and infinities as null, dates by ISO 8601."""
    if isinstance(cell, dict):
        return {str(key): as_json(value) for key, value in cell.items()}
    if isinstance(cell, (list, tuple)):
        return [as_json(value) for value in cell]
    if isinstance(cell, (str, bool, int)):
        return cell
    if isinstance(cell, float):
        return cell if math.isfinite(cell) else None
    if is_missing(cell):
        return None
    if isinstance(cell, (datetime.date, datetime.time)):
        return cell.isoformat()
    if hasattr(cell, "item"):  # a number of numpy
        return as_json(cell.item())
    return str(cell)
