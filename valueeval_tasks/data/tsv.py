"""Tab-separated tables as the shared task publishes them, read strictly.

UTF-8, one row a line, **no quoting** (a ``"`` is a plain character), a header line that names the
columns. :mod:`valueeval.tasks.data.dataset` lists what is accepted and what is refused.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from valueeval.tasks.errors import ValueEvalError

_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def read_bytes(path: Path) -> bytes:
    """Return the file's content.

    Raises:
        ValueEvalError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise ValueEvalError(f"{path}: cannot be read ({reason}). Check the path.") from error


def parse_table(
    content: bytes, path: Path, columns: Sequence[str], *, run_file: bool = False
) -> tuple[list[str], Iterator[list[str]]]:
    """Return the names in a table's header, and its rows as lists of fields.

    Rows are made one at a time, so that a table of a million lines need not be in memory as lists.

    Args:
        content: The file's bytes.
        path: The file, for messages.
        columns: The columns that it must have, in any order; the first is a unique id.
        run_file: Read as the shared task's evaluator reads run files: Windows line ends, a byte
            order mark and fields in double quotes are accepted; a column that is missing (but
            for the id, and not all) is filled with ``"0"``.

    Returns:
        The header in the file's order, and the rows, their fields in the order of ``columns``.

    Raises:
        ValueEvalError: Something is malformed, or there is no row (for rows: when they are taken);
            the message names file, line and field.
    """
    if run_file:
        content = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    lines = _lines(_decode(content, path))
    header = _fields(next(lines), run_file)
    order = _column_order(header, path, columns, optional=run_file)

    def rows() -> Iterator[list[str]]:
        reordered = order != list(range(len(columns)))
        line = 1
        line_of_id: dict[str, int] = {}
        for line, text in enumerate(lines, start=2):
            row = _fields(text, run_file)
            if len(row) != len(header):
                raise _wrong_field_count(text, path, line, header)
            if reordered:
                row = ["0" if position is None else row[position] for position in order]
            if not row[0].strip():
                raise malformed(path, line, columns[0], "is empty; give every argument an id")
            if (first := line_of_id.setdefault(row[0], line)) != line:
                problem = f"{shown(row[0])} stands in line {first} already; ids must be unique"
                raise malformed(path, line, columns[0], problem)
            yield row
        if line == 1:
            raise ValueEvalError(f"{path}: there is only a header, no argument below it.")

    return header, rows()


def _lines(text: str) -> Iterator[str]:
    """Yield the lines without their ends (which ``str.splitlines`` finds in other places)."""
    start, end = 0, len(text) - text.endswith("\n")
    while (stop := text.find("\n", start, end)) >= 0:
        yield text[start:stop]
        start = stop + 1
    yield text[start:end]


def _fields(line: str, quoted: bool) -> list[str]:
    """Return a line's fields; if they may be ``quoted``, without their quotes."""
    fields = line.split("\t")
    if quoted and '"' in line:
        return [
            field[1:-1].replace('""', '"')
            if len(field) > 1 and field[0] == field[-1] == '"'
            else field
            for field in fields
        ]
    return fields


def _decode(content: bytes, path: Path) -> str:
    """Return the file's text, free of byte order marks, carriage returns and control characters."""
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


def _column_order(
    header: list[str], path: Path, columns: Sequence[str], *, optional: bool
) -> list[int | None]:
    """Return the position in the header of each of ``columns``; ``None``: a missing optional one.

    Args:
        header: The names in the file's first line.
        path: The file, for messages.
        columns: The columns that the table may have.
        optional: Whether all but the first and one more may be missing.
    """
    problems: list[str] = []
    for name in dict.fromkeys(header):
        if name not in columns:
            # Only three problems are shown: no search for more, in a header of any length.
            near = difflib.get_close_matches(name[:100], columns, n=1) if len(problems) < 3 else []
            problems.append(f"unknown column {shown(name)}" + (f" ({near[0]!r}?)" if near else ""))
        elif header.count(name) > 1:
            problems.append(f"column {name!r} twice")
    missing = [name for name in columns if name not in header]
    if not optional or columns[0] in missing or missing == list(columns[1:]):
        problems += [f"column {name!r} is missing" for name in missing]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ValueEvalError(
            f"{path}, line 1 (header): {', '.join(problems[:3])}{more}.\n"
            f"Expected, separated by tabs: {_column_list(columns)}."
        )
    return [header.index(name) if name in header else None for name in columns]


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
    """Return a field's content for a message, cut where it is long."""
    return repr(text if len(text) <= length else text[:length] + "…")


def malformed(path: Path, line: int, field: str, problem: str) -> ValueEvalError:
    """Return the error about one field of one line."""
    return ValueEvalError(f"{path}, line {line}, field {field!r}: {problem}.")


def _malformed_at(before: bytes, path: Path, problem: str) -> ValueEvalError:
    """Return the error about what follows ``before``, in which line and field are counted."""
    line = before.count(b"\n") + 1
    field = before[before.rfind(b"\n") + 1 :].count(b"\t") + 1
    return ValueEvalError(f"{path}, line {line}, field {field}: {problem}.")
