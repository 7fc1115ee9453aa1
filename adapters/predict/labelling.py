"""Labels rows of a table, and what is added to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from valueeval.adapters.predict.layout import Layout, RowProblem
from valueeval.adapters.tables.rows import Record
from valueeval.tasks.data.dataset import Argument
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_NAMES, VALUE_SLUGS

CHUNK = 1024
"""Rows in memory at a time."""
VALUES_COLUMN, PROBLEM_COLUMN, READ_COLUMN = "values", "problem", "labelled_from"
UNREADABLE_ANSWER = "unreadable answer"
PROBABILITY_COLUMNS = tuple(f"p_{slug}" for slug in VALUE_SLUGS)
ADDED_COLUMNS = (
    VALUES_COLUMN,
    PROBLEM_COLUMN,
    READ_COLUMN,
    *VALUE_SLUGS,
    *PROBABILITY_COLUMNS,
)


@dataclass(frozen=True)
class Labels:
    """Labels of n arguments.

    Attributes:
        logits: (n, 20), columns in the order of ``VALUES``.
        thresholds: (20,), as logits.
        problems: n reasons why answers about an argument could not be read, None where they could;
            empty where all can.
        unread: For each argument, True if its answer could not be read; likewise.
    """

    logits: npt.NDArray[np.float64]
    thresholds: npt.NDArray[np.float64]
    problems: Sequence[str | None] = ()
    unread: Sequence[bool] = ()

    @property
    def margins(self) -> npt.NDArray[np.float64]:
        """Return logits less thresholds: (n, 20), above 0 where a value is decided on."""
        return self.logits - self.thresholds

    @property
    def decided(self) -> npt.NDArray[np.bool_]:
        """Return which values each argument has, (n, 20).

        Each value has a threshold of its own: a probability of 0.4 can be above it, 0.6 below.
        """
        return self.margins > 0

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """Return 1 / (1 + exp(-logit)), without overflow: (n, 20)."""
        return np.exp(-np.logaddexp(0.0, -self.logits))


@dataclass(frozen=True)
class NamedValues:
    """Labels of n arguments by a model that names values and has no scores.

    Attributes:
        decided: Which values each argument has, (n, 20) bool.
        problems: As `Labels` has them.
        unread: Likewise.
    """

    decided: npt.NDArray[np.bool_]
    problems: Sequence[str | None] = ()
    unread: Sequence[bool] = ()


class Labeller(Protocol):
    """The interface of a model that labels arguments (`valueeval.adapters.predict.model`)."""

    def label(self, arguments: Sequence[Argument]) -> Labels | NamedValues:
        """Return the labels of arguments, in their order."""


@dataclass(frozen=True)
class LabelledRow:
    """A row with its labels, or with the reason why it has none.

    Attributes:
        row: The row as it came.
        argument: The argument in it; ``None`` if there is none.
        problem: Why there is none, or why it has no labels, or not all; ``None`` if nothing is
            wrong.
        probabilities: (20,), of an argument with labels; ``None`` of a model that has none.
        decided: (20,) bool, of an argument with labels.
    """

    row: Record
    argument: Argument | None
    problem: RowProblem | None
    probabilities: npt.NDArray[np.float64] | None
    decided: npt.NDArray[np.bool_] | None

    def cells(self, prefix: str = "") -> dict[str, Any]:
        """Return the row's cells and those of `ADDED_COLUMNS`, named ``prefix`` and more."""
        added: list[Any]
        # One line without tabs, which every table can hold.
        problem = "" if self.problem is None else " ".join(self.problem.text.split())
        shown: list[float | None] = [None] * len(VALUE_SLUGS)
        if self.argument is None or self.decided is None:
            added = ["", problem, "", *[None] * len(VALUE_SLUGS), *shown]
        else:
            read = "argument" if self.argument.conclusion else "text alone"
            if self.probabilities is not None:
                shown = [float(f"{p:.6g}") for p in self.probabilities.tolist()]
            decided = self.decided.astype(int).tolist()
            added = [value_names(self.decided), problem, read, *decided, *shown]
        names = [prefix + column for column in ADDED_COLUMNS]
        return {**self.row.cells, **dict(zip(names, added, strict=True))}


def value_names(decided: Iterable[Any]) -> str:
    """Return the names of the decided values: ``Security: personal; Tradition``."""
    return "; ".join(name for name, is_in in zip(VALUE_NAMES, decided, strict=True) if is_in)


def kinds_of(prefix: str = "") -> dict[str, type]:
    """Return the Python type of each added column."""
    kinds: dict[str, type] = dict.fromkeys((VALUES_COLUMN, PROBLEM_COLUMN, READ_COLUMN), str)
    kinds |= dict.fromkeys(VALUE_SLUGS, int) | dict.fromkeys(PROBABILITY_COLUMNS, float)
    return {prefix + column: kind for column, kind in kinds.items()}


def label_rows(
    rows: Iterable[Record], layout: Layout, model: Labeller, at_once: int | None = None
) -> Iterator[LabelledRow]:
    """Yield every row with its labels; memory does not grow with the number of rows.

    Args:
        rows: The table's rows.
        layout: The columns of the argument.
        model: The model that labels arguments.
        at_once: Rows that are labelled at a time; None: `CHUNK`.

    Raises:
        ValueEvalError: The model is broken.
    """
    rows = iter(rows)
    while chunk := list(islice(rows, at_once or CHUNK)):
        found = [layout.argument(row) for row in chunk]
        arguments = [each for each in found if isinstance(each, Argument)]
        labelled = _labelled(arguments, model) if arguments else iter(())
        for row, each in zip(chunk, found, strict=True):
            if isinstance(each, RowProblem):
                yield LabelledRow(row, None, each, None, None)
            else:
                yield LabelledRow(row, each, *next(labelled))


def _labelled(
    arguments: Sequence[Argument], model: Labeller
) -> Iterator[
    tuple[RowProblem | None, npt.NDArray[np.float64] | None, npt.NDArray[np.bool_] | None]
]:
    """Yield what is wrong with each argument's labels, its probabilities and its decisions."""
    answers = model.label(arguments)
    probabilities, decided = None, answers.decided
    if isinstance(answers, Labels):
        if not np.isfinite(answers.logits).all():
            raise ValueEvalError("The model answers with numbers that are not finite.")
        probabilities = answers.probabilities
    for row in range(len(arguments)):
        text = answers.problems[row] if answers.problems else None
        problem = None if text is None else RowProblem(UNREADABLE_ANSWER, text)
        if answers.unread and answers.unread[row]:
            yield problem, None, None
        else:
            yield problem, None if probabilities is None else probabilities[row], decided[row]
