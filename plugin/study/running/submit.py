"""Workers of a study as jobs of a cluster, by submitit.

A job is the same command on the same folder: it takes cells that nobody holds until none is left,
and one that is killed leaves its cell to go on elsewhere. So jobs may come, go and be submitted
again at any time.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from valueeval.tasks.errors import ValueEvalError


def submit(
    command: Sequence[str], folder: Path, jobs: int, cluster: str | None, asked: Sequence[str]
) -> list[Any]:
    """Submit some jobs and return them (``submitit.Job``), without waiting.

    Args:
        command: The words after ``valueeval`` that a job runs.
        folder: Folder for submitit's own files and the logs of the jobs, which every machine sees.
        jobs: Number of jobs.
        cluster: ``slurm``, ``local``, or None for SLURM where there is one.
        asked: What a job asks the cluster for, as ``name=value``: submitit's own names
            (``timeout_min=600``, ``gpus_per_node=1``, ``mem_gb=32``, ``slurm_partition=gpu`` …).

    Raises:
        ValueEvalError: submitit is not installed, or does not know the cluster or a parameter.
    """
    try:
        import submitit
    except ImportError as error:
        raise ValueEvalError(
            "--jobs needs submitit: pip install 'lm-eval-valueeval[cluster]'"
        ) from error
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        executor.update_parameters(name="valueeval-study", **_parameters(asked))
    except (AssertionError, NameError, RuntimeError, TypeError, ValueError) as error:
        raise ValueEvalError(f"--jobs: submitit refuses this: {error}") from error
    run = submitit.helpers.CommandFunction([sys.executable, "-m", "valueeval", *command])
    return [executor.submit(run) for _ in range(jobs)]


def _parameters(asked: Sequence[str]) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for each in asked:
        name, equals, value = each.partition("=")
        if not equals or not name or not value:
            raise ValueEvalError(f"--job {each}: write name=value, e.g. slurm_partition=gpu")
        found[name] = int(value) if value.isdecimal() else value
    return found
