"""Run files of the shared task as rows: any team's TSV beside the runs of lm-eval.

A run file says for each argument which values a system predicts, and nothing else. Which set it is
of, its labels and its conclusions come from the data of the user (`VALUEEVAL_DATA`, or the cache of
``valueeval data fetch``), by the ids of its arguments.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from valueeval.leaderboard.reading.results_files import METRICS, SETS, Problem, Run
from valueeval.leaderboard.text import clean
from valueeval.tasks.data.dataset import DataSet, load_set
from valueeval.tasks.errors import ValueEvalError, first_line
from valueeval.tasks.scores.runfile import read_run
from valueeval.tasks.scores.scoring import score


def read_run_files(paths: list[Path]) -> tuple[list[Run], list[Problem]]:
    """A run for each file, and what could not be used and why."""
    runs, problems = [], []
    for path in paths:
        try:
            runs.append(_run(path))
        except ValueEvalError as error:
            problems.append(Problem(clean(path.name), clean(reason_of(error, path))))
    return runs, problems


def reason_of(error: ValueEvalError, path: Path) -> str:
    """What an error says is wrong in a file, without the name of the file."""
    return str(error).replace(f"{path}, ", "").replace(f"{path}: ", "")


@cache
def data_of(path: Path) -> DataSet:
    """The set whose arguments the run file is about.

    Raises:
        ValueEvalError: the file is malformed, or no set at hand has these arguments.
    """
    ids = set(read_run(path).ids)
    looked: list[str] = []
    for name in SETS:
        try:
            data = load_set(name)
        except ValueEvalError as error:
            looked.append(f"{name}: {first_line(error)}")
            continue
        if ids == set(data.ids):
            return data
        looked.append(f"{name}: {len(ids & set(data.ids))} of its {len(data.ids)} arguments")
    raise ValueEvalError(
        f"{path}: its {len(ids)} arguments are not those of a set of the data ({'; '.join(looked)})"
    )


def _run(path: Path) -> Run:
    data = data_of(path)
    prediction = read_run(path).aligned(data.ids, data.directory)
    scores = score(data.labels, prediction)
    return Run(
        source=clean(path.name),
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
        system=f"run file {path.stem}",
        metrics={name: scores.get(name) for name in METRICS},
        date="",
        versions={},
        manifest={},
        samples=path,
    )
