"""Compare `valueeval train` with Transformers' Trainer: speed and scores.

Usage: ``python benchmarks/training.py [--parts full frozen memory graphs] [--train-size 1000] …``

The other side is what Transformers' text-classification example (``run_classification.py``) does:
every text padded to the maximum length (its default, 128 tokens), a sequence classifier with 20
labels, Trainer. Same model, arguments, batch size, epochs and highest learning rate; each in its
own precision by default. Its thresholds are chosen as ours are. Every run is a process of its own,
the two in turn, so that what else the machine does meets both.

Examples per second are arguments times epochs over the whole training time, evaluation after every
epoch included on both sides. ``frozen`` trains the head alone: the Trainer with the encoder's
weights frozen (it reads the texts in every epoch), ours with ``--method head`` (which reads them
once); both as many epochs as ``--frozen-epochs`` say. ``memory`` compares our peak after few and
many epochs, of the head and of all weights. ``graphs`` needs a GPU: ours without and with
``--cuda_graphs``, all weights and LoRA.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

WORKER = Path(__file__).with_name("training_worker.py")
PARTS_ON_A_CPU = ("full", "frozen", "memory")
PARTS = (*PARTS_ON_A_CPU, "graphs")
TRAINER, OURS = {"side": "trainer"}, {"side": "valueeval"}
AGAINST_TRAINER = {"Trainer": TRAINER, "valueeval": OURS}
GRAPHS = {"without graphs": OURS, "with graphs": {**OURS, "cuda_graphs": True}}
# What peak memory is compared of: epochs of each method.
MEMORY = (("head", 2), ("head", 20), ("head", 200), ("full", 1), ("full", 4), ("full", 16))
Result = dict[str, Any]


def main() -> None:
    """Runs the parts asked for and prints their tables."""
    arguments = _parse()
    if "graphs" in arguments.parts and not torch.cuda.is_available():
        sys.exit("--parts graphs needs a GPU that PyTorch can use: leave it out here")
    report: Result = {"settings": vars(arguments), "load": [os.getloadavg()]}
    print(f"{arguments.base}, {arguments.train_size} arguments, load {os.getloadavg()[0]:.1f}")
    for part, method, epochs, sides in (
        ("full", "full", arguments.epochs, AGAINST_TRAINER),
        ("frozen", "head", arguments.frozen_epochs, AGAINST_TRAINER),
        ("graphs", "full", arguments.epochs, GRAPHS),
        ("graphs", "lora", arguments.epochs, GRAPHS),
    ):
        if part in arguments.parts:
            report[f"{part}, {method}"] = _compare(method, epochs, sides, arguments)
    if "memory" in arguments.parts:
        report["memory"] = _memory(arguments)
    report["load"].append(os.getloadavg())
    if arguments.json:
        text = json.dumps(report, indent=2, default=str) + "\n"
        arguments.json.write_text(text, encoding="utf-8")


def _compare(
    method: str, epochs: int, sides: dict[str, Result], arguments: argparse.Namespace
) -> Result:
    """Two sides in turn, the second being ours; the ratio of each round."""
    runs: dict[str, list[Result]] = {name: [] for name in sides}
    for seed in range(arguments.rounds):
        for name, side in sides.items():
            settings = {**side, "method": method, "epochs": epochs, "seed": seed}
            runs[name].append(_run(arguments, **settings))
    theirs, ours = (
        [result["examples"] / result["seconds"] for result in results] for results in runs.values()
    )
    ratios = [our / their for their, our in zip(theirs, ours, strict=True)]
    print(f"\n{method}, {epochs} epochs, {arguments.rounds} rounds")
    print(
        f"  faster by {statistics.median(ratios):.1f}x ({min(ratios):.1f} to {max(ratios):.1f}): "
        f"{statistics.median(ours):.0f} instead of {statistics.median(theirs):.0f} "
        "examples per second"
    )
    for name, results in runs.items():
        scores = [result["macro_f1"] for result in results]
        print(
            f"  {name}: validation macro_f1 {statistics.median(scores):.3f} "
            f"({min(scores):.3f} to {max(scores):.3f}), peak memory "
            f"{max(result['peak_bytes'] for result in results) / 2**20:.0f} MiB"
        )
    return {**runs, "ratios": ratios}


def _memory(arguments: argparse.Namespace) -> list[Result]:
    """Our peak memory after few and many epochs."""
    rows = []
    for method, epochs in MEMORY:
        result = _run(arguments, **OURS, method=method, epochs=epochs, seed=0)
        print(f"{method}, {epochs:3d} epochs: peak {result['peak_bytes'] / 2**20:.0f} MiB")
        rows.append({"method": method, "epochs": epochs, **result})
    return rows


def _run(arguments: argparse.Namespace, **settings: Any) -> Result:
    """One training run in a process of its own."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive"}
    if arguments.threads:
        environment["OMP_NUM_THREADS"] = str(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        settings |= {
            "output": f"{folder}/run", "base": arguments.base,
            "train_size": arguments.train_size, "batch_size": arguments.batch_size,
            "learning_rate": arguments.learning_rate, "max_length": arguments.max_length,
            "precision": arguments.precision,
        }  # fmt: skip
        if settings["method"] == "head":
            settings["learning_rate"] = arguments.head_learning_rate
        command = [sys.executable, str(WORKER), json.dumps(settings)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        sys.exit(f"a run failed:\n{done.stderr}")
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS_ON_A_CPU)
    parser.add_argument("--base", default="minilm")
    parser.add_argument("--train-size", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--frozen-epochs", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--head-learning-rate", type=float, default=1e-3)
    parser.add_argument("--max-length", type=int, default=128, help="of the Trainer's padding")
    parser.add_argument("--precision", choices=("auto", "float32"), default="auto", help="ours")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
