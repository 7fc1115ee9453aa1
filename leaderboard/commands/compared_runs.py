"""Reads the runs that are to be compared: results of lm-eval, or run files with labels."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from valueeval.leaderboard.reading.finding import find_results
from valueeval.leaderboard.reading.predictions import Predictions, SamplesError, read_checked
from valueeval.leaderboard.reading.results_files import read_results
from valueeval.leaderboard.table.collate import collate
from valueeval.leaderboard.table.table import Row
from valueeval.leaderboard.text import clean
from valueeval.tasks.commands.progress import tracked
from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.data.dataset import read_arguments, read_labels
from valueeval.tasks.display import did_you_mean
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.runfile import read_run


@dataclass(frozen=True)
class Pair:
    """Two systems on the same arguments.

    Attributes:
        title: The task, or both tasks, or the file of labels.
        names: What A and B are called.
        a, b: The runs (seeds) of each.
        by_argument: Whether the conclusions are unknown: each argument then counts as independent.
        notes: Reasons to doubt the comparison.
    """

    title: str
    names: tuple[str, str]
    a: list[Predictions]
    b: list[Predictions]
    by_argument: bool = False
    notes: tuple[str, ...] = ()

    @property
    def called(self) -> tuple[str, str]:
        """Return the names where they tell the two apart, else A and B."""
        return self.names if len(set(self.names)) == 2 else ("A", "B")

    def __post_init__(self) -> None:
        if not all(self.a[0].same_arguments(each) for each in (*self.a, *self.b)):
            raise ValueEvalError(
                f"{self.title}: {self.names[0]} and {self.names[1]} were not scored on the same "
                "arguments, labels and conclusions; only runs on the same data can be compared"
            )


def pairs_of_results(a: Sequence[str], b: Sequence[str], task: str | None) -> list[Pair]:
    """Return a pair for each task that both have; where each has one task only, just these two.

    Args:
        a: Files or folders with the results of A.
        b: Those of B.
        task: The only task to take.

    Raises:
        ValueEvalError: Results or samples cannot be read, there is no task in common, or one side
            holds several systems.
    """
    sides = [read_rows(places) for places in (a, b)]
    meant = ""
    if task is not None:
        meant = did_you_mean(task, set(sides[0]) & set(sides[1]))
        sides = [{name: side[name] for name in side if name == task} for side in sides]
    common = [(name, name) for name in sorted(set(sides[0]) & set(sides[1]))]
    if not common and all(len(side) == 1 for side in sides):
        common = [(next(iter(sides[0])), next(iter(sides[1])))]
    if not common:
        found = " and ".join(", ".join(sorted(side)) or "nothing" for side in sides)
        called = f" called {task}" if task else ""
        raise ValueEvalError(f"no task in common{called}: found {found}{meant}")
    pairs = []
    for tasks in common:
        of_a, of_b = (
            _only_row(side[name], places)
            for side, name, places in zip(sides, tasks, (a, b), strict=True)
        )
        title = " against ".join(dict.fromkeys(tasks))
        pairs.append(pair_of_rows(title, of_a, of_b, _names(of_a, of_b)))
    return pairs


def pair_of_rows(title: str, a: Row, b: Row, names: tuple[str, str]) -> Pair:
    """Return the pair of two rows, with reasons to doubt it.

    Raises:
        ValueEvalError: Their samples cannot be read, or are not about the same arguments.
    """
    notes = [f"{name}: {doubt}" for name, row in zip(names, (a, b), strict=True)
             for doubt in row.warnings]  # fmt: skip
    if a.run.sample or b.run.sample:
        notes.append("the sample set: its numbers say nothing about the real sets")
    if a.run.limited or b.run.limited:
        notes.append("only a part of the set")
    if a.run.task == b.run.task and a.run.version != b.run.version:
        notes.append(f"two versions of the task, {a.run.version} and {b.run.version}")
    return Pair(title, names, samples_of(a), samples_of(b), notes=tuple(dict.fromkeys(notes)))


def _names(a: Row, b: Row) -> tuple[str, str]:
    """Return the names of two rows; where they are the same, with what tells the two apart."""
    if a.name == b.name:
        for one, other in zip(_marks(a), _marks(b), strict=True):
            if one != other:
                return f"{a.name} ({one})", f"{b.name} ({other})"
    return a.name, b.name


def _marks(row: Row) -> tuple[str, ...]:
    """Return what can tell a row from others of its name: how it was asked, and its seed."""
    seeds = [str(run.seed) for run in row.runs if run.seed is not None]
    told = f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}" if seeds else "without a seed"
    return row.run.method, row.prompt, told


def read_rows(places: Sequence[str]) -> dict[str, list[Row]]:
    """Return the rows of a leaderboard of these results, by their task.

    What is not used is told on standard error.
    """
    runs, problems = read_results(find_results(places))
    for problem in problems:
        print(f"not used: {problem.source}: {problem.reason}", file=sys.stderr)
    found: dict[str, list[Row]] = {}
    table = collate(runs)
    for note in table.notes:
        print(f"note: {note}", file=sys.stderr)
    for board in table.boards:
        for row in board.rows:
            found.setdefault(row.run.task, []).append(row)
    return found


def _only_row(rows: list[Row], places: Sequence[str]) -> Row:
    if len(rows) > 1:
        names = ", ".join(sorted({row.name for row in rows}))
        raise ValueEvalError(
            f"{' '.join(places)}: {len(rows)} systems have results of {rows[0].run.task} "
            f"({names}); give the folders or files of one"
        )
    return rows[0]


def samples_of(row: Row) -> list[Predictions]:
    """Return the predictions of each run (seed) of a row.

    Raises:
        ValueEvalError: Its samples cannot be read.
    """
    found = []
    for run in tracked(row.runs, f"reading samples of {row.name}"):
        try:
            found.append(read_checked(run))
        except SamplesError as error:
            raise ValueEvalError(f"{run.source}: {error}") from error
    return found


def pair_of_run_files(a: Path, b: Path, labels: Path, arguments: Path | None) -> Pair:
    """Return the pair of two run files, scored against labels.

    Args:
        a: Run file of A.
        b: Run file of B.
        labels: Labels of the arguments.
        arguments: The arguments, for their conclusions; ``None``: the file beside `labels` that is
            called like it; without one, every argument counts as independent, and this is said.

    Raises:
        ValueEvalError: A file cannot be read, or they are not about the same arguments.
    """
    ids, truth = read_labels(labels)
    arguments = arguments or _beside(labels)
    clusters, premises, conclusions = list(ids), [""] * len(ids), [""] * len(ids)
    if arguments is None:
        print(
            "note: no arguments file (--arguments), so conclusions are unknown and arguments are "
            "taken as independent: intervals are too narrow", file=sys.stderr,
        )  # fmt: skip
    else:
        by_id = {argument.id: argument for argument in read_arguments(arguments)}
        missing = [argument for argument in ids if argument not in by_id]
        if missing:
            raise ValueEvalError(f"{arguments}: argument {missing[0]} of {labels} is not in it")
        conclusions = [by_id[argument].conclusion for argument in ids]
        clusters = [conclusion_key(conclusion) for conclusion in conclusions]
        premises = [by_id[argument].premise for argument in ids]
    sides = [
        [
            Predictions(
                ids, truth, read_run(path).aligned(ids, labels),
                tuple(clusters), tuple(premises), tuple(conclusions),
            )
        ]
        for path in (a, b)
    ]  # fmt: skip
    names = (clean(a.stem), clean(b.stem))
    return Pair(str(labels), names, sides[0], sides[1], by_argument=arguments is None)


def _beside(labels: Path) -> Path | None:
    path = labels.with_name(labels.name.replace("labels", "arguments", 1))
    return path if path != labels and path.is_file() else None
