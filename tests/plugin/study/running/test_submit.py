"""Jobs of a study, by submitit's executor for this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    ],
)
def test_what_cannot_be_asked_for(tmp_path: Path, asked: list[str], message: str) -> None:
    with pytest.raises(ValueEvalError, match=message):
        submit(["--version"], tmp_path, 1, "local", asked)


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
