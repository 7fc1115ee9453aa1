"""Kills and two processes at once, with real trainings and evaluations of tiny models.

test_execute.py does the same with made-up cells, many more of them.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import IO

import killing
import numpy as np
import pytest
import yaml

from valueeval.registration import task_folder

KILLS = 10
DEADLINE = 120.0  # seconds; far more than two processes need


def write(folder: Path, encoder: Path, language_model: Path) -> Path:
    blocks = {
        "trained": {
            "factors": {"base": [str(encoder)], "method": ["full"]},
            "options": {
                **{"train_size": 48, "validation_size": 16, "epochs": 3, "max_length": 32},
                **{"batch_size": 4, "precision": "float32", "checkpoint_seconds": 0.01},
            },
        },
        "asked": {
            "factors": {"base": [str(language_model)], "template": ["cls"]},
            "options": {"method": "none", "limit": 8},
        },
    }
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump({"options": {"data": "sample"}, "blocks": blocks}))
    return file


def run(file: Path, out: Path) -> None:
    """Run the study's commands in this process, which has imported all that they need."""
    from valueeval.cli import COMMANDS
    from valueeval.study.cells import resolve
    from valueeval.study.design import read_study
    from valueeval.study.running import execute
    from valueeval.study.store import Store

    def call(self: execute.Runner, words: Sequence[str], log: IO[bytes], device: str | None) -> int:
        name, *rest = words[len(execute._VALUEEVAL) :]
        with (out / "ended.txt").open("a") as ended, Path(log.name).open("a") as text:
            with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
                status = import_module(COMMANDS[name][0]).main(rest)
            ended.write(f"{name} {Path(log.name).parent.name}\n")
        return int(status or 0)

    execute.Runner._call = call  # type: ignore[method-assign]
    execute.POLL_SECONDS = 0.05
    out.mkdir(exist_ok=True)
    runner = execute.Runner(Store(out), resolve(read_study(file), out), workers=1)
    runner._work(0)  # in this thread: a process that is forked has no other


def prepare() -> None:
    """Import what is needed, and leave out what lm_eval spends most of its time on."""
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    for module in ("lm_eval.evaluator", "lm_eval.models.huggingface", "valueeval.train.run"):
        import_module(module)
    from lm_eval.tasks._index import TaskIndex
    from torch.utils import collect_env

    files = TaskIndex._iter_yaml_files

    def our_files(root: Path) -> Iterator[Path]:
        """Return the files of our tasks alone, not the 14,000 of lm_eval's."""
        return iter(files(root) if Path(root).resolve() == task_folder() else ())

    TaskIndex._iter_yaml_files = staticmethod(our_files)
    collect_env.get_pretty_env_info = lambda: ""  # which asks pip for all packages


def check(file: Path, folder: Path) -> None:
    prepare()
    undisturbed, killed, shared = (folder / name for name in ("undisturbed", "killed", "shared"))

    seconds = killing.forked_seconds(lambda: run(file, undisturbed))
    moments = np.random.default_rng(0)
    hits = [killing.killed(lambda: run(file, killed), seconds / 6, moments) for _ in range(KILLS)]
    print(f"{sum(hits)} of {KILLS} kills hit a study that takes {seconds:.1f} s")
    assert sum(hits) >= KILLS // 2, "the study ended before it was killed: more cells are needed"
    killing.forked_seconds(lambda: run(file, killed))

    together = [killing.begun(lambda: run(file, shared)) for _ in range(2)]
    assert killing.statuses(together, DEADLINE) == [0, 0]
    ended = Counter((shared / "ended.txt").read_text().splitlines())
    assert len(ended) == 3  # a training and two evaluations
    assert set(ended.values()) == {1}

    from valueeval.study import cli

    reports = []
    for out in (undisturbed, killed, shared):
        target = folder / f"report-{out.name}"
        assert cli.main([str(file), "-o", str(out), "--report", str(target)]) == 0
        files = sorted(path for path in target.rglob("*") if path.is_file())
        reports.append({str(path.relative_to(target)): path.read_bytes() for path in files})
    assert "2 of 2 cells are measured" in reports[0]["report.md"].decode()
    assert reports[0] == reports[1]
    assert reports[0] == reports[2]


@pytest.mark.slow
def test_a_study_of_tiny_models_is_killed(tmp_path: Path, tiny_bert: Path, tiny_gpt2: Path) -> None:
    """After ten kills, or run by two processes at once, the report is the same byte by byte."""
    killing.in_fresh_process(check, write(tmp_path, tiny_bert, tiny_gpt2), tmp_path)
