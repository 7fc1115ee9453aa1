"""Labels arguments that have no labels: reads a table, writes it back with predictions added."""

from __future__ import annotations

import difflib
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from valueeval.adapters.predict.tables import Row, TableWriter, read_rows, writer_of
from valueeval.tasks.data.dataset import Argument
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.files import replacing
from valueeval.tasks.values import VALUE_SLUGS

PROBABILITY_COLUMNS = tuple(f"p_{slug}" for slug in VALUE_SLUGS)
OUTPUT_COLUMNS = (*PROBABILITY_COLUMNS, *VALUE_SLUGS)
CHUNK = 1024
"""Rows in memory at a time."""

_STANCES = {
    "in favor of": (
        *("in favor of", "in favour of", "in favor", "in favour", "favor", "favour"),
        *("for", "pro", "support", "supports", "supporting"),
    ),
    "against": ("against", "con", "contra", "oppose", "opposes", "opposing"),
}
_OFFICIAL_STANCE = {word: stance for stance, words in _STANCES.items() for word in words}

Logits = Callable[[Sequence[Argument]], npt.NDArray[np.floating]]


@dataclass(frozen=True)
class Columns:
    """Which columns hold the argument; ``None``: found by the official name, in any case.

    Attributes:
        premise: Column of the premise.
        conclusion: Column of the conclusion.
        stance: Column of the stance.
    """

    premise: str | None = None
    conclusion: str | None = None
    stance: str | None = None

    def found_in(self, row: Row, where: str) -> dict[str, str]:
        """Role → column of this row.

        Raises:
            ValueEvalError: A column is not there, or several could be meant.
        """
        roles = {"premise": self.premise, "conclusion": self.conclusion, "stance": self.stance}
        return {role: _find_column(row, role, given, where) for role, given in roles.items()}


@dataclass(frozen=True)
class Source:
    """A table to be labelled.

    Attributes:
        path: The file, or ``-`` for standard input.
        form: Its format, one of ``valueeval.adapters.predict.tables.FORMATS``.
        columns: Where the argument is.
    """

    path: str
    form: str
    columns: Columns

    @property
    def name(self) -> str:
        """What messages call it."""
        return "standard input" if self.path == "-" else self.path

    def rows(self) -> Iterator[tuple[str, Row, Argument]]:
        """Place, row and argument of each row; one pass, nothing is kept.

        Raises:
            ValueEvalError: The file cannot be read, has no row, or a row is no argument.
        """
        columns: dict[str, str] | None = None
        with _opened(self.path) as stream:
            for line, row in read_rows(stream, self.name, self.form):
                where = f"{self.name}, line {line}"
                if columns is None:
                    columns = self.columns.found_in(row, self.name)
                for name in OUTPUT_COLUMNS:
                    if name in row:
                        raise ValueEvalError(
                            f"{where}: column {name!r} is there already, and would be written. "
                            "Rename or drop it."
                        )
                yield where, row, _argument(row, columns, where, line)
        if columns is None:
            raise ValueEvalError(f"{self.name}: there is no argument in it.")

    def check(self, form: str) -> int | None:
        """Reads all of it, before anything slow starts; how many rows (None for standard input).

        Raises:
            ValueEvalError: A row cannot be read, or cannot be written in format ``form``.
        """
        if self.path == "-":
            return None
        writer = writer_of(form)
        count = 0
        for where, row, _ in self.rows():
            writer.text(row, where)
            count += 1
        return count


def label(
    source: Source,
    output: Callable[[str], object],
    writer: TableWriter,
    logits: Logits,
    thresholds: npt.NDArray[np.float64],
    progress: Callable[[int], object],
) -> int:
    """Labels every row of a table; memory does not grow with its length.

    Args:
        source: The table.
        output: Takes text in the order of rows.
        writer: Makes the text.
        logits: n arguments → (n, 20), in any batches.
        thresholds: (20,) as logits; a value is predicted where its logit is above.
        progress: Told how many rows have been added.

    Returns:
        How many rows were labelled.

    Raises:
        ValueEvalError: A row cannot be read or written; the model is broken.
    """
    rows = source.rows()
    count = 0
    while chunk := list(islice(rows, CHUNK)):
        z = logits([argument for *_, argument in chunk]).astype(np.float64)
        if not np.isfinite(z).all():
            raise ValueEvalError("The adapter answers with numbers that are not finite.")
        probabilities, decisions = _sigmoid(z).tolist(), (z - thresholds > 0).astype(int).tolist()
        for (where, row, _), p, decided in zip(chunk, probabilities, decisions, strict=True):
            shown = [float(f"{x:.6g}") for x in p]
            added = dict(zip(OUTPUT_COLUMNS, [*shown, *decided], strict=True))
            output(writer.text({**row, **added}, where))
        count += len(chunk)
        progress(len(chunk))
    return count


