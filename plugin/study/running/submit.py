"""Workers of a study as jobs of a cluster, by submitit.

A job is the same command on the same folder: it takes cells that nobody holds until none is left,
and one that is killed leaves its cell to go on elsewhere. So jobs may come, go and be submitted
again at any time.
"""

from __future__ import annotations

import os
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
            Its time must be among them: submitit's defaults are minutes.

    Raises:
        ValueEvalError: submitit is not installed, or does not know the cluster or a parameter; no
            time is given; the cluster refuses a job.
    """
    try:
        import submitit
    except ImportError as error:
        raise ValueEvalError(
            "--jobs needs submitit: pip install 'lm-eval-valueeval[cluster]'"
        ) from error
    parameters = _parameters(asked)
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        executor.update_parameters(name="valueeval-study", **parameters)
    except (AssertionError, NameError, RuntimeError, TypeError, ValueError) as error:
        raise ValueEvalError(f"--jobs: submitit refuses this: {error}") from error
    if not any(name.endswith(("timeout_min", "slurm_time")) for name in parameters):
        raise ValueEvalError(
            "--jobs: say how many minutes a job may take, e.g. --job timeout_min=600; what it has "
            "not finished by then goes on in the next job"
        )
    words = [sys.executable, "-m", "valueeval", *command]
    if executor.cluster == "local" and not any(
        name.endswith("gpus_per_node") for name in parameters
    ):
        words = [*_same_gpus(), *words]
    run = submitit.helpers.CommandFunction(words)
    found: list[Any] = []
    for _ in range(jobs):
        try:
            found.append(executor.submit(run))
        except RuntimeError as error:
            raise ValueEvalError(
                f"--jobs: {len(found)} jobs are submitted, the next one is refused: {error}"
            ) from error
    return found


def _same_gpus() -> Sequence[str]:
    """Return what gives a command the GPUs of this process, which submitit hides on a machine."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    given = (
        ("-u", "CUDA_VISIBLE_DEVICES") if visible is None else (f"CUDA_VISIBLE_DEVICES={visible}",)
    )
    return ("env", *given)


def _parameters(asked: Sequence[str]) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for each in asked:
        name, equals, value = each.partition("=")
        if not equals or not name or not value:
            raise ValueEvalError(f"--job {each}: write name=value, e.g. slurm_partition=gpu")
        found[name] = int(value) if value.isdecimal() else value
    return found
