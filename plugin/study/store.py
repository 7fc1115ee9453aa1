"""The folder of a study: one folder a cell, with its log, its state, adapter and results.

::

    OUTPUT/cells/<key>/cell.json     factors and options, for people
                       train.yaml    options of valueeval train
                       samples.json  arguments to evaluate on, where not all are
                       log.txt       what the commands printed
                       selection.json  the choice among configurations, where there is one
                       answers_rank0.db  answers of a base model, for cells that calibrate them
                       adapter/      what was trained
                       results/      what lm_eval wrote; renamed into place when it is whole
                       failed.json   why the cell failed; absent otherwise
                       lock          held by the process that runs the cell

A cell is done when ``results/`` is there. An archive of a study holds only ``cell.json`` and
``results/``. A study that goes on from a copy of it trains again only the cells whose adapters
unfinished cells read.

Processes on one machine or several can share the folder: the lock is the operating system's
(``flock``), so a killed process leaves none behind. The commands of a cell inherit it: where the
study is killed and they go on, nobody else takes the cell until they have ended. The file system
must pass such locks between machines, as NFS and, where it is set so, Lustre do.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import IO, Any

import yaml

from valueeval.study.cells import Cell
from valueeval.study.commands import (
    CELL_FILE,
    cell_folder,
    chosen_keys,
    sample_places,
    train_options,
)
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.files import replacing


class State(Enum):
    """Where a cell stands."""

    WAITING = "waiting"
    RUNNING = "running"
    FAILED = "failed"
    DONE = "done"


class Store:
    """The cells of a study on the disk.

    Args:
        folder: The study's output folder; made when a cell is first claimed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, cell: Cell) -> Path:
        """Return the folder of a cell."""
        return cell_folder(self.folder, cell.key)

    def results(self, cell: Cell) -> Path:
        """Return the folder of a cell's results, which is there when the cell is done."""
        return self.path(cell) / "results"

    def manifest(self, cell: Cell) -> Path:
        """Return the manifest of a cell's adapter, which is there when that is trained."""
        return self.path(cell) / "adapter" / "valueeval.json"

    def state(self, cell: Cell) -> State:
        """Return where a cell stands, as far as this machine can see."""
        return State.DONE if self.results(cell).is_dir() else self._unfinished(cell)

    def states(self, cells: Sequence[Cell]) -> dict[str, State]:
        """Return where cells stand, by key, for who runs them.

        As `state`, but for cells that others read: a finished one is not done where its adapter is
        gone and an unfinished cell reads it; one that is not finished counts as done where all that
        read it are.
        """
        by_key = {cell.key: cell for cell in cells}
        found = {key: self.state(cell) for key, cell in by_key.items()}
        read = {key for cell in cells for key in self.read_by(cell)}
        look = [
            cell
            for cell in cells
            if not (cell.supporting and cell.key in read) and found[cell.key] is not State.DONE
        ]
        wanted = {cell.key for cell in look}
        while look:
            cell = look.pop()
            for key in self.read_by(cell):
                if key in by_key and key not in wanted and not self._serves(by_key[key], cell):
                    wanted.add(key)
                    look.append(by_key[key])
        for key, cell in by_key.items():
            if key not in wanted:
                found[key] = State.DONE
            elif found[key] is State.DONE:
                found[key] = self._unfinished(cell)
        return found

    def read_by(self, cell: Cell) -> list[str]:
        """Return the keys of the cells whose adapters, answers or results a cell reads."""
        chosen = [key for need in cell.needs for key in chosen_keys(self.folder, need)]
        return [*cell.needs, *chosen]

    def is_complete(self, cell: Cell) -> bool:
        """Return whether a cell has its results and, if it trains one, its adapter."""
        trained = cell.train is None or self.manifest(cell).is_file()
        return trained and self.results(cell).is_dir()

    def _serves(self, cell: Cell, reader: Cell) -> bool:
        """Return whether a cell has the results or the adapter that another cell reads."""
        return self.results(cell).is_dir() if reader.from_results else self.is_complete(cell)

    def _unfinished(self, cell: Cell) -> State:
        if self._is_locked(cell):
            return State.RUNNING
        return State.FAILED if (self.path(cell) / "failed.json").is_file() else State.WAITING

    def failure(self, cell: Cell) -> str:
        """Return why a cell failed; empty if it has not."""
        try:
            content = json.loads((self.path(cell) / "failed.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return ""
        return str(content.get("reason", "")) if isinstance(content, dict) else ""

    @contextmanager
    def claim(self, cell: Cell) -> Iterator[int | None]:
        """Hold a cell while the block runs.

        Yields:
            The descriptor of its lock: a process that inherits it holds the cell as well, until it
            ends. None if another process holds the cell, or looked just now whether one does.

        Raises:
            ValueEvalError: The file system has no locks.
        """
        path = self.path(cell) / "lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            try:
                held = _lock(file, fcntl.LOCK_EX)
            except OSError as error:
                raise ValueEvalError(
                    f"{path}: this file system has no locks ({error.strerror}), so two processes "
                    "could run one cell: name a folder on another one with -o"
                ) from error
            yield file.fileno() if held else None  # closing unlocks it, if nobody inherited it

    def describe(self, cell: Cell) -> None:
        """Write what the cell is, the options of its training and what it is evaluated on."""
        content = {"cell": cell.design.label, "factors": dict(cell.design.factors)}
        content |= {"tasks": list(cell.tasks), "needs": list(cell.needs)}
        if cell.candidates:
            content["candidates"] = dict(cell.candidates)
        with replacing(self.path(cell) / CELL_FILE) as temporary:
            temporary.write_text(json.dumps(content, indent=1, default=str) + "\n", "utf-8")
        if cell.train is not None:
            with replacing(self.path(cell) / "train.yaml") as temporary:
                temporary.write_text(yaml.safe_dump(train_options(cell, self.folder)), "utf-8")
        if (places := sample_places(cell)) is not None:
            with replacing(self.path(cell) / "samples.json") as temporary:
                temporary.write_text(json.dumps(places), "utf-8")

    def fail(self, cell: Cell, reason: str) -> None:
        """Record that a cell failed."""
        content: dict[str, Any] = {"cell": cell.design.label, "reason": reason}
        with replacing(self.path(cell) / "failed.json") as temporary:
            temporary.write_text(json.dumps(content) + "\n", "utf-8")

    def forget_failure(self, cell: Cell) -> None:
        """Let a failed cell be tried again."""
        (self.path(cell) / "failed.json").unlink(missing_ok=True)

    def _is_locked(self, cell: Cell) -> bool:
        try:
            # To read alone: the study may be somebody else's.
            file = (self.path(cell) / "lock").open("rb")
        except FileNotFoundError:
            return False
        with file:
            try:
                return not _lock(file, fcntl.LOCK_SH)
            except OSError:  # a file system without locks, where no cell is run
                return False


def _lock(file: IO[bytes], kind: int) -> bool:
    """Lock an open file; return False if a lock of another process is in the way."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
