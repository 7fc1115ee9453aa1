"""Prints a comparison of two systems: the verdict, tables, influence, the most unlike arguments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from valueeval.leaderboard import text
from valueeval.leaderboard.commands.compared_runs import Pair
from valueeval.leaderboard.inference.comparison import Compared, Comparison
from valueeval.leaderboard.reading.predictions import Predictions
from valueeval.tasks.scores.differences import Difference
from valueeval.tasks.values import VALUE_NAMES, VALUE_SLUGS

_TEXT_LENGTH = 90  # characters shown of a premise or a conclusion


def print_comparison(console: Console, pair: Pair, found: Comparison, shown: int) -> None:
    """Print all that is known of a pair.

    Args:
        console: Where to.
        pair: The systems.
        found: What :func:`valueeval.leaderboard.inference.comparison.compare` says of them.
        shown: How many arguments to print, of those on which they differ most.
    """
    a, b = pair.called
    macro = found.overall[0]
    console.print(Text(f"{pair.title}: A = {pair.names[0]}, B = {pair.names[1]}", style="bold"))
    console.print(Text(f"macro_f1: {macro.difference.verdict(a, b)}", style="bold"))
    console.print(_what_it_rests_on(pair, found))
    for note in pair.notes:
        console.print(Text(f"Note: {note}"))
    if len(pair.a) > 1 or len(pair.b) > 1:
        console.print(_of_each_seed(macro))
    console.print()
    console.print(_overall(found.overall))
    if "macro_ap" not in {each.metric for each in found.overall}:
        console.print(
            "\nNo macro_ap: it needs the 20 scores of each argument, and not all of these results "
            "hold them."
        )
    if found.influence is not None:
        unit = "argument" if pair.by_argument else "conclusion"
        console.print(
            f"\nWhen any one {unit} is left out, B - A in macro_f1 lies between "
            f"{found.influence.low:+.4f} and {found.influence.high:+.4f}. What moves it most:\n"
        )
        console.print(_influence(pair.a[0], found, unit))
    console.print("\nF1 per value: intervals of each value alone, p corrected for all of them\n")
    console.print(_values(found.values))
    if any(each.difference.low is None for each in found.values):
        console.print("\nNo interval: the value's positives are in too few conclusions.")
    if shown > 0:
        console.print("\nWhere they differ most (errors of 20 decisions)\n")
        console.print(_arguments(pair.a, pair.b, shown))


def _what_it_rests_on(pair: Pair, found: Comparison) -> str:
    seeds = [len(side) for side in (pair.a, pair.b)]
    size = f"{len(pair.a[0].ids)} arguments on {found.conclusions} conclusions."
    if pair.by_argument:
        return (
            f"{len(pair.a[0].ids)} arguments, whose conclusions are unknown: intervals are over "
            "single arguments, and too narrow where some share a conclusion."
        )
    if max(seeds) == 1:
        return (
            f"{size} One run of each: intervals are over conclusions, and say nothing about other "
            "trainings."
        )
    if min(seeds) == 1:
        several, single = ("A", "B") if seeds[0] > 1 else ("B", "A")
        return (
            f"{size} Intervals are over conclusions and the seeds of {several}; they say nothing "
            f"about other trainings of {single}."
        )
    return f"{size} Intervals are over conclusions and seeds."


def _of_each_seed(macro: Compared) -> str:
    sides = [
        f"{name}: " + ", ".join(f"{value:.4f}" for value in values)
        for name, values in (("A", macro.a), ("B", macro.b))
    ]
    return "macro_f1 of each seed: " + "; ".join(sides)


def _table(*heads: str, leading: int = 0) -> Table:
    """Return a table that leaves names of values and numbers whole in 80 columns."""
    table = Table(
        box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False, show_edge=False, leading=leading
    )
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place else "left", no_wrap=True)
    return table


def _overall(scores: Sequence[Compared]) -> Table:
    table = _table("score", "A", "B", "B - A", "95 %", "p")
    for each in scores:
        found = each.difference
        table.add_row(
            each.metric, f"{each.mean_a:.4f}", f"{each.mean_b:.4f}",
            _signed(found.value, 4), _interval(found), _p(found.p),
        )  # fmt: skip
    return table


def _values(values: Sequence[Compared]) -> Table:
    """List F1 per value, the largest difference first."""
    table = _table("value", "A", "B", "B - A", "95 %", "p (Holm)")
    for each in sorted(values, key=lambda value: -abs(value.mean_b - value.mean_a)):
        found = each.difference
        table.add_row(
            VALUE_NAMES[VALUE_SLUGS.index(each.metric.removeprefix("f1_"))],
            f"{each.mean_a:.3f}", f"{each.mean_b:.3f}", _signed(found.value, 3),
            _interval(found), _p(each.p_holm),
        )  # fmt: skip
    return table


def _influence(first: Predictions, found: Comparison, unit: str) -> Table:
    table = _table("arguments", "B - A without", "of the variance")
    table.add_column(unit, overflow="fold")
    texts = dict(zip(first.clusters, first.conclusions, strict=False))
    for each in found.influence.conclusions if found.influence is not None else ():
        name = texts.get(each.key) or each.key
        table.add_row(
            str(each.arguments), f"{each.without:+.4f}", f"{100 * each.share:.0f} %",
            Text(_short(name)),
        )  # fmt: skip
    return table


def _arguments(a: list[Predictions], b: list[Predictions], shown: int) -> Table:
    """List the arguments on which the number of errors differs most, and in which values."""
    table = _table("argument", "A", "B", leading=1)
    table.add_column("premise, and the values that only one has right", overflow="fold")
    errors = [np.mean([each.prediction != each.truth for each in side], axis=0) for side in (a, b)]
    gap = errors[0] - errors[1]  # (n, 20), above 0 where B is right more often
    size = np.abs(gap).sum(1)
    for index in np.lexsort((np.arange(len(size)), -size))[:shown]:
        if size[index] == 0:
            break
        said = [_short(a[0].premises[index])]
        for side, better in (("A", gap[index] < 0), ("B", gap[index] > 0)):
            if better.any():
                values = ", ".join(VALUE_NAMES[value] for value in np.flatnonzero(better))
                said.append(f"only {side} is right: {values}")
        table.add_row(
            Text(text.clean(a[0].ids[index])), f"{errors[0][index].sum():.3g}",
            f"{errors[1][index].sum():.3g}", Text("\n".join(line for line in said if line)),
        )  # fmt: skip
    return table


def _short(string: str) -> str:
    cleaned = text.clean(string)
    return cleaned[:_TEXT_LENGTH] + ("…" if len(cleaned) > _TEXT_LENGTH else "")


def _signed(value: float | None, places: int) -> str:
    return "" if value is None else f"{value:+.{places}f}"


def _interval(found: Difference) -> str:
    if found.low is None or found.high is None:
        return ""
    return f"[{found.low:+.3f}, {found.high:+.3f}]"


def _p(value: float | None) -> str:
    return "" if value is None else text.p_value(value)
