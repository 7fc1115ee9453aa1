"""``valueeval compare A B``: two systems on the same arguments, paired.

Several seeds of each: ``valueeval compare A1 A2 … --to B1 B2 …``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from valueeval.leaderboard import text
from valueeval.leaderboard.reading.finding import find_results
from valueeval.leaderboard.reading.predictions import Predictions, SamplesError, read_checked
from valueeval.leaderboard.reading.results_files import read_results
from valueeval.leaderboard.table.collate import collate
from valueeval.leaderboard.table.table import Row
from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.data.dataset import read_arguments, read_labels
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores import uncertainty as statistics
from valueeval.tasks.scores.f1 import ClusterCounts, count, f1_of_value, macro_f1, official_f1
from valueeval.tasks.scores.runfile import read_run
from valueeval.tasks.scores.scoring import score
from valueeval.tasks.values import VALUE_NAMES

RESAMPLES = statistics.RESAMPLES
_PREMISE_LENGTH = 90


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the comparison.

    Raises:
        ValueEvalError: one of the two cannot be read, or they are not about the same arguments.
    """
    options = _parser().parse_args(argv)
    console = Console(highlight=False)
    if options.labels is None:
        pairs = _results(*_sides(options), options.task)
    else:
        if options.task is not None:
            raise ValueEvalError("--task is of results; run files (--labels) have no task")
        pairs = [_run_files(options)]
    with threadpool_limits(limits=1):
        for title, names, predictions in pairs:
            _print(console, title, names, predictions, options.arguments_shown)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="valueeval compare",
        description="Compare two systems on the same arguments: difference in macro_f1 and "
        "official_f1 with interval and tests over conclusions, per value, and the arguments on "
        "which they differ most.",
    )
    parser.add_argument(
        "results", metavar="RESULTS", nargs="+",
        help="A and B: results files or folders with samples, or run files; with --to all are of A",
    )  # fmt: skip
    parser.add_argument(
        "--to", metavar="RESULTS", nargs="+",
        help="those of B, where A and B have several seeds, each in a folder of its own",
    )  # fmt: skip
    parser.add_argument("--task", help="the task to compare, where both have several")
    parser.add_argument(
        "--labels", type=Path, metavar="TSV", help="labels; A and B are then run files"
    )
    parser.add_argument(
        "--arguments", type=Path, metavar="TSV",
        help="arguments of these labels, for their conclusions "
        "(default: arguments-NAME.tsv beside labels-NAME.tsv)",
    )  # fmt: skip
    parser.add_argument(
        "--show", dest="arguments_shown", type=int, default=10, metavar="N",
        help="how many of the arguments on which they differ most to print (default 10)",
    )  # fmt: skip
    return parser


# ------------------------------------------------------------------------------- reading

Pair = tuple[str, tuple[str, str], tuple[list[Predictions], list[Predictions]]]
Places = list[str]


def _sides(options: argparse.Namespace) -> tuple[Places, Places]:
    """Where A's results are, and where B's."""
    given: Places = options.results
    if options.to is not None:
        return given, options.to
    if len(given) != 2:
        raise ValueEvalError(
            f"two systems are compared, and {len(given)} places were given: name A and B, or the "
            "seeds of A, then --to and the seeds of B"
        )
    return given[:1], given[1:]


def _results(a: Places, b: Places, task: str | None) -> list[Pair]:
    """One pair for each task that both have; or, where each has one task only, just these two."""
    rows = [_rows(places) for places in (a, b)]
    if task is not None:
        rows = [{name: each[name] for name in each if name == task} for each in rows]
    common = [(name, name) for name in sorted(set(rows[0]) & set(rows[1]))]
    if not common and all(len(each) == 1 for each in rows):
        common = [(next(iter(rows[0])), next(iter(rows[1])))]
    if not common:
        found = " and ".join(", ".join(sorted(each)) or "nothing" for each in rows)
        raise ValueEvalError(f"no task in common{f' called {task}' if task else ''}: found {found}")
    pairs: list[Pair] = []
    for tasks in common:
        one, other = (
            _row_of(each[name], places)
            for each, name, places in zip(rows, tasks, (a, b), strict=True)
        )
        title = " against ".join(dict.fromkeys(tasks))
        pairs.append((title, _names(one.name, other.name), (_samples(one), _samples(other))))
    return pairs


