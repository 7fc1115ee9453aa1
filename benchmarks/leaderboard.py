"""What a leaderboard costs: statistics of 50 systems on the main test set; 2,000 results files.

    python benchmarks/leaderboard.py

Aims: 10,000 resamples x 20 values x 1576 arguments x 50 systems under 20 s on 2 cores with less
than 1 GB of memory; 2,000 results files without samples under 10 s.
"""

from __future__ import annotations

import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from valueeval.leaderboard.commands import leaderboard as cli
from valueeval.tasks.scores import uncertainty as statistics
from valueeval.tasks.scores.f1 import count, macro_f1, official_f1
from valueeval.tasks.values import VALUE_SLUGS

SYSTEMS, ARGUMENTS, CONCLUSIONS, FILES = 50, 1576, 106, 2000


def main() -> None:
    """Prints seconds and memory."""
    started, cpu = time.perf_counter(), time.process_time()
    board_statistics()
    seconds, busy = time.perf_counter() - started, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{SYSTEMS} systems, {ARGUMENTS} arguments, {statistics.RESAMPLES} resamples: intervals, "
        f"paired tests, randomisation and ranks on two F1: {seconds:.1f} s ({busy:.1f} s of one "
        f"core), peak memory {memory:.0f} MiB"
    )
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder))
        started = time.perf_counter()
        cli.main([str(Path(folder, "results")), "-o", str(Path(folder, "board.md"))])
        print(f"{FILES} results files: {time.perf_counter() - started:.1f} s")


def board_statistics() -> None:
    """All that the leaderboard computes for one ranking, but for reading the samples."""
    rng = np.random.default_rng(0)
    truth = rng.random((ARGUMENTS, 20)) < 0.15
    skills = np.linspace(0.2, 0.6, SYSTEMS)
    drawn = [rng.random(truth.shape) < 0.15 for _ in skills]
    predictions = [np.where(rng.random(truth.shape) < skill, truth, noise)
                   for skill, noise in zip(skills, drawn, strict=True)]  # fmt: skip
    clusters = np.minimum(rng.geometric(0.02, ARGUMENTS), CONCLUSIONS).tolist()
    rows = [[system] for system in range(SYSTEMS)]
    counts = count(truth, predictions, clusters)
    with threadpool_limits(limits=1):
        best = statistics.estimate(counts, rows, macro_f1).best
        statistics.estimate(counts, rows, official_f1, best)
        for metric in (macro_f1, official_f1):
            statistics.randomisation(counts, rows, best, metric)
        for prediction in predictions:
            statistics.argument_interval(truth, [prediction])


def write_files(folder: Path) -> None:
    """Results as large as lm-eval's, each of another system, with five tasks' configurations."""
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
