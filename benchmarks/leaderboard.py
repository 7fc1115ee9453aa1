"""Measure the cost of a leaderboard: statistics of 50 systems, reading 2,000 results files.

    python benchmarks/leaderboard.py

Aims: 50 systems x 20 values x 1576 arguments under 2 s of one core with less than 1 GB of memory;
2,000 results files without samples under 10 s.
"""

from __future__ import annotations

import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from valueeval.leaderboard.commands import leaderboard as cli
from valueeval.tasks.scores.influence import influence
from valueeval.tasks.scores.intervals import interval
from valueeval.tasks.scores.jackknife import leave_one_out
from valueeval.tasks.scores.many_systems import differences_from, rank_systems
from valueeval.tasks.values import VALUE_SLUGS

SYSTEMS, ARGUMENTS, CONCLUSIONS, FILES = 50, 1576, 103, 2000


BoolArray = npt.NDArray[np.bool_]


def main() -> None:
    """Print seconds and memory."""
    truth, predictions, clusters = draw()
    started, cpu = time.perf_counter(), time.process_time()
    board_statistics(truth, predictions, clusters)
    seconds, busy = time.perf_counter() - started, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{SYSTEMS} systems, {ARGUMENTS} arguments: intervals of two F1, ranks, which can be the "
        f"best, differences from a reference, influence: {seconds:.1f} s ({busy:.1f} s of one "
        f"core), peak memory {memory:.0f} MiB"
    )
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder))
        started = time.perf_counter()
        cli.main([str(Path(folder, "results")), "-o", str(Path(folder, "board.md"))])
        print(f"{FILES} results files: {time.perf_counter() - started:.1f} s")


def draw() -> tuple[BoolArray, list[BoolArray], list[str]]:
    """Return labels, predictions of systems of unlike skill, and conclusions of uneven size."""
    rng = np.random.default_rng(0)
    truth = rng.random((ARGUMENTS, 20)) < 0.15
    predictions = [
        np.where(rng.random(truth.shape) < skill, truth, rng.random(truth.shape) < 0.15)
        for skill in np.linspace(0.2, 0.6, SYSTEMS)
    ]
    clusters = np.minimum(rng.geometric(0.02, ARGUMENTS), CONCLUSIONS)
    return truth, predictions, [f"{cluster:03d}" for cluster in clusters]


def board_statistics(truth: BoolArray, predictions: list[BoolArray], clusters: list[str]) -> None:
    """Compute all that the leaderboard computes for one ranking, but for reading the samples."""
    systems = [[system] for system in range(len(predictions))]
    with threadpool_limits(limits=1):
        for metric in ("macro_f1", "official_f1"):
            left = leave_one_out(truth, predictions, clusters, metric)
            for system in systems:
                interval(left, system)
                influence(left, system)
        left = leave_one_out(truth, predictions, clusters, "macro_f1")
        rank_systems(left, systems)
        differences_from(left, systems, 0)
        ids = [str(number) for number in range(len(truth))]
        for prediction in predictions:
            interval(leave_one_out(truth, [prediction], ids), [0])


def write_files(folder: Path) -> None:
    """Write results as large as lm-eval's, each of another system, with five tasks each."""
    metrics: dict[str, Any] = {f"f1_{slug},none": 0.4 for slug in VALUE_SLUGS}
    metrics |= {"macro_f1,none": 0.4, "official_f1,none": 0.41, "alias": "x"}
    for number in range(FILES):
        tasks = [f"valueeval_{template}" for template in ("cls", "mbc", "bca", "oa", "cot")]
        content = {
            "results": dict.fromkeys(tasks, metrics),
            "configs": {
                task: {
                    "description": "words " * 500,
                    "metadata": {"template": task[-3:].strip("_"), "paraphrase": 1, "set": "main",
                                 "version": 1.0, "data_sha256": "a" * 64, "data_official": True},
                }
                for task in tasks
            },
            "versions": dict.fromkeys(tasks, 1.0),
            "n-samples": {task: {"original": 1576, "effective": 1576} for task in tasks},
            "config": {"model": "hf", "model_args": {"pretrained": f"model-{number}"}},
            "model_name": f"model-{number}",
            "date": 1.7e9 + number,
        }  # fmt: skip
        path = folder / "results" / str(number) / "results_2026-01-01T00-00-00.000000.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
