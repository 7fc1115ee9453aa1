"""A progress bar for what a person would wait for in silence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")


def tracked(items: Iterable[Item], what: str) -> Iterator[Item]:
    """Yield `items` beside a bar on stderr that goes away in the end; no bar but on a terminal.

    Args:
        items: What is worked through; without a length only their number is shown.
        what: What is done with them, e.g. ``reading samples``.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield from items
        return
    columns = (SpinnerColumn(), TextColumn(what), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        yield from bar.track(items)
