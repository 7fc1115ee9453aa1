"""Compare the engines of ``valueeval predict`` on one CPU: PyTorch, ONNX Runtime, int8.

Usage: ``python benchmarks/predict_engines.py ADAPTER [--texts 512] [--rounds 5] [--starts 3]``

Texts a second are those of `logits` on arguments of the validation set (with ``--set sample``: of
the package), all engines in turn in every round, after a warm-up; the median and the range of the
rounds. Beside them per second of CPU time, which other programs on the machine disturb less. Then
the seconds of ``valueeval predict`` for a table of three texts, from the command to the file; the
exports are in the cache by then.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from valueeval.adapters.directory.ensemble import find_members
from valueeval.adapters.engines.choose import ENGINES, load_with_engine
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.scores.scoring import score


def main() -> None:
    """Measure and print two tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("adapter")
    parser.add_argument("--set", default="validation")
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--starts", type=int, default=3)
    options = parser.parse_args()
    members = find_members(options.adapter)
    data = load_set(options.set)
    rows = np.linspace(0, len(data.arguments) - 1, options.texts).astype(int)
    arguments = [data.arguments[row] for row in rows]
    engines = [engine for engine in ENGINES if engine != "auto"]
    loaded = {engine: load_with_engine(members, engine, "cpu", say=print)[0] for engine in engines}
    logits = {engine: loaded[engine].logits(arguments[:64]) for engine in engines}  # warm-up
    rates: dict[str, list[tuple[float, float]]] = {engine: [] for engine in engines}
    for _ in range(options.rounds):
        for engine in engines:
            wall, cpu = time.perf_counter(), time.process_time()
            logits[engine] = loaded[engine].logits(arguments)
            seconds = time.perf_counter() - wall, time.process_time() - cpu
            rates[engine].append((len(arguments) / seconds[0], len(arguments) / seconds[1]))
    print(
        f"\n{options.adapter}, {len(arguments)} arguments of {options.set}, threads: {threads()}\n"
    )
    print("| engine | texts/s | texts per CPU second | factor | largest difference | macro_f1 |")
    print("| --- | --- | --- | --- | --- | --- |")
    reference = statistics.median(cpu for _, cpu in rates["torch"])
    for engine in engines:
        wall, cpu = ([rate[part] for rate in rates[engine]] for part in (0, 1))
        decided = members.manifest.thresholds.decide(logits[engine])
        print(
            f"| {engine} | {spread(wall)} | {spread(cpu)} | "
            f"{statistics.median(cpu) / reference:.2f} | "
            f"{np.abs(logits[engine] - logits['torch']).max():.2g} | "
            f"{score(data.labels[rows], decided)['macro_f1']:.4f} |"
        )
    print("\n| engine | seconds for three texts | CPU seconds |\n| --- | --- | --- |")
    for engine in engines:
        found = [start(options.adapter, engine) for _ in range(options.starts)]
        wall, cpu = ([one[part] for one in found] for part in (0, 1))
        print(f"| {engine} | {spread(wall, 1)} | {spread(cpu, 1)} |")


def start(adapter: str, engine: str) -> tuple[float, float]:
    """Return wall and CPU seconds of ``valueeval predict`` for three texts."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "short.csv"
        table.write_text("text\nTrees clean the air.\nNobody should starve.\nWe obey the law.\n")
        command = [sys.executable, "-m", "valueeval", "predict", str(table)]
        command += ["--adapter", adapter, "--engine", engine, "--device", "cpu"]
        before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return time.perf_counter() - wall, cpu


def threads() -> str:
    """Return the number of threads that the engines use."""
    return os.environ.get("OMP_NUM_THREADS") or f"all ({os.cpu_count()})"


def spread(numbers: list[float], digits: int = 0) -> str:
    """Return the median and the range: ``105 (98 to 110)``."""
    low, high = min(numbers), max(numbers)
    return f"{statistics.median(numbers):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


if __name__ == "__main__":
    main()