@contextmanager
def whole_file(path: str, overwrite: bool) -> Iterator[Callable[[str], object]]:
    """Opens a file that appears under its name when everything is written; ``-``: stdout.

    Yields:
        What writes text into it.

    Raises:
        ValueEvalError: It exists already, or cannot be written.
    """
    if path == "-":
        with _text_stdout() as stream:
            yield stream.write
        return
    target = Path(path)
    refuse_existing(target, overwrite)
    try:
        with (
            replacing(target) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as stream,
        ):
            yield stream.write
    except OSError as error:
        raise ValueEvalError(f"{path}: cannot be written ({error.strerror or error}).") from error


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Refuses to write over a file unless told to."""
    if path.is_dir():
        raise ValueEvalError(f"{path}: this is a folder. Name a file.")
    if path.exists() and not overwrite:
        raise ValueEvalError(f"{path}: exists already. Name another file, or give --overwrite.")


@contextmanager
def _text_stdout() -> Iterator[io.TextIOWrapper]:
    """Standard output as UTF-8 with line ends as they are."""
    sys.stdout.flush()
    stream = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", newline="")
    try:
        yield stream
        stream.flush()
    finally:
        with suppress(OSError, ValueError):  # a reader that has gone; reported by whoever flushed
            stream.detach()


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = Path(path).open("rb")  # noqa: SIM115 (closed below; only opening may fail so)
    except OSError as error:
        raise ValueEvalError(f"{path}: cannot be read ({error.strerror or error}).") from error
    with stream:
        yield stream


def _find_column(row: Row, role: str, given: str | None, where: str) -> str:
    if given is not None:
        if given in row:
            return given
        near = difflib.get_close_matches(given, row, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueEvalError(f"{where}: no column {given!r} (--{role}).{hint} {_listed(row)}")
    if role.capitalize() in row:
        return role.capitalize()
    same = [name for name in row if name.strip().lower() == role]
    if len(same) == 1:
        return same[0]
    if same:
        raise ValueEvalError(f"{where}: columns {same[0]!r} and {same[1]!r}: choose by --{role}.")
    added = "" if role == "premise" else " If the data have none, add a column that says it."
    raise ValueEvalError(
        f"{where}: no column {role.capitalize()!r}: name the one that holds the {role} by "
        f"--{role} NAME.{added} {_listed(row)}"
    )


def _listed(row: Row) -> str:
    return f"Columns: {', '.join(map(repr, row))}."


def _argument(row: Row, columns: dict[str, str], where: str, line: int) -> Argument:
    texts: dict[str, str] = {}
    for role, column in columns.items():
        content = row.get(column)
        if not isinstance(content, str) or not content.strip():
            problem = "is not text" if content and not isinstance(content, str) else "is empty"
            raise ValueEvalError(
                f"{where}, column {column!r}: the {role} {problem}. Fill it in or drop the row."
            )
        texts[role] = content
    stance = _OFFICIAL_STANCE.get(" ".join(texts["stance"].lower().split()))
    if stance is None:
        known = "; ".join(", ".join(words) for words in _STANCES.values())
        raise ValueEvalError(
            f"{where}, column {columns['stance']!r}: {texts['stance'][:40]!r} is no stance. "
            f"Known: {known}."
        )
    return Argument(str(line), texts["conclusion"], stance, texts["premise"])


def _sigmoid(z: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """1 / (1 + exp(-z)), without overflow."""
    return np.exp(-np.logaddexp(0.0, -z))
