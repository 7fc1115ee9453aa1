"""JSON Lines: one object a line, in and out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from valueeval.adapters.tables.rows import Record, as_json
from valueeval.tasks.errors import ValueEvalError

UNREADABLE = "unreadable_line"
"""The column that holds a line that is no JSON object."""


def read_json_lines(stream: BinaryIO, name: str, encoding: str) -> Iterator[Record]:
    """Yield the rows of a file; a line that is no object is kept as text, with the problem.

    Raises:
        ValueEvalError: A line is not text of that encoding.
    """
    for number, line in _lines(stream, encoding):
        where = f"line {number}"
        try:
            text = line.decode(encoding)
        except UnicodeError as error:
            raise ValueEvalError(
                f"{name}, {where}: not text in {encoding}. Name its encoding by --encoding."
            ) from error
        if not text.strip():
            continue
        try:
            cells = json.loads(text, parse_constant=_refuse)
            json.dumps(cells, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, RecursionError) as error:
            # A huge number, a number beyond float, or half a surrogate pair, which is no text.
            problem = f"not valid JSON: {error}"
        else:
            if isinstance(cells, dict):
                yield Record(where, cells)
                continue
            problem = "not a JSON object"
        yield Record(where, {UNREADABLE: text.rstrip("\r\n")}, problem)


def _lines(stream: BinaryIO, encoding: str) -> Iterator[tuple[int, bytes]]:
    if encoding == "utf-8-sig" or not encoding.startswith(("utf-16", "utf-32")):
        for number, line in enumerate(stream, start=1):
            yield number, line
        return
    # Line ends of two bytes: decoded as a whole, and encoded again line by line.
    text = stream.read().decode(encoding)
    for number, piece in enumerate(text.split("\n"), start=1):
        yield number, piece.encode(encoding)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


class JsonLinesWriter:
    """Writes rows as JSON objects, each with the columns that it has."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, row: Record) -> None:
        """Write one row."""
        cells: Any = as_json(row.cells)
        line = json.dumps(cells, ensure_ascii=False, allow_nan=False) + "\n"
        self._stream.write(line.encode())

    def close(self) -> None:
        """Do nothing: every row is written."""

    def discard(self) -> None:
        """Do nothing: there is nothing to let go of."""
