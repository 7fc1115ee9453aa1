"""Leaderboards and comparisons as people use them in Python.

``valueeval.leaderboard("results").to_pandas()`` and ``valueeval.compare("a", "b")``; the commands
of the same names are built on them.
"""

from __future__ import annotations

import difflib
import html
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from valueeval.leaderboard.commands.compared_runs import Pair, pairs_of_results
from valueeval.leaderboard.commands.comparison_text import print_comparison
from valueeval.leaderboard.formats import to_csv, to_markdown
from valueeval.leaderboard.inference.analysis import analyse
from valueeval.leaderboard.inference.comparison import Compared, Comparison
from valueeval.leaderboard.inference.comparison import compare as compare_runs
from valueeval.leaderboard.reading.finding import find_files
from valueeval.leaderboard.reading.results_files import read_manifests, read_results
from valueeval.leaderboard.reading.run_files import read_run_files
from valueeval.leaderboard.reading.runs import merged
from valueeval.leaderboard.table.collate import collate
from valueeval.leaderboard.table.names import name_rows, read_names
from valueeval.leaderboard.table.records import records
from valueeval.leaderboard.table.table import RANKED, Table
from valueeval.tasks.errors import ValueEvalError

if TYPE_CHECKING:
    import pandas as pd

Places = str | Path | Sequence[str | Path]
_SHOWN = (
    "rank", "system", "template", "parameters", "macro_f1", "macro_f1_low", "macro_f1_high",
    "official_f1", "can_be_best",
)  # fmt: skip


@dataclass(frozen=True)
class Leaderboard:
    """Results in tables, best first; shows itself in Jupyter.

    Attributes:
        table: Boards with their rows; what every output is written from.
    """

    table: Table

    @property
    def problems(self) -> list[str]:
        """Return which files could not be used, and why."""
        return [f"{each.source}: {each.reason}" for each in merged(self.table.problems)]

    def to_pandas(self) -> pd.DataFrame:
        """Return a row for each result and published system, with every column of the CSV.

        Missing is NaN or None. Column ``status`` says which rows are ranked, ``board`` with which
        others.
        """
        import pandas as pd

        return pd.DataFrame.from_records([to_csv.flat(each) for each in records(self.table)])

    def to_markdown(self) -> str:
        """Return the page that ``valueeval leaderboard -o leaderboard.md`` writes."""
        return to_markdown.render(self.table)

    def __str__(self) -> str:
        return self.to_markdown()

    def __repr__(self) -> str:
        ranked = sum(len(board.rows) for board in self.table.boards if board.status == RANKED)
        rows = sum(len(board.rows) for board in self.table.boards)
        return f"<Leaderboard: {ranked} of {rows} rows ranked>"

    def _repr_html_(self) -> str:
        """Return what Jupyter shows: the main columns of each board."""
        found = self.to_pandas()
        parts = []
        for board in self.table.boards:
            rows = found[found["board"] == board.title]
            shown = rows[[column for column in _SHOWN if rows[column].notna().any()]]
            table = shown.to_html(index=False, na_rep="", float_format="{:.3f}".format)
            finding = f"<p>{html.escape(board.finding)}</p>" if board.finding else ""
            parts.append(f"<h4>{html.escape(board.title)}</h4>{finding}{table}")
        return "".join(parts) or "<p>no results</p>"


def leaderboard(
    results: Places,
    *,
    reference: str | None = None,
    adapters: Sequence[str | Path] = (),
    names: str | Path | None = None,
    show_progress: Callable[[int], Callable[[], None]] | None = None,
) -> Leaderboard:
    """Rank results of lm-eval.

    Args:
        results: Folders (any depth), ``results_*.json`` files, or run files of the shared task.
        reference: The row that every other is compared with: its name, or name and template.
        adapters: Adapter directories, for results that do not hold their adapter's manifest.
        names: A YAML file of names to show, by the names of folders: ``full: My system``, or
            ``full: {name: My system, link: https://…}``.
        show_progress: Called with the number of samples files to read; returns what is called after
            each.

    Raises:
        ValueEvalError: Nothing can be read, or no one row is called as `reference`.
    """
    found, run_files = find_files([str(place) for place in _listed(results)])
    runs, problems = read_results(found, read_manifests([str(folder) for folder in adapters]))
    more_runs, more_problems = read_run_files(run_files)
    given = read_names(Path(names)) if names is not None else None
    table = name_rows(collate([*runs, *more_runs], [*problems, *more_problems]), given)
    _check_reference(table, reference)
    files = sum(len(row.runs) for board in table.boards for row in board.rows)
    advance = (lambda: None) if show_progress is None else show_progress(files)
    return Leaderboard(analyse(table, reference, advance=advance))


