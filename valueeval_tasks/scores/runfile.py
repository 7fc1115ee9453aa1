"""Run files of the shared task: what a system predicts.

The format is that of the label files: tab-separated, a header with ``Argument ID`` and the value
names, then a line per argument with 0 or 1 for each value.

What the organisers' evaluator scores is read with the same result: columns and arguments in any
order, value columns that are missing (these values count as not predicted), fields in double
quotes, Windows line ends, a byte order mark. Some files that it scores are refused, since they are
more likely an accident than a system: a run that lacks arguments (there they count as predicted to
have no value), an argument that is there twice (there the last line counts), cells other than 0 and
1 (there they count as 0), and empty lines (skipped there).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from valueeval.tasks.data.dataset import LABEL_COLUMNS, collect_labels
from valueeval.tasks.data.tsv import parse_table, read_bytes
from valueeval.tasks.display import clean
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.files import replacing
from valueeval.tasks.values import VALUE_NAMES


@dataclass(frozen=True, eq=False)
class RunFile:
    """A run file's content.

    Attributes:
        path: Where it was read.
        ids: The n argument ids, in the file's order, each once.
        prediction: (n, 20) bool, columns in the order of ``VALUES``.
        missing: Names of the values that have no column, and so are never predicted.
    """

    path: Path
    ids: tuple[str, ...]
    prediction: npt.NDArray[np.bool_]
    missing: tuple[str, ...]

    def aligned(self, ids: Sequence[str], source: str | Path) -> npt.NDArray[np.bool_]:
        """Return the prediction for ``ids``, in their order, joined on the id.

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


def read_run(path: str | Path) -> RunFile:
    """Read a run file, as the module's docstring describes it.

    Raises:
        ValueEvalError: The file cannot be read or is malformed: an empty file, no value column, one
            that is unknown or doubled, a doubled id, a cell that is neither 0 nor 1, …; with the
            line.
    """
    path = Path(path)
    header, rows = parse_table(read_bytes(path), path, LABEL_COLUMNS, run_file=True)
    ids, prediction = collect_labels(rows, path)
    return RunFile(path, ids, prediction, tuple(name for name in VALUE_NAMES if name not in header))


def write_run(path: str | Path, ids: Sequence[str], prediction: npt.ArrayLike) -> None:
    """Write a run file, whole or not at all.

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
        return f"argument {clean(ids[0])} is"
    named = ", ".join(map(clean, ids[:3]))
    return f"{len(ids)} arguments ({named}{', …' if len(ids) > 3 else ''}) are"
