"""Show the progress of training on stderr: one bar, and a line for each epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType

from accelerate import PartialState
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class TrainingProgress:
    """A bar of steps with loss, best validation macro_f1 and time left; a context manager."""

    def __init__(self, total: int, done: int) -> None:
        self.console = _console()
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

    def step(self, loss: float) -> None:
        """Count a step; loss is the mean of this epoch so far."""
        self._loss = f"loss {loss:.4f}"
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
    """Show a bar for reading arguments; yield a function that adds to the number of those read."""
    columns = (TextColumn("reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_console()) as bar:
        task = bar.add_task("", total=total)
        yield lambda number: bar.update(task, advance=number)


def note(text: str) -> None:
    """Print a line on stderr."""
    _console().print(text, markup=False, soft_wrap=True)


def _console() -> Console:
    """Return the console of stderr, which is quiet in all processes but the main one."""
    return Console(stderr=True, highlight=False, quiet=not PartialState().is_main_process)
