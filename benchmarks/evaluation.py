"""Compare ``--model valueeval`` with stock ``hf``: speed, answers and memory.

Usage: ``python benchmarks/evaluation.py [--tasks bca,cls,oa] [--arguments 16] [--rounds 3] …``

Same model (random weights, real sizes; see models.py; or a real one: ``--pretrained``), same tasks,
same arguments. Stock hf has the batch size of ``--hf-batch-sizes`` that is fastest on a few
arguments. Every run is a process of its own, stock and ours in turn, so that what else the machine
does meets both. Prints tables and, with ``--json``, writes all numbers. Times are of the scoring
alone, on the clock and in processor time of the process; on a machine that others use, compare
processor times.

Parts: ``compare`` (the ratio, its bound, the largest difference of answers, whether predictions are
the same, peak memory, fixed costs apart; with several ``--dtype`` also how far both are from hf in
float32),
``growth`` (1, 4 and 16 times the arguments), ``classifier`` (an encoder adapter against its bare
forward passes); and, only if asked for, ``ways`` (both ways to read an argument once: copies of a
cache, and a tree with a mask) and ``precision`` (``--dtype``, such as the bfloat16 of a model's
file, against what ``dtype=auto`` takes on this processor). The bound is the ratio of tokens: what
hf reads to what must be read once. hf computes the vocabulary at every token, so that the ratio may
exceed it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from evaluation_tables import (
    peak,
    print_classifier,
    print_comparisons,
    print_distances,
    print_fixed,
    print_growth,
)
from models import GPT2_VOCABULARY, SIZES, write_classifier, write_model

WORKER = Path(__file__).with_name("evaluation_worker.py")
USUAL_PARTS = ("compare", "growth", "classifier")
PARTS = (*USUAL_PARTS, "ways", "precision")
GENERATED = ("mbc", "oa", "cot")
Result = dict[str, Any]


def main() -> None:
    """Runs the parts asked for and prints their tables."""
    arguments = _parse()
    folder = arguments.pretrained or write_model(arguments.models, arguments.shape, arguments.size)
    settings = {
        "threads": arguments.threads, "device": arguments.device, "dtype": arguments.dtype[0],
        "folder": str(folder),
    }  # fmt: skip
    report: Result = {"machine": _machine(), "settings": vars(arguments), "load": [os.getloadavg()]}
    name = f"{arguments.shape} {arguments.size}, vocabulary {GPT2_VOCABULARY}"
    if arguments.pretrained:
        name = arguments.pretrained.name
    print(
        f"{name}, {', '.join(arguments.dtype)}, {arguments.device}, load {os.getloadavg()[0]:.1f}"
    )
    parts = {
        "compare": _against_stock, "ways": _both_ways, "precision": _precision, "growth": _growth,
        "classifier": _classifier,
    }  # fmt: skip
    for part, measure in parts.items():
        if part in arguments.parts:
            report[part] = measure(settings, arguments)
    report["load"].append(os.getloadavg())
    if arguments.json:
        text = json.dumps(report, indent=2, default=str) + "\n"
        arguments.json.write_text(text, encoding="utf-8")


def _against_stock(settings: Result, arguments: argparse.Namespace) -> list[Result]:
    """Stock hf, at its fastest batch size, and ours, in each precision."""
    rows, distances = [], []
    for task in arguments.tasks:
        answers = {}
        for dtype in arguments.dtype:
            settings = {**settings, "dtype": dtype}
            tried = _tried(task, settings, arguments)
            best = min(tried, key=lambda size: tried[size])
            stock = {"model": "hf", "batch_size": best}
            row = _compare(task, {"hf": stock, "valueeval": _ours(arguments)}, settings, arguments)
            answers[dtype] = row.pop("answers")
            rows.append({**row, "hf_batch_size": best, "hf_batch_seconds": tried})
            print_comparisons(rows[-1:])
        distances += _distances(_task_name(task), answers)
    if len(rows) > 1:
        print_comparisons(rows)
    print_fixed(rows)
    if distances:
        print_distances(distances)
    return rows


def _distances(task: str, answers: dict[str, dict[str, Any]]) -> list[Result]:
    """How far from hf in float32 both are in half precision: the answers of each dtype, by name."""
    reference = answers.get("float32", {}).get("hf")
    if reference is None or isinstance(reference[0], str):
        return []
    return [
        {
            "task": task,
            "dtype": dtype,
            **{name: _apart(said, reference) for name, said in by.items()},
        }
        for dtype, by in answers.items()
        if dtype != "float32"
    ]


def _apart(answers: list[float], reference: list[float]) -> tuple[float, float]:
    """The root mean square of the differences in nats, and the largest."""
    differences = [abs(a - b) for a, b in zip(answers, reference, strict=True)]
    return math.sqrt(statistics.fmean(d * d for d in differences)), max(differences)


def _tried(task: str, settings: Result, arguments: argparse.Namespace) -> dict[int, float]:
    """Batch sizes of stock hf, and its seconds with them on a few arguments; one: not tried."""
    sizes = arguments.hf_batch_sizes
    if len(sizes) == 1:
        return {sizes[0]: 0.0}
    unit = "cpu_seconds" if arguments.device == "cpu" else "seconds"
    seconds: dict[int, float] = {}
    for size in sizes:
        result = _measured(
            model="hf", batch_size=size, task=_task_name(task),
            arguments=arguments.search_arguments, **settings,
        )  # fmt: skip
        if isinstance(result, str):
            print(f"hf fails with batch size {size}: {result.splitlines()[-1]}", file=sys.stderr)
        else:
            seconds[size] = result[unit]
    if not seconds:
        sys.exit("hf fails with every batch size of --hf-batch-sizes")
    return seconds


def _both_ways(settings: Result, arguments: argparse.Namespace) -> list[Result]:
    ours = _ours(arguments)
    pair = {"copies": {**ours, "way": "copies"}, "tree": ours}
    return _pairs(pair, settings, arguments)


def _precision(settings: Result, arguments: argparse.Namespace) -> list[Result]:
    ours = _ours(arguments)
    pair = {settings["dtype"]: ours, "auto": {**ours, "dtype": "auto"}}
    return _pairs(pair, settings, arguments)


def _pairs(
    pair: dict[str, Result], settings: Result, arguments: argparse.Namespace
) -> list[Result]:
    rows = [_compare(task, pair, settings, arguments) for task in arguments.tasks]
    for row in rows:
        del row["answers"]
    print_comparisons(rows)
    return rows


def _ours(arguments: argparse.Namespace) -> Result:
    return {"model": "valueeval", "batch_size": arguments.batch_size}


def _compare(
    task: str, pair: dict[str, Result], settings: Result, arguments: argparse.Namespace
) -> Result:
    """Two settings of the worker in turn, by name; the ratio of each round."""
    number = arguments.arguments
    if task in GENERATED and arguments.generated_arguments:
        number = arguments.generated_arguments
    common = {**settings, "task": _task_name(task), "arguments": number, "keep": True}
    runs: dict[str, list[Result]] = {name: [] for name in pair}
    for turn in range(arguments.rounds):
        for name, own in pair.items():
            count = turn == 0 and name == "valueeval"
            runs[name].append(_run(**{**common, **own, "count": count}))
    first, second = runs.values()
    tokens = second[0].get("tokens") or {}
    row: Result = {
        "task": common["task"],
        "dtype": common["dtype"],
        "arguments": number,
        "answers": {name: results[0]["answers"] for name, results in runs.items()},
        "bound": tokens["hf"] / tokens["once"] if tokens else None,
        "difference": _difference(first[0]["answers"], second[0]["answers"]),
        "predictions": _same(first[0]["predictions"], second[0]["predictions"]),
        "peak_bytes": {name: peak(results) for name, results in runs.items()},
        "seconds": {name: [r["seconds"] for r in results] for name, results in runs.items()},
        "fixed": {name: [r["fixed"] for r in results] for name, results in runs.items()},
    }
    for unit in ("seconds", "cpu_seconds"):
        row[f"ratio_{unit}"] = [a[unit] / b[unit] for a, b in zip(first, second, strict=True)]
    return row


def _difference(stock: list[Any], ours: list[Any]) -> str:
    """Return how far two lists of answers are apart, in words."""
    if isinstance(stock[0], str):
        same = sum(a == b for a, b in zip(stock, ours, strict=True))
        return f"{same} of {len(stock)} texts the same"
    largest = max(abs(a - b) for a, b in zip(stock, ours, strict=True))
    return f"within {largest:.1e}"


def _same(stock: list[Any], ours: list[Any]) -> Result:
    """For how many arguments all 20 predictions are the same."""
    identical = sum(a == b for a, b in zip(stock, ours, strict=True))
    return {"arguments": len(stock), "identical": identical}


def _growth(settings: Result, arguments: argparse.Namespace) -> list[Result]:
    """Time and memory for 1, 4 and 16 times the arguments."""
    rows = []
    for factor in (1, 4, 16):
        number = factor * arguments.growth_arguments
        result = _run(
            model="valueeval", task=_task_name("bca"), arguments=number,
            batch_size=arguments.batch_size, **settings,
        )  # fmt: skip
        rows.append({"arguments": number, **result})
    print_growth(rows)
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
    result = {"ratios": ratios, "runs": pairs}
    print_classifier(
        f"encoder adapter, {arguments.classifier_arguments} arguments ({arguments.encoder})", result
    )
    return result


def _run(**settings: Any) -> Result:
    """One measurement in a process of its own; ends this program if it fails."""
    result = _measured(**settings)
    if isinstance(result, str):
        sys.exit(f"a measurement failed:\n{result}")
    return result


def _measured(**settings: Any) -> Result | str:
    """One measurement in a process of its own, or what that says if it fails."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    if settings["threads"]:
        environment["OMP_NUM_THREADS"] = str(settings["threads"])
    command = [sys.executable, str(WORKER), json.dumps(settings)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        return done.stderr.strip() or f"it ended with status {done.returncode}"
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result


def _task_name(short: str) -> str:
    """On the real test set where it is found, else on the sample set."""
    from valueeval.tasks.data.dataset import find_data_dir
    from valueeval.tasks.errors import ValueEvalError

    try:
        find_data_dir()
    except ValueEvalError:
        return f"valueeval_{short}_sample"
    return f"valueeval_{short}"


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
    parser.add_argument("--tasks", type=_templates, default="bca,cls,oa")
    parser.add_argument("--arguments", type=int, default=16)
    parser.add_argument(
        "--generated-arguments", type=int, help="of mbc, oa and cot (default: --arguments)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shape", choices=("gpt2", "llama", "t5"), default="gpt2")
    parser.add_argument("--size", choices=SIZES, default="124M")
    parser.add_argument(
        "--pretrained", type=Path, help="folder of a causal model, in place of a random one"
    )
    parser.add_argument(
        "--dtype", nargs="+", default=["float32"], help="several: compare in each (others: first)"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: torch's own choice")
    parser.add_argument("--batch-size", default="auto", help="of valueeval")
    parser.add_argument(
        "--hf-batch-sizes", type=int, nargs="+", default=[1, 4, 8, 16, 32], metavar="N",
        help="of stock hf: the one that is fastest on a few arguments is taken",
    )  # fmt: skip
    parser.add_argument("--search-arguments", type=int, default=4, help="those few arguments")
    parser.add_argument("--growth-arguments", type=int, default=8, help="the smallest number")
    parser.add_argument("--classifier-arguments", type=int, default=1576)
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--models", type=Path, default=Path("build/benchmark-models"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if "ways" in arguments.parts and arguments.shape == "t5":
        parser.error(
            "--parts ways: an encoder-decoder is read in one way only; --shape gpt2 or llama"
        )
    return arguments


def _templates(text: str) -> list[str]:
    """The names of templates in ``bca,cls``."""
    from valueeval.tasks.templates.decide import TEMPLATES

    names = text.split(",")
    for name in names:
        if name not in TEMPLATES:
            raise argparse.ArgumentTypeError(
                f"no template {name!r}; there are {', '.join(TEMPLATES)}"
            )
    return names


if __name__ == "__main__":
    main()
