"""Jobs of a study, by submitit's executor for this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import submitit
from submitit.core.utils import FailedJobError
from submitit.helpers import CommandFunction

from valueeval import __version__
from valueeval.study import cli
from valueeval.study.running.submit import submit
from valueeval.tasks.errors import ValueEvalError


def test_jobs_run_the_command(tmp_path: Path) -> None:
    jobs = submit(["--version"], tmp_path, 2, "local", ["timeout_min=5"])
    assert len({job.job_id for job in jobs}) == 2
    assert all(__version__ in job.result() for job in jobs)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["timeout_min"], "write name=value"),
        (["timeout=5"], "submitit refuses this: .*timeout"),
        (["=5"], "write name=value"),
        ([], "say how many minutes a job may take"),
        (["gpus_per_node=1"], "say how many minutes"),
    ],
)
def test_what_cannot_be_asked_for(tmp_path: Path, asked: list[str], message: str) -> None:
    with pytest.raises(ValueEvalError, match=message):
        submit(["--version"], tmp_path, 1, "local", asked)


@pytest.mark.parametrize("visible", [None, "", "3,GPU-1"])
def test_jobs_of_this_machine_see_its_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None
) -> None:
    """Submitit hides all that are not asked for."""
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "visible: ${CUDA_VISIBLE_DEVICES-all}"\n')
    python.chmod(0o755)
    commands: list[list[str]] = []

    def record(self: submitit.AutoExecutor, command: CommandFunction) -> None:
        commands.append(command.command)

    monkeypatch.setattr(submitit.AutoExecutor, "submit", record)
    monkeypatch.setattr(sys, "executable", str(python))
    submit([], tmp_path, 1, "local", ["timeout_min=5"])
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    shown = subprocess.run(commands[0], env=hidden, capture_output=True, text=True, check=True)
    assert shown.stdout == f"visible: {'all' if visible is None else visible}\n"
    submit([], tmp_path, 1, "local", ["timeout_min=5", "gpus_per_node=1"])
    assert commands[1][0] == str(python)  # submitit chooses


def test_a_job_that_the_cluster_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["job"])

    def refuse(self: submitit.AutoExecutor, command: CommandFunction) -> str:
        if (job := next(answers, None)) is None:
            raise FailedJobError("sbatch: error: invalid partition specified: gpus")
        return job

    monkeypatch.setattr(submitit.AutoExecutor, "submit", refuse)
    with pytest.raises(ValueEvalError, match=r"1 jobs are submitted, the next .* partition"):
        submit([], tmp_path, 3, "local", ["timeout_min=5"])


def test_a_job_is_the_same_command_on_the_same_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model.safetensors").write_bytes(b"weights")
    study = tmp_path / "study.yaml"
    study.write_text(
        f"options: {{data: sample, base: {tmp_path / 'base'}}}\n"
        "blocks: {a: {factors: {seed: [0]}}}\n",
        encoding="utf-8",
    )
    asked = {}

    def record(command: list[str], folder: Path, jobs: int, *rest: object) -> list[object]:
        asked.update(command=command, folder=folder, jobs=jobs)
        return []

    monkeypatch.setattr("valueeval.study.running.submit.submit", record)
    monkeypatch.chdir(tmp_path)
    words = ["study.yaml", "-o", "out", "--jobs", "3", "--devices", "0,1"]
    assert cli.main(words) == 0
    out = str(tmp_path / "out")
    assert asked["command"] == ["study", str(study), "-o", out, "--devices", "0,1"]
    assert (asked["folder"], asked["jobs"]) == (Path("out/jobs"), 3)
    assert "--status" in capsys.readouterr().out