def _check_reference(table: Table, name: str | None) -> None:
    """Refuse a name that no ranked row has, or that several of one board have."""
    boards = [board for board in table.boards if board.status == RANKED]
    if name is None or not boards:
        return
    called = [[row for row in board.rows if row.is_called(name)] for board in boards]
    if not any(called):
        names = sorted({row.name for board in boards for row in board.rows})
        near = difflib.get_close_matches(name, names, n=3) or names[:8]
        raise ValueEvalError(
            f"--reference {name}: no ranked row is called so; there are {', '.join(near)}"
        )
    for rows in called:
        if len(rows) > 1:
            templates = ", ".join(f"'{row.name} {row.prompt}'" for row in rows)
            raise ValueEvalError(f"--reference {name}: several rows are called so; say {templates}")


@dataclass(frozen=True)
class ComparedSystems:
    """Two systems on the same arguments; shows itself in Jupyter.

    Attributes:
        pair: The systems, their names and predictions.
        comparison: Differences with intervals and p, and what single conclusions do to them.
    """

    pair: Pair
    comparison: Comparison

    @property
    def verdict(self) -> str:
        """Return in a sentence whether macro_f1 differs."""
        return self.comparison.overall[0].difference.verdict(*self.pair.called)

    def to_pandas(self) -> pd.DataFrame:
        """Return a row for each score: both systems, B - A with its 95 % interval, and p.

        ``p_holm`` of the F1 of single values is corrected for their number.
        """
        import pandas as pd

        every = (*self.comparison.overall, *self.comparison.values)
        return pd.DataFrame.from_records([_record(each) for each in every])

    def print(self, console: Console | None = None, arguments_shown: int = 10) -> None:
        """Print all that ``valueeval compare`` says."""
        console = console or Console(highlight=False)
        print_comparison(console, self.pair, self.comparison, arguments_shown)

    def __str__(self) -> str:
        out = io.StringIO()
        self.print(Console(file=out, width=100, highlight=False), 0)
        return out.getvalue()

    def __repr__(self) -> str:
        return f"<Comparison of {' and '.join(self.pair.names)}: {self.verdict}>"

    def _repr_html_(self) -> str:
        """Return what Jupyter shows."""
        table = self.to_pandas().to_html(index=False, na_rep="", float_format="{:.3f}".format)
        title = f"{self.pair.title}: A = {self.pair.names[0]}, B = {self.pair.names[1]}"
        return f"<p>{html.escape(title)}</p><p>{html.escape(self.verdict)}</p>{table}"


def compare(a: Places, b: Places, *, task: str | None = None) -> ComparedSystems:
    """Compare two systems on the same arguments.

    Args:
        a: Results of A with samples: a folder or file; several if A has several seeds.
        b: Those of B.
        task: The task to compare, where both have several.

    Raises:
        ValueEvalError: Results cannot be read, are not about the same arguments, or are of several
            tasks.
    """
    sides = [[str(place) for place in _listed(places)] for places in (a, b)]
    with threadpool_limits(limits=1):
        pairs = pairs_of_results(sides[0], sides[1], task)
        if len(pairs) > 1:
            tasks = ", ".join(pair.title for pair in pairs)
            raise ValueEvalError(f"Both have results of several tasks: say task=, one of {tasks}.")
        return compared(pairs[0])


def compared(pair: Pair) -> ComparedSystems:
    """Return what is known of a pair."""
    return ComparedSystems(pair, compare_runs(pair.a, pair.b))


def _record(each: Compared) -> dict[str, Any]:
    found = each.difference
    return {
        "metric": each.metric, "a": each.mean_a, "b": each.mean_b, "difference": found.value,
        "difference_low": found.low, "difference_high": found.high, "p": found.p,
        "p_holm": each.p_holm,
    }  # fmt: skip


def _listed(places: Places) -> Sequence[str | Path]:
    return [places] if isinstance(places, (str, Path)) else places
