"""Run files of the shared task: what a system predicts, as its evaluator reads it.

The format is that of the label files: tab-separated, a header with ``Argument ID`` and the 20
value names, then a line per argument with 0 or 1 for each value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from valueeval.tasks.data.dataset import LABEL_COLUMNS, read_labels
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.files import replacing


@dataclass(frozen=True, eq=False)
class Run:
    """A run file's content.

    Attributes:
        path: Where it was read.
        ids: The n argument ids, in the file's order, each once.
        prediction: (n, 20) bool, columns in the order of ``VALUES``.
    """

    path: Path
    ids: tuple[str, ...]
    prediction: npt.NDArray[np.bool_]

    def aligned(self, ids: Sequence[str], source: str | Path) -> npt.NDArray[np.bool_]:
        """The prediction for ``ids``, in their order, joined on the id.

        Args:
            ids: The arguments that are scored.
            source: Where these ids come from, for messages.

        Returns:
            (len(ids), 20) bool.

        Raises:
            ValueEvalError: The run lacks one of them, or holds another.
        """
        row = {id: i for i, id in enumerate(self.ids)}
        wanted = set(ids)
        unknown = [id for id in self.ids if id not in wanted]
        if unknown:
            line = row[unknown[0]] + 2  # the header is line 1
            raise ValueEvalError(
                f"{self.path}, line {line}: {_some(unknown)} in the run but not in {source}.\n"
                "Score the run against the labels of its own set."
            )
        missing = [id for id in ids if id not in row]
        if missing:
            raise ValueEvalError(
                f"{self.path}: {_some(missing)} in {source} but not in the run.\n"
                "A run must hold every argument once."
            )
        return self.prediction[[row[id] for id in ids]]


def read_run(path: str | Path) -> Run:
    """Read a run file; columns and arguments may stand in any order, line ends may be Windows'.

    Raises:
        ValueEvalError: The file cannot be read or is malformed: an empty file, a column missing,
            unknown or doubled, a doubled id, a cell that is neither 0 nor 1, …; with the line.
    """
    return Run(Path(path), *read_labels(path, any_line_end=True))


def write_run(path: str | Path, ids: Sequence[str], prediction: npt.ArrayLike) -> None:
    """Write a run file, whole or not at all (through a temporary file beside it).

    Args:
        path: The file; replaced if it exists.
        ids: n argument ids.
        prediction: (n, 20), 0/1 or bool.

    Raises:
        ValueEvalError: The file cannot be written.
    """
    rows = np.asarray(prediction).astype(int)
    try:
        with (
            replacing(Path(path)) as temporary,
            temporary.open("w", encoding="utf-8", newline="\n") as file,
        ):
            file.write("\t".join(LABEL_COLUMNS) + "\n")
            for id, row in zip(ids, rows, strict=True):
                file.write(id + "\t" + "\t".join(map(str, row)) + "\n")
    except OSError as error:
        raise ValueEvalError(f"{path}: cannot be written ({error.strerror}).") from error


def _some(ids: Sequence[str]) -> str:
    """``argument A1 is``, ``3 arguments (A1, A2, A3) are``, ``9 arguments (A1, A2, A3, …) are``."""
    if len(ids) == 1:
        return f"argument {ids[0]} is"
    return f"{len(ids)} arguments ({', '.join(ids[:3])}{', …' if len(ids) > 3 else ''}) are"
