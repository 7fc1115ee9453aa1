"""``valueeval study FILE --archive DIR``: the results of a study, to keep or publish.

The copy holds no weights and no texts of the data (:mod:`valueeval.leaderboard.commands.archive`),
some 30 kB a cell, and has the layout of the study's own folder: ``valueeval study FILE -o DIR
--report …`` makes the same report of it, on any machine that has the data. Where the base models
are not at hand the study file must state their SHA-256 (``bases``), for the cells' addresses.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from valueeval.leaderboard.commands.archive import archive
from valueeval.leaderboard.reading.runs import Problem
from valueeval.study.cells import Cell
from valueeval.study.commands import CELL_FILE, SELECTION_FILE
from valueeval.study.store import State, Store
from valueeval.tasks.errors import ValueEvalError


def archive_cells(cells: Sequence[Cell], store: Store, folder: Path) -> tuple[int, list[Problem]]:
    """Copy the results of every finished cell that a report reads; those that are there stay.

    Args:
        cells: The cells of the study.
        store: Its folder.
        folder: The copy's folder, made if need be.

    Returns:
        How many cells the copy has, and which could not be copied and why.

    Raises:
        ValueEvalError: `folder` is the study's own, or cannot be written.
    """
    if folder.resolve() == store.folder.resolve():
        raise ValueEvalError(f"--archive {folder}: that is the study's own folder; name another")
    copy, found, problems = Store(folder), set[str](), list[Problem]()
    for cell in cells:
        if cell.supporting or cell.key in found or store.state(cell) is not State.DONE:
            continue
        target = copy.results(cell)
        if not target.is_dir():
            unfinished = target.with_name("results.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            _, unread = archive([store.results(cell)], unfinished)
            problems += (Problem(cell.design.label, each.reason) for each in unread)
            if unread:
                continue
            try:
                for name in (CELL_FILE, *([SELECTION_FILE] if cell.candidates else [])):
                    shutil.copyfile(store.path(cell) / name, copy.path(cell) / name)
                unfinished.rename(target)
            except OSError as error:
                raise ValueEvalError(f"{target}: cannot be written ({error.strerror})") from error
        found.add(cell.key)
    return len(found), problems