def _rows(places: Places) -> dict[str, list[Row]]:
    runs, problems = read_results(find_results(places))
    for problem in problems:
        print(f"not used: {problem.source}: {problem.reason}", file=sys.stderr)
    found: dict[str, list[Row]] = {}
    for board in collate(runs).boards:
        for row in board.rows:
            found.setdefault(row.run.task, []).append(row)
    return found


def _row_of(rows: list[Row], places: Places) -> Row:
    if len(rows) > 1:
        names = ", ".join(sorted({row.name for row in rows}))
        raise ValueEvalError(
            f"{' '.join(places)}: {len(rows)} systems have results of {rows[0].run.task} "
            f"({names}); give the folders or files of one"
        )
    return rows[0]


def _samples(row: Row) -> list[Predictions]:
    try:
        return [read_checked(run) for run in row.runs]
    except SamplesError as error:
        raise ValueEvalError(f"{row.run.source}: {error}") from error


def _run_files(options: argparse.Namespace) -> Pair:
    places = [place for side in _sides(options) for place in side]
    if len(places) != 2:
        raise ValueEvalError("run files have no seeds: one for A and one for B")
    ids, labels = read_labels(options.labels)
    arguments = options.arguments or _beside(options.labels)
    clusters, premises = list(ids), [""] * len(ids)
    if arguments is None:
        print(
            "note: no arguments file (--arguments), so conclusions are unknown and arguments are "
            "taken as independent: intervals are too narrow", file=sys.stderr,
        )  # fmt: skip
    else:
        by_id = {argument.id: argument for argument in read_arguments(arguments)}
        missing = [argument for argument in ids if argument not in by_id]
        if missing:
            raise ValueEvalError(
                f"{arguments}: argument {missing[0]} of {options.labels} is not in it"
            )
        clusters = [conclusion_key(by_id[argument].conclusion) for argument in ids]
        premises = [by_id[argument].premise for argument in ids]
    both = []
    for path in places:
        prediction = read_run(path).aligned(ids, options.labels)
        both.append([Predictions(ids, labels, prediction, tuple(clusters), tuple(premises))])
    return (
        str(options.labels),
        _names(Path(places[0]).stem, Path(places[1]).stem),
        (both[0], both[1]),
    )


def _beside(labels: Path) -> Path | None:
    path = labels.with_name(labels.name.replace("labels", "arguments", 1))
    return path if path != labels and path.is_file() else None


def _names(a: str, b: str) -> tuple[str, str]:
    return text.clean(a), text.clean(b)


# ------------------------------------------------------------------------------- comparison


def _print(
    console: Console,
    title: str,
    names: tuple[str, str],
    predictions: tuple[list[Predictions], list[Predictions]],
    shown: int,
) -> None:
    a, b = predictions
    for each in (*a, *b):
        if not a[0].same_arguments(each):
            raise ValueEvalError(
                f"{title}: {names[0]} and {names[1]} were not scored on the same arguments, labels "
                "and conclusions; only runs on the same data can be compared"
            )
    counts = count(a[0].truth, [each.prediction for each in (*a, *b)], a[0].clusters)
    rows = [list(range(len(a))), list(range(len(a), len(a) + len(b)))]
    console.print(Text(f"{title}: {names[0]} against {names[1]}", style="bold"))
    console.print(
        f"{len(a[0].ids)} arguments on {counts.clusters} conclusions. A is the first of the two, "
        "B the second; where A - B is above 0, A is better. 95 % intervals are over conclusions."
    )
    if len(a) > 1 or len(b) > 1:
        console.print(_by_seed(a, b))
    for table in (_overall(counts, rows), _per_value(counts, rows)):
        console.print()
        console.print(table)
    if shown > 0:
        console.print("\nwhere they differ most (errors of 20 decisions)\n")
        console.print(_arguments(a, b, shown))


