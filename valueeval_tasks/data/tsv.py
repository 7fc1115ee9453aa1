"""Tab-separated tables as the shared task publishes them, read strictly.

UTF-8, one row a line, **no quoting** (a ``"`` is a plain character), a header line that names the
columns. What is accepted and what refused says :mod:`valueeval.tasks.data.dataset`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from valueeval.tasks.errors import ValueEvalError

_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def read_bytes(path: Path) -> bytes:
    """The file's content.

    Raises:
        ValueEvalError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise ValueEvalError(f"{path}: cannot be read ({reason}). Check the path.") from error


def parse_rows(content: bytes, path: Path, columns: Sequence[str]) -> list[list[str]]:
    """The table's rows, each a list of fields in the order of ``columns``.

    Args:
        content: The file's bytes.
        path: The file, for messages.
        columns: The columns that it must have, in any order; the first is a unique id.

    Raises:
        ValueEvalError: Something is malformed; the message names file, line and field.
    """
    lines = _decode(content, path).removesuffix("\n").split("\n")
    order = _column_order(lines[0].split("\t"), path, columns)
    reordered = order != list(range(len(columns)))
    rows = []
    line_of_id: dict[str, int] = {}
    for line, text in enumerate(lines[1:], start=2):
        row = text.split("\t")
        if len(row) != len(columns):
            raise _wrong_field_count(text, path, line, lines[0].split("\t"))
        if reordered:
            row = [row[position] for position in order]
        if not row[0].strip():
            raise malformed(path, line, columns[0], "is empty; give every argument an id")
        if row[0] in line_of_id:
            raise malformed(
                path,
                line,
                columns[0],
                f"{shown(row[0])} stands in line {line_of_id[row[0]]} already; ids must be unique",
            )
        line_of_id[row[0]] = line
        rows.append(row)
    if not rows:
        raise ValueEvalError(f"{path}: there is only a header, no argument below it.")
    return rows


def _decode(content: bytes, path: Path) -> str:
    """The file's text, free of byte order marks, carriage returns and control characters."""
    if not content:
        raise ValueEvalError(f"{path}: the file is empty (0 bytes). Fetch or write it again.")
    if content.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise ValueEvalError(
            f"{path}, line 1: starts with a byte order mark. Save it as plain UTF-8 without one."
        )
    if (position := content.find(b"\r\n")) >= 0:
        raise _malformed_at(content[:position], path, "ends in CRLF (Windows); save with LF")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"byte 0x{content[error.start]:02x} is not valid UTF-8; save the file as UTF-8"
        raise _malformed_at(content[: error.start], path, problem) from error
    if control := _CONTROL_CHARACTER.search(text):
        problem = f"control character U+{ord(control[0]):04X}; remove it"
        raise _malformed_at(text[: control.start()].encode(), path, problem)
    return text


def _column_order(header: list[str], path: Path, columns: Sequence[str]) -> list[int]:
    """For each of ``columns``, its position in the header."""
    problems = []
    for name in dict.fromkeys(header):
        if name not in columns:
            near = difflib.get_close_matches(name, columns, n=1)
            problems.append(f"unknown column {shown(name)}" + (f" ({near[0]!r}?)" if near else ""))
        elif header.count(name) > 1:
            problems.append(f"column {name!r} twice")
    problems += [f"column {name!r} is missing" for name in columns if name not in header]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ValueEvalError(
            f"{path}, line 1 (header): {', '.join(problems[:3])}{more}.\n"
            f"Expected, separated by tabs: {_column_list(columns)}."
        )
    return [header.index(name) for name in columns]


def _column_list(columns: Sequence[str]) -> str:
    if len(columns) > 20:
        return f"{columns[0]}, then the {len(columns) - 1} values from {columns[1]!r} on"
    return ", ".join(columns)


def _wrong_field_count(text: str, path: Path, line: int, header: list[str]) -> ValueEvalError:
    found = text.count("\t") + 1
    if not text:
        return ValueEvalError(f"{path}, line {line}: the line is empty; delete it.")
    if found < len(header):
        problem = f"is missing: {found} of {len(header)} fields; is a tab missing?"
        return malformed(path, line, header[found], problem)
    problem = f"is followed by more: {found} fields, expected {len(header)}; is there a tab in it?"
    return malformed(path, line, header[-1], problem)


def shown(text: str, length: int = 40) -> str:
    """A field's content for a message, cut where it is long."""
    return repr(text if len(text) <= length else text[:length] + "…")


def malformed(path: Path, line: int, field: str, problem: str) -> ValueEvalError:
    """The error for one field of one line."""
    return ValueEvalError(f"{path}, line {line}, field {field!r}: {problem}.")


def _malformed_at(before: bytes, path: Path, problem: str) -> ValueEvalError:
    """The error for what follows ``before``: line and field are counted in it."""
    line = before.count(b"\n") + 1
    field = before[before.rfind(b"\n") + 1 :].count(b"\t") + 1
    return ValueEvalError(f"{path}, line {line}, field {field}: {problem}.")
