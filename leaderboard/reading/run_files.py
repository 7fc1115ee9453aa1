"""Run files of the shared task as rows: any team's TSV beside the runs of lm-eval.

A run file says for each argument which values a system predicts, and nothing else. Which set it is
of, its labels and its conclusions come from the data of the user (`VALUEEVAL_DATA`, or the cache of
``valueeval data fetch``), by the ids of its arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from valueeval.leaderboard.reading.finding import File
from valueeval.leaderboard.reading.runs import METRICS, SETS, Problem, Run
from valueeval.leaderboard.text import clean
from valueeval.tasks.data.dataset import DataSet, find_data_dir, load_set
from valueeval.tasks.errors import ValueEvalError, first_line
from valueeval.tasks.scores.runfile import read_run
from valueeval.tasks.scores.scoring import score


def read_run_files(files: Sequence[File]) -> tuple[list[Run], list[Problem]]:
    """Return a run for each file, and what could not be used and why.

    Args:
        files: From :func:`valueeval.leaderboard.reading.finding.find_files`.
    """
    runs, problems = [], []
    for file in files:
        try:
            runs.append(_run(file))
        except ValueEvalError as error:
            problems.append(Problem(file.source, reason_of(error, file.path)))
    return runs, problems


def reason_of(error: ValueEvalError, path: Path) -> str:
    """Return what an error says is wrong in a file, without the name of the file."""
    return str(error).replace(f"{path}, ", "").replace(f"{path}: ", "")


def load_data(name: str) -> DataSet:
    """Return a set of the user's data; each is read once.

    Raises:
        ValueEvalError: It is not at hand, or malformed.
    """
    return _load(name, None if name.startswith("sample") else find_data_dir(None))


@cache
def _load(name: str, folder: Path | None) -> DataSet:
    return load_set(name, folder)


def data_of(path: Path) -> DataSet:
    """Return the set whose arguments the run file is about.

    Raises:
        ValueEvalError: The file is malformed, or no set at hand has these arguments.
    """
    ids = set(read_run(path).ids)
    looked: list[str] = []
    for name in SETS:
        try:
            data = load_data(name)
        except ValueEvalError as error:
            looked.append(f"{name}: {first_line(error)}")
            continue
        if ids == set(data.ids):
            return data
        looked.append(f"{name}: {len(ids & set(data.ids))} of its {len(data.ids)} arguments")
    raise ValueEvalError(
        f"{path}: its {len(ids)} arguments are not those of a set of the data ({'; '.join(looked)})"
    )


def _run(file: File) -> Run:
    path = file.path
    data = data_of(path)
    prediction = read_run(path).aligned(data.ids, data.directory)
    scores = score(data.labels, prediction)
    return Run(
        source=file.source,
        path=path,
        task="",
        template="",
        paraphrase=1,
        dataset=data.name,
        version="",
        data_sha256=data.sha256,
        official=data.official,
        sample=False,
        limited=False,
        arguments=len(data.ids),
        model=clean(path.stem),
        base=None,
        method="run file",
        parameters=None,
        trainable=None,
        training_size=None,
        training_data=None,
        shots=0,
        seed=None,
        system=f"run file {file.source}",
        metrics={name: scores.get(name) for name in METRICS},
        date="",
        versions={},
        manifest={},
        given_name=None,
        link=None,
        samples=path,
    )