def _by_seed(a: list[Predictions], b: list[Predictions]) -> str:
    """Scores of single seeds: two or three of them tell little about how much trainings differ."""
    sides = [
        f"{name}: " + ", ".join(f"{_macro_f1(each):.4f}" for each in side)
        for name, side in (("A", a), ("B", b))
    ]
    return "macro_f1 of each seed: " + "; ".join(sides)


def _macro_f1(run: Predictions) -> float:
    return float(score(run.truth, run.prediction)["macro_f1"] or 0.0)


def _table(*heads: str, leading: int = 0) -> RichTable:
    """A table that leaves names of values and numbers whole in 80 columns."""
    table = RichTable(
        box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False, show_edge=False, leading=leading
    )
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place else "left", no_wrap=True)
    return table


def _overall(counts: ClusterCounts, rows: list[list[int]]) -> RichTable:
    table = _table("score", "A", "B", "A - B", "95 %", "p", "p (randomised)")
    for name, metric in (("macro_f1", macro_f1), ("official_f1", official_f1)):
        found = statistics.estimate(counts, rows, metric, best=1, resamples=RESAMPLES)
        swapped = statistics.randomisation(counts, rows, 1, metric, RESAMPLES)
        table.add_row(
            name, f"{found.value[0]:.4f}", f"{found.value[1]:.4f}", f"{found.difference[0]:+.4f}",
            _interval(found), _p(found.p[0]), _p(swapped[0]),
        )  # fmt: skip
    return table


def _per_value(counts: ClusterCounts, rows: list[list[int]]) -> RichTable:
    """F1 per value, largest difference first; p Holm-corrected over the values."""
    table = _table("value", "A", "B", "A - B", "95 %", "p (Holm)")
    present = [value for value in range(20) if counts.actual[:, value].sum() > 0]
    found = {
        value: statistics.estimate(counts, rows, f1_of_value(value), best=1, resamples=RESAMPLES)
        for value in present
    }
    raw = [1.0 if np.isnan(found[value].p[0]) else float(found[value].p[0]) for value in present]
    corrected = dict(zip(present, statistics.holm(raw), strict=True))
    for value in sorted(present, key=lambda value: -abs(found[value].difference[0])):
        each = found[value]
        p = float("nan") if np.isnan(each.p[0]) else corrected[value]
        table.add_row(
            VALUE_NAMES[value], f"{each.value[0]:.3f}", f"{each.value[1]:.3f}",
            f"{each.difference[0]:+.3f}", _interval(each), _p(p),
        )  # fmt: skip
    return table


def _interval(found: statistics.Estimates) -> str:
    low, high = found.difference_low[0], found.difference_high[0]
    return "" if np.isnan(low) else f"[{low:+.3f}, {high:+.3f}]"


def _p(value: float) -> str:
    return "" if np.isnan(value) else text.p_value(float(value))


def _arguments(a: list[Predictions], b: list[Predictions], shown: int) -> RichTable:
    """The arguments on which the number of errors differs most, and in which values."""
    table = _table("argument", "A", "B", leading=1)
    table.add_column("premise, and the values that only one has right", overflow="fold")
    errors = [np.mean([each.prediction != each.truth for each in side], axis=0) for side in (a, b)]
    gap = errors[0] - errors[1]  # (n, 20), above 0 where the second is right more often
    size = np.abs(gap).sum(1)
    for index in np.lexsort((np.arange(len(size)), -size))[:shown]:
        if size[index] == 0:
            break
        premise = text.clean(a[0].premises[index])
        said = [premise[:_PREMISE_LENGTH] + ("…" if len(premise) > _PREMISE_LENGTH else "")]
        for side, better in (("A", gap[index] < 0), ("B", gap[index] > 0)):
            if better.any():
                values = ", ".join(VALUE_NAMES[value] for value in np.flatnonzero(better))
                said.append(f"only {side} is right: {values}")
        table.add_row(
            Text(text.clean(a[0].ids[index])), f"{errors[0][index].sum():g}",
            f"{errors[1][index].sum():g}", Text("\n".join(line for line in said if line)),
        )  # fmt: skip
    return table
