"""Stands for the ``valueeval`` command in tests of studies: trains and evaluates in milliseconds.

Every call adds a line to ``calls.txt`` in the study's folder when it begins and one when it ends.
``FAKE_FAIL`` names a method that fails in training, ``FAKE_KILL`` one that is killed there;
``FAKE_SECONDS`` is how long each call takes; with ``FAKE_RESULTS`` an evaluation writes results,
made up from the cell's address, else an empty file of that name, and none with ``FAKE_LOSS``.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from itertools import pairwise
from pathlib import Path

import yaml


def main(words: list[str]) -> int:
    """Run one step of a cell, as `valueeval.study.running.execute` asks for it."""
    option = dict(pairwise(words))
    training = words[0] == "train"
    outputs = {"train": "--output", "run": "--output_path", "average": "-o"}
    target = Path(option[outputs[words[0]]])
    calls = target.parents[2] / "calls.txt"
    if training:
        options = yaml.safe_load(Path(option["--config"]).read_text(encoding="utf-8"))
        if options["method"] == os.environ.get("FAKE_FAIL"):
            print("out of luck")
            return 2
        if options["method"] == os.environ.get("FAKE_KILL"):
            os.kill(os.getpid(), signal.SIGKILL)
    _note(calls, f"begin {words[0]} {target.parent.name}")
    time.sleep(float(os.environ.get("FAKE_SECONDS", "0")))
    target.mkdir(exist_ok=training)
    if not training and "FAKE_RESULTS" in os.environ:
        _write_results(target)
    if training:
        (target / "valueeval.json").write_text("done\n", encoding="utf-8")
    elif "FAKE_RESULTS" not in os.environ and "FAKE_LOSS" not in os.environ:
        (target / "results_none.json").write_text("{}\n", encoding="utf-8")
    _note(calls, f"end {words[0]} {target.parent.name}")
    return 0


def _write_results(target: Path) -> None:
    import leaderboard_results as made

    docs = made.documents()
    scores = made.likely(docs, 1.5, seed=int(target.parent.name, 16) % 2**32)
    made.write_results(
        target, docs=docs, scores=scores, dataset="sample", sample=True, sha=made.SAMPLE_SHA,
        official=False, kind="valueeval", adapter=made.manifest(),
    )  # fmt: skip


def _note(file: Path, line: str) -> None:
    with file.open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
