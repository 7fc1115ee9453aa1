"""Reads what the finished cells of a study have measured, in groups that differ in their seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from valueeval.leaderboard.inference.comparison import METRICS, leave_conclusions_out
from valueeval.leaderboard.reading.finding import find_results
from valueeval.leaderboard.reading.predictions import Predictions, SamplesError, read_checked
from valueeval.leaderboard.reading.results_files import read_results
from valueeval.leaderboard.reading.runs import Problem, Run
from valueeval.study.cells import Cell
from valueeval.study.design import REPEATED
from valueeval.study.store import State, Store
from valueeval.tasks.data.dataset import CV
from valueeval.tasks.scores.intervals import Interval, interval
from valueeval.tasks.scores.scoring import score


@dataclass(frozen=True, eq=False)
class Measured:
    """A finished cell on one set.

    Attributes:
        cell: The cell.
        run: Its results.
        predictions: Its decisions, and its scores where it gave any.
    """

    cell: Cell
    run: Run
    predictions: Predictions

    @property
    def every_value(self) -> float | None:
        """The macro F1 of predicting every value for each of its arguments."""
        truth = self.predictions.truth
        return score(truth, np.ones_like(truth))["macro_f1"]

    @cached_property
    def scores(self) -> Mapping[str, float | None]:
        """Score by metric, one of `METRICS`; None where the cell has none."""
        found = {metric: leave_conclusions_out([self.predictions], [], metric)
                 for metric in METRICS}  # fmt: skip
        return {
            metric: None if left is None or np.isnan(left.value[0]) else float(left.value[0])
            for metric, left in found.items()
        }


@dataclass(frozen=True, eq=False)
class Group:
    """Cells of a block that differ in nothing but the seed.

    Attributes:
        block: Name of the block.
        factors: What the group is, by factor, without block and seed.
        cells: All of its cells, finished or not.
        measured: The finished ones.
    """

    block: str
    factors: Mapping[str, Any]
    cells: tuple[Cell, ...]
    measured: tuple[Measured, ...]

    @property
    def label(self) -> str:
        """A name for people: ``mpnet, lora``."""
        return self.cells[0].design.label_without(REPEATED)

    @property
    def part(self) -> str:
        """The part of the set that its cells are evaluated on, in words; empty for all of it."""
        return self.cells[0].design.part

    @property
    def unparsed(self) -> float | None:
        """Mean share of arguments whose answer could not be read; None where nothing is parsed."""
        shares = [each.run.metrics["unparsed"] for each in self.measured]
        known = [share for share in shares if share is not None]
        return sum(known) / len(known) if known else None

    @cached_property
    def intervals(self) -> Mapping[str, Interval | None]:
        """Mean over the seeds with its interval, by metric; None where nothing is measured."""
        predictions = [each.predictions for each in self.measured]
        found = {
            metric: leave_conclusions_out(predictions, [], metric) if predictions else None
            for metric in METRICS
        }
        return {
            metric: None if left is None else interval(left, range(len(predictions)))
            for metric, left in found.items()
        }


def read_cells(
    cells: Sequence[Cell], store: Store, dataset: str
) -> tuple[dict[str, Measured], list[Problem]]:
    """Read the finished cells, by key, and what could not be read and why.

    Args:
        cells: The cells of the study.
        store: Its folder.
        dataset: The set of the dataset to read: ``main``, ``validation``, ``sample`` …; results of
            cross-validation are read with any.
    """
    found: dict[str, Measured] = {}
    problems: list[Problem] = []
    for cell in cells:
        if cell.key in found or store.state(cell) is not State.DONE:
            continue
        runs, unread = read_results(find_results([store.results(cell)]))
        problems += unread
        for run in runs:
            if run.dataset != (CV if cell.sets == (CV,) else dataset):
                continue
            try:
                found[cell.key] = Measured(cell, run, read_checked(run))
            except SamplesError as error:
                problems.append(Problem(cell.design.label, str(error)))
    return _on_the_same_arguments(found, problems), problems


def _on_the_same_arguments(
    found: Mapping[str, Measured], problems: list[Problem]
) -> dict[str, Measured]:
    """Leave out cells that were scored on other arguments than most that ask for the same part."""
    kept = {}
    for part in dict.fromkeys(each.cell.design.part for each in found.values()):
        of_part = {key: each for key, each in found.items() if each.cell.design.part == part}
        sizes = [len(each.predictions.ids) for each in of_part.values()]
        usual = max(set(sizes), key=lambda size: (sizes.count(size), size))
        first = next(e.predictions for e in of_part.values() if len(e.predictions.ids) == usual)
        for key, each in of_part.items():
            if first.same_arguments(each.predictions):
                kept[key] = each
            else:
                reason = f"scored on {len(each.predictions.ids)} arguments, others on {usual}"
                problems.append(Problem(each.cell.design.label, reason))
    return {key: kept[key] for key in found if key in kept}


def groups_of(cells: Sequence[Cell], measured: Mapping[str, Measured]) -> list[Group]:
    """Return the cells in groups that differ in nothing but the seed, in order.

    What does not depend on its seed, as nothing is trained, is one cell.
    """
    grouped: dict[tuple[str, str], dict[str, Cell]] = {}
    for cell in cells:
        of_group = (str(cell.design.factors["block"]), repr(_without_repeated(cell)))
        grouped.setdefault(of_group, {}).setdefault(cell.key, cell)
    return [
        _group(block, list(by_key.values()), measured) for (block, _), by_key in grouped.items()
    ]


def _group(block: str, cells: Sequence[Cell], measured: Mapping[str, Measured]) -> Group:
    # The same cell has other factors in another block.
    of_block = (replace(measured[cell.key], cell=cell) for cell in cells if cell.key in measured)
    return Group(block, _without_repeated(cells[0]), tuple(cells), tuple(of_block))


def _without_repeated(cell: Cell) -> dict[str, Any]:
    return {
        name: value
        for name, value in cell.design.factors.items()
        if name not in (*REPEATED, "block")
    }
