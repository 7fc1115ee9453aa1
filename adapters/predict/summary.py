"""Summarise a labelled table: the share of each value, by group, and rows without labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from valueeval.adapters.tables.rows import Record, as_text
from valueeval.tasks.display import clean
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.files import replacing
from valueeval.tasks.values import VALUE_NAMES

MAX_GROUPS = 1000
SHOWN_GROUPS = 6
FIGURE_ENDINGS = (".png", ".svg", ".pdf")
WIDE = 12  # values of one row


@dataclass
class Group:
    """Rows of one group.

    Attributes:
        rows: Number of labelled rows.
        counts: (20,) how many have each value.
    """

    rows: int = 0
    counts: npt.NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(len(VALUE_NAMES), dtype=np.int64)
    )

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """Return the share of rows that have each value: (20,)."""
        return self.counts / max(self.rows, 1)


@dataclass
class Summary:
    """Counts labels as rows are labelled.

    Attributes:
        by: The column whose content makes groups, if there is one.
        labelled: All labelled rows.
        groups: The shares of each group.
        problems: Reasons why rows have no labels.
        wide: Number of rows with more than `WIDE` values.
        none: Number of rows without a value.
        expected: The groups of the rows that will be labelled.
    """

    by: str | None = None
    labelled: Group = field(default_factory=Group)
    groups: dict[str, Group] = field(default_factory=dict)
    problems: Counter[str] = field(default_factory=Counter)
    wide: int = 0
    none: int = 0
    expected: set[str] = field(default_factory=set)

    def expect(self, row: Record) -> None:
        """Note the group of a row, before any is labelled.

        Raises:
            ValueEvalError: There are more groups than people can compare.
        """
        if (group := self._group_of(row)) is None:
            return
        self.expected.add(group)
        if len(self.expected) > MAX_GROUPS:
            raise ValueEvalError(
                f"Column {self.by!r} has more than {MAX_GROUPS} different entries, which are no "
                "groups: group by one that repeats itself."
            )

    def _group_of(self, row: Record) -> str | None:
        if self.by is None:
            return None
        return as_text(row.cells.get(self.by)).strip() or "(empty)"

    @property
    def rows(self) -> int:
        """Return how many rows there are, labelled or not."""
        return self.labelled.rows + self.problems.total()

    def add(self, decided: npt.NDArray[np.bool_], row: Record | None = None) -> None:
        """Count a labelled row, in its group as well if the row is given."""
        number = int(decided.sum())
        self.wide += number > WIDE
        self.none += number == 0
        counted = [self.labelled]
        if row is not None and (group := self._group_of(row)) is not None:
            counted.append(self.groups.setdefault(group, Group()))
        for each in counted:
            each.rows += 1
            each.counts += decided

    def largest_groups(self, number: int) -> list[tuple[str, Group]]:
        """Return the groups with the most rows, by name."""
        largest = sorted(self.groups.items(), key=lambda item: -item[1].rows)[:number]
        return sorted(largest, key=lambda item: item[0])

    def lines(self) -> list[str]:
        """Return what to tell people about rows."""
        said = []
        if self.problems:
            left = self.problems.total()
            reasons = ", ".join(f"{clean(kind)} ({count})" for kind, count in
                                self.problems.most_common(5))  # fmt: skip
            more = len(self.problems) - 5
            said.append(
                f"{left} row{'s have' if left > 1 else ' has'} no labels (column problem): "
                f"{reasons}" + (f" and {more} other reasons" if more > 0 else "")
            )
        if self.none:
            verb = "rows have" if self.none > 1 else "row has"
            said.append(f"{self.none} labelled {verb} none of the 20 values.")
        if self.wide:
            said.append(
                f"{self.wide} row{'s have' if self.wide > 1 else ' has'} more than {WIDE} of the "
                "20 values: read them before you count on them (long texts, or texts unlike those "
                "that the model learnt from)."
            )
        return said

    def table(self) -> Table:
        """Return the share of rows that have each value, in all and in the largest groups."""
        table = Table(
            title=f"Share of the {self.labelled.rows} labelled rows that have each value",
            title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False,
        )  # fmt: skip
        table.add_column("value", no_wrap=True)
        table.add_column("rows", justify="right")
        table.add_column("all", justify="right")
        shown = self.largest_groups(SHOWN_GROUPS)
        for name, group in shown:
            table.add_column(Text(f"{clean(name)[:18]}\nn = {group.rows}"), justify="right")
        columns = [self.labelled.shares, *(group.shares for _, group in shown)]
        for place, value in enumerate(VALUE_NAMES):
            cells = [f"{100 * shares[place]:.0f} %" for shares in columns]
            table.add_row(value, str(self.labelled.counts[place]), *cells)
        return table

    @property
    def left_out(self) -> str | None:
        """Return what the table leaves out; ``None`` if it is nothing."""
        more = len(self.groups) - SHOWN_GROUPS
        if more <= 0:
            return None
        groups = "groups" if more > 1 else "group"
        verb = "are" if more > 1 else "is"
        return f"{more} smaller {groups} of column {clean(self.by)!r} {verb} not shown."


def check_figure(path: Path) -> None:
    """Refuse a figure's name that says no format.

    Raises:
        ValueEvalError: It does.
    """
    if path.suffix.lower() not in FIGURE_ENDINGS:
        raise ValueEvalError(f"--figure {path}: end the name in {', '.join(FIGURE_ENDINGS)}.")


def draw(summary: Summary, path: Path) -> None:
    """Draw the share of each value, a dot for each group.

    Args:
        summary: The shares to draw.
        path: The file; its ending says the format.

    Raises:
        ValueEvalError: It cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown: Sequence[tuple[str, Group]] = summary.largest_groups(SHOWN_GROUPS)
    series = shown or [("all rows", summary.labelled)]
    # Group names are shown as they are: a dollar sign begins no formula.
    with mpl.rc_context({"text.parse_math": False, "svg.hashsalt": "valueeval"}):
        figure = Figure(figsize=(7, 6.5), layout="constrained")
        FigureCanvasAgg(figure)
        axes: Any = figure.subplots()
        places = np.arange(len(VALUE_NAMES))
        for number, (name, group) in enumerate(series):
            beside = 0.12 * (number - (len(series) - 1) / 2)  # so that no dot hides another
            axes.plot(
                100 * group.shares, places + beside, marker="osD^vP"[number], markersize=5,
                linestyle="none", clip_on=False, label=f"{clean(name)[:40]} (n = {group.rows})",
            )  # fmt: skip
        axes.set_yticks(places, VALUE_NAMES)
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.set_xlabel("share of labelled rows that have the value (%)")
        axes.grid(axis="both", color="0.9")
        axes.set_axisbelow(True)
        if shown:
            figure.legend(loc="outside lower center", ncols=2, frameon=False)
        try:
            with replacing(path) as temporary:
                kind = path.suffix.lstrip(".").lower()
                figure.savefig(temporary, format=kind, dpi=150, metadata=_no_date(kind))
        except OSError as error:
            raise ValueEvalError(
                f"{path}: cannot be written ({error.strerror or error})."
            ) from error


def _no_date(kind: str) -> dict[str, Any]:
    """Return metadata that makes the same figure the same bytes."""
    return {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
