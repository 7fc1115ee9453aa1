"""Labels that people gave, in columns of the table, and how the model agrees with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from valueeval.adapters.tables.rows import Record, as_text, is_blank
from valueeval.tasks.commands.score import make_report
from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.data.dataset import Argument
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_NAMES, VALUE_SLUGS, slug_of

_YES = frozenset({"1", "1.0", "true", "yes", "x", "y"})
_NO = frozenset({"", "0", "0.0", "false", "no", "n", "-"})


@dataclass(frozen=True)
class LabelColumns:
    """The columns that hold hand labels.

    Attributes:
        columns: Column of each value, in the order of ``VALUES``; ``None`` for a value without.
    """

    columns: tuple[str | None, ...]

    @classmethod
    def found_in(cls, columns: Sequence[str], name: str) -> LabelColumns:
        """Return the columns that are called like a value or its slug, in any case.

        Raises:
            ValueEvalError: There is none, or a value has two, such as a table's own labels beside
                the model's.
        """
        by_slug = value_columns(columns)
        for one, *others in by_slug.values():
            if others:
                raise ValueEvalError(
                    f"{name}: --labels: two columns for one value, {one!r} and {others[0]!r}. "
                    "Remove or rename those that are not meant."
                )
        found = tuple(by_slug.get(slug, [None])[0] for slug in VALUE_SLUGS)
        if not any(found):
            raise ValueEvalError(
                f"{name}: --labels: no column is called like a value. Name them, for example, "
                f"{VALUE_NAMES[0]!r} or {VALUE_SLUGS[0]!r}, with 1 or 0 in each row."
            )
        return cls(found)

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Return which values have a column: (20,)."""
        return np.array([column is not None for column in self.columns])

    def of(self, row: Record, name: str) -> npt.NDArray[np.bool_] | None:
        """Return a row's labels, (20,); ``None`` if all are blank: nobody has labelled it.

        Raises:
            ValueEvalError: Something is neither a yes nor a no.
        """
        labels = np.zeros(len(VALUE_SLUGS), dtype=np.bool_)
        blank = True
        for place, column in enumerate(self.columns):
            if column is None:
                continue
            cell = row.cells.get(column)
            text = as_text(cell).strip().casefold()
            if text not in _YES and text not in _NO:
                raise ValueEvalError(
                    f"{name}, {row.where}, column {column!r}: {text[:40]!r} is not a label "
                    "(--labels). Write 1 or 0."
                )
            labels[place] = text in _YES
            blank = blank and is_blank(cell)
        return None if blank else labels


def value_columns(columns: Sequence[str]) -> dict[str, list[str]]:
    """Return, by slug, the columns that are called like a value or its slug, in any case."""
    found: dict[str, list[str]] = {}
    for column in columns:
        slug = slug_of(" ".join(column.split())).replace(" ", "_")
        if slug in VALUE_SLUGS:
            found.setdefault(slug, []).append(column)
    return found


@dataclass
class Agreement:
    """Collects labels of people and of the model, row by row.

    Attributes:
        columns: The columns of the labels.
    """

    columns: LabelColumns
    _truth: list[npt.NDArray[np.bool_]] = field(default_factory=list)
    _decided: list[npt.NDArray[np.bool_]] = field(default_factory=list)
    _conclusions: list[str] = field(default_factory=list)

    def add(
        self, argument: Argument, labels: npt.NDArray[np.bool_], decided: npt.NDArray[np.bool_]
    ) -> None:
        """Add one row that both have labelled; values without a column do not count."""
        self._truth.append(labels)
        self._decided.append(decided & self.columns.present)
        self._conclusions.append(conclusion_key(argument.conclusion) if argument.conclusion else "")

    @property
    def rows(self) -> int:
        """Return how many rows both have labelled."""
        return len(self._truth)

    def report(self) -> dict[str, Any]:
        """Return the scores of `valueeval.tasks.commands.score.make_report`.

        Intervals are over conclusions; over rows where texts stand alone.
        """
        ids = [str(number) for number in range(self.rows)]
        by_conclusion = all(self._conclusions)
        keys = self._conclusions if by_conclusion else None
        return make_report(ids, np.array(self._truth), np.array(self._decided), keys)

    def lines(self) -> list[str]:
        """Return what to tell people."""
        if not self.rows:
            return ["No row has hand labels, so there is no agreement to report."]
        report = self.report()
        if report["macro_f1"] is None:
            return ["No row has a hand label 1, so there are no scores."]
        values = sum(report[f"f1_{slug}"] is not None for slug in VALUE_SLUGS)
        low, high = report["macro_f1_ci_low"], report["macro_f1_ci_high"]
        over = report["interval"]
        units = "rows" if over["over"] == "arguments" else over["over"]
        interval = (
            f"no interval: {over['units']} {units} are too few"
            if low is None
            else f"95 % interval {low:.2f} to {high:.2f}, over {over['units']} {units}"
        )
        return [
            f"Agreement with the hand labels of {self.rows} rows: macro F1 "
            f"{report['macro_f1']:.2f} ({interval}), the mean of the {values} values that occur."
        ]
