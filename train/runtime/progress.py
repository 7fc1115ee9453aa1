"""Show the progress of training on stderr: one bar, and a line for each epoch.

In a log, which is no terminal, a line every half minute stands for the bar.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType

from accelerate import PartialState
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PULSE_SECONDS = 30.0
"""Seconds between two lines of a log."""


class Pulse:
    """Print a line every half minute of something slow: what is done, how fast, how long still.

    Args:
        what: What goes on, the beginning of the line.
        total: How much there is to do, ``done`` included.
        unit: What is counted.
        done: How much was done before.
    """

    def __init__(self, what: str, total: int, unit: str = "arguments", done: int = 0) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._done = self._done_before = done
        self._arguments = 0
        self._began = self._spoke = time.monotonic()

    def advance(self, number: int, arguments: int | None = None, more: str = "") -> None:
        """Count what was done, and print a line if it is time.

        Args:
            number: How much was done since the last call.
            arguments: How many arguments that were; ``None``: ``number``.
            more: The end of the line.
        """
        self._done += number
        self._arguments += number if arguments is None else arguments
        now = time.monotonic()
        if now - self._spoke < PULSE_SECONDS:
            return
        self._spoke = now
        seconds = now - self._began
        left = (self._total - self._done) * seconds / max(self._done - self._done_before, 1)
        note(
            f"{self._what}: {self._done} of {self._total} {self._unit}, "
            f"{self._arguments / seconds:.1f} arguments a second, {_duration(left)} left{more}"
        )


class TrainingProgress:
    """A bar of steps with loss, best validation macro_f1 and time left; a context manager."""

    def __init__(self, total: int, done: int) -> None:
        self.console = _console()
        self._pulse = Pulse("training", total, "steps", done)
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[scores]}"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self._task = self._bar.add_task("", total=total, completed=done, scores="")
        self._loss = self._best = ""

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def step(self, loss: float, arguments: int) -> None:
        """Count a step of so many arguments; loss is the mean of this epoch so far."""
        self._loss = f"loss {loss:.4f}"
        if not self.console.is_terminal:
            self._pulse.advance(1, arguments, f", {self._loss}")
        self._bar.update(self._task, advance=1, scores=self._loss + self._best)

    def epoch(self, number: int, loss: float, scores: Mapping[str, float | None]) -> None:
        """Print an epoch's line: number from 1, loss, and scores on validation if there are any."""
        text = f"epoch {number}: loss {loss:.4f}"
        if scores:
            macro_f1, official_f1 = (scores[name] or 0.0 for name in ("macro_f1", "official_f1"))
            text += f", validation macro_f1 {macro_f1:.4f}, official_f1 {official_f1:.4f}"
        self.console.print(text)

    def best(self, macro_f1: float) -> None:
        """Show the best validation macro_f1 so far beside the loss."""
        self._best = f", validation macro_f1 {macro_f1:.4f}"
        self._bar.update(self._task, scores=self._loss + self._best)


@contextmanager
def reading(total: int) -> Iterator[Callable[[int], None]]:
    """Show that arguments are read; yield a function that adds to the number of those read."""
    if not _console().is_terminal:
        yield Pulse("reading", total).advance
        return
    columns = (TextColumn("reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_console()) as bar:
        task = bar.add_task("", total=total)
        yield lambda number: bar.update(task, advance=number)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def note(text: str) -> None:
    """Print a line on stderr."""
    _console().print(text, markup=False, soft_wrap=True)


def _console() -> Console:
    """Return the console of stderr, which is quiet in all processes but the main one."""
    return Console(stderr=True, highlight=False, quiet=not PartialState().is_main_process)
