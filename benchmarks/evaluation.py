"""How much faster ``--model valueeval`` is than stock ``hf``, and whether it says the same.

Usage: ``python benchmarks/evaluation.py [--tasks bca,cls,oa] [--arguments 16] [--rounds 3] …``

Same model (random weights, real sizes; see models.py), same tasks, same arguments. Every run is a
process of its own, stock and ours in turn, so that what else the machine does meets both. Prints a
table and, with ``--json``, writes all numbers. Times are of the scoring alone, on the clock and in
processor time of the process; on a machine that others use, compare processor times.

Parts: ``compare`` (the ratio, its bound, the largest difference of answers, peak memory),
``growth`` (1, 4 and 16 times the arguments), ``classifier`` (an encoder adapter against its bare
forward passes); and, only if asked for, ``ways`` (both ways to read an argument once: an expanded
cache, and a tree with a mask). The bound is the ratio of tokens: what hf reads to what must be read
once. hf computes the vocabulary at every token, so that the ratio may exceed it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from models import GPT2_VOCABULARY, SIZES, write_classifier, write_model

WORKER = Path(__file__).with_name("evaluation_worker.py")
USUAL_PARTS = ("compare", "growth", "classifier")
PARTS = (*USUAL_PARTS, "ways")
Result = dict[str, Any]


def main() -> None:
    """Runs the parts asked for and prints their tables."""
    arguments = _parse()
    if "ways" in arguments.parts and arguments.shape == "t5":
        sys.exit("--parts ways: an encoder-decoder is read in one way only; --shape gpt2 or llama")
    settings = {
        "threads": arguments.threads, "device": arguments.device, "dtype": arguments.dtype,
        "folder": str(write_model(arguments.models, arguments.shape, arguments.size)),
    }  # fmt: skip
    report: Result = {"machine": _machine(), "settings": vars(arguments), "load": [os.getloadavg()]}
    print(
        f"{arguments.shape} {arguments.size}, vocabulary {GPT2_VOCABULARY}, {arguments.dtype}, "
        f"{arguments.device}, load {os.getloadavg()[0]:.1f}"
    )
    ours: Result = {"model": "valueeval", "batch_size": arguments.batch_size}
    pairs: dict[str, dict[str, Result]] = {
        "compare": {
            "hf": {"model": "hf", "batch_size": arguments.hf_batch_size},
            "valueeval": ours,
        },
        "ways": {"expanded": {**ours, "way": "expanded"}, "tree": ours},
    }
    for part, pair in pairs.items():
        if part in arguments.parts:
            report[part] = [
                _compare(task, pair, settings, arguments) for task in arguments.tasks.split(",")
            ]
    if "growth" in arguments.parts:
        report["growth"] = _growth(settings, arguments)
    if "classifier" in arguments.parts:
        report["classifier"] = _classifier(settings, arguments)
    report["load"].append(os.getloadavg())
    if arguments.json:
        text = json.dumps(report, indent=2, default=str) + "\n"
        arguments.json.write_text(text, encoding="utf-8")


def _compare(
    task: str, pair: dict[str, Result], settings: Result, arguments: argparse.Namespace
) -> Result:
    """Two settings of the worker in turn, by name; the ratio of each round."""
    common = {**settings, "task": _task_name(task), "arguments": arguments.arguments, "keep": True}
    runs: dict[str, list[Result]] = {name: [] for name in pair}
    for turn in range(arguments.rounds):
        for name, own in pair.items():
            runs[name].append(_run(**own, count=turn == 0 and name == "valueeval", **common))
    first, second = runs.values()
    tokens = second[0].get("tokens") or {}
    row: Result = {
        "task": common["task"],
        "arguments": arguments.arguments,
        "bound": tokens["hf"] / tokens["once"] if tokens else None,
        "difference": _difference(first[0].pop("answers"), second[0].pop("answers")),
        "peak_bytes": {name: _peak(results) for name, results in runs.items()},
        "seconds": {name: [r["seconds"] for r in results] for name, results in runs.items()},
    }
    for unit in ("seconds", "cpu_seconds"):
        row[f"ratio_{unit}"] = [a[unit] / b[unit] for a, b in zip(first, second, strict=True)]
    _print_comparison(row)
    return row


def _print_comparison(row: Result) -> None:
    peaks = row["peak_bytes"]
    slower, faster = peaks
    print(f"\n{row['task']}, {row['arguments']} arguments")
    for unit, label in (("seconds", "clock"), ("cpu_seconds", "processor time")):
        ratios = row[f"ratio_{unit}"]
        bound = f", {statistics.median(ratios) / row['bound']:.0%} of it" if row["bound"] else ""
        print(
            f"  {faster} is {statistics.median(ratios):.1f}x as fast as {slower} "
            f"({min(ratios):.1f} to {max(ratios):.1f}; {label}{bound})"
        )
    if row["bound"]:
        print(f"  bound by tokens {row['bound']:.1f}x")
    print(f"  {row['difference']}")
    print(f"  peak memory: {', '.join(f'{name} {_mib(size)}' for name, size in peaks.items())}")


def _difference(stock: list[Any], ours: list[Any]) -> str:
    """How far two lists of answers are apart, in words."""
    if isinstance(stock[0], str):
        same = sum(a == b for a, b in zip(stock, ours, strict=True))
        return f"{same} of {len(stock)} texts are the same"
    largest = max(abs(a - b) for a, b in zip(stock, ours, strict=True))
    return f"largest difference of log-probabilities {largest:.1e}"


def _growth(settings: Result, arguments: argparse.Namespace) -> list[Result]:
    """Time and memory for 1, 4 and 16 times the arguments."""
    print("\ngrowth, valueeval_bca (ours)")
    rows = []
    for factor in (1, 4, 16):
        number = factor * arguments.growth_arguments
        result = _run(
            model="valueeval", task=_task_name("bca"), arguments=number,
            batch_size=arguments.batch_size, **settings,
        )  # fmt: skip
        each = result["cpu_seconds"] / number
        print(f"  {number:4d} arguments: {each:.3f} s each, peak {_mib(result['peak_bytes'])}")
        rows.append({"arguments": number, **result})
    return rows


def _classifier(settings: Result, arguments: argparse.Namespace) -> Result:
    """An encoder adapter, the whole main test set, against its bare forward passes."""
    common = {
        **settings, "folder": str(write_classifier(arguments.models, arguments.encoder)),
        "task": _task_name("cls"), "arguments": arguments.classifier_arguments, "batch_size": 32,
    }  # fmt: skip
    pairs = [
        (_run(model="bare", **common), _run(model="adapter", **common))
        for _ in range(arguments.rounds)
    ]
    ratios = {
        unit: [whole[unit] / bare[unit] for bare, whole in pairs]
        for unit in ("seconds", "cpu_seconds")
    }
    print(f"\nencoder adapter ({arguments.encoder}), {arguments.classifier_arguments} arguments")
    for unit, label in (("seconds", "clock"), ("cpu_seconds", "processor time")):
        print(
            f"  {statistics.median(ratios[unit]):.2f}x its bare forward passes "
            f"({min(ratios[unit]):.2f} to {max(ratios[unit]):.2f}; {label})"
        )
    return {"ratios": ratios, "runs": pairs}


def _run(**settings: Any) -> Result:
    """One measurement in a process of its own."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    if settings["threads"]:
        environment["OMP_NUM_THREADS"] = str(settings["threads"])
    command = [sys.executable, str(WORKER), json.dumps(settings)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        sys.exit(f"a measurement failed:\n{done.stderr}")
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result


def _task_name(short: str) -> str:
    """On the real test set where it is found, else on the sample set."""
    from valueeval.tasks.data import find_data_dir
    from valueeval.tasks.errors import ValueEvalError

    try:
        find_data_dir()
    except ValueEvalError:
        return f"valueeval_{short}_sample"
    return f"valueeval_{short}"


def _peak(results: list[Result]) -> int:
    key = "gpu_peak_bytes" if "gpu_peak_bytes" in results[0] else "peak_bytes"
    return max(int(result[key]) for result in results)


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"


def _machine() -> Result:
    packages = ("torch", "transformers", "peft", "lm_eval")
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        **{name: metadata.version(name) for name in packages},
    }


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(USUAL_PARTS))
    parser.add_argument("--tasks", default="bca,cls,oa")
    parser.add_argument("--arguments", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shape", choices=("gpt2", "llama", "t5"), default="gpt2")
    parser.add_argument("--size", choices=SIZES, default="124M")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: torch's own choice")
    parser.add_argument("--batch-size", default="auto", help="of valueeval")
    parser.add_argument("--hf-batch-size", type=int, default=8, help="of stock hf")
    parser.add_argument("--growth-arguments", type=int, default=8, help="the smallest number")
    parser.add_argument("--classifier-arguments", type=int, default=1576)
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--models", type=Path, default=Path("build/benchmark-models"))
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
