"""The tables that benchmarks/evaluation.py prints, one for each part."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

Result = dict[str, Any]
_WIDTH = 200  # where the output is no terminal


def console() -> Console:
    """Return the console for tables, wide enough for them in a file."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=_WIDTH)


def print_comparisons(rows: Sequence[Result]) -> None:
    """Two ways to evaluate, a line for each task (see ``_compare`` in evaluation.py)."""
    slower, faster = rows[0]["peak_bytes"]
    counts = " or ".join(map(str, sorted({row["arguments"] for row in rows})))
    table = Table(
        title=f"{faster} against {slower}: {counts} arguments, "
        f"median (range) of {len(rows[0]['ratio_seconds'])}",
        box=SIMPLE_HEAD,
        title_justify="left",
    )
    names = ["task", "dtype", "times as fast\n(processor)", "\n(clock)", "\nbound", "answers"]
    names += ["arguments with\nthe same predictions", f"peak memory in MiB\n{slower} / {faster}"]
    if "hf_batch_size" in rows[0]:
        names.append("batch size\nof hf")
    for name in names:
        table.add_column(name)
    for row in rows:
        same = row["predictions"]
        cells = [
            row["task"],
            row["dtype"],
            spread(row["ratio_cpu_seconds"], 1),
            spread(row["ratio_seconds"], 1),
            f"{row['bound']:.1f}" if row["bound"] else "unknown",
            row["difference"],
            f"{same['identical']} of {same['arguments']}",
            " / ".join(f"{mib(size):.0f}" for size in row["peak_bytes"].values()),
        ]
        if "hf_batch_size" in row:
            cells.append(str(row["hf_batch_size"]))
        table.add_row(*cells)
    console().print(table)


def print_fixed(rows: Sequence[Result]) -> None:
    """What a run costs beside the scoring, in processor seconds: median over all runs of a task."""
    table = Table(
        title="processor seconds beside the scoring", box=SIMPLE_HEAD, title_justify="left"
    )
    parts = ("imports", "requests", "model", "statistics")
    for name in ("task", "dtype", "model", *parts):
        table.add_column(name)
    for row in rows:
        for model, runs in row["fixed"].items():
            middle = [statistics.median(run[part]["cpu_seconds"] for run in runs) for part in parts]
            table.add_row(row["task"], row["dtype"], model, *(f"{each:.2f}" for each in middle))
    console().print(table)


def print_distances(rows: Sequence[Result]) -> None:
    """How far from hf in float32 the log-probabilities of half precision are."""
    table = Table(
        title="distance from hf in float32, in nats: root mean square, largest",
        box=SIMPLE_HEAD,
        title_justify="left",
    )
    for name in ("task", "dtype", "hf", "valueeval"):
        table.add_column(name)
    for row in rows:
        apart = [f"{row[name][0]:.4f}, {row[name][1]:.3f}" for name in ("hf", "valueeval")]
        table.add_row(row["task"], row["dtype"], *apart)
    console().print(table)


def print_growth(rows: Sequence[Result]) -> None:
    """Time and memory for more and more arguments."""
    table = Table(title="growth, valueeval_bca (ours)", box=SIMPLE_HEAD, title_justify="left")
    for name in ("arguments", "processor seconds each", "seconds each", "peak memory in MiB"):
        table.add_column(name, justify="right")
    for row in rows:
        number = row["arguments"]
        each = [f"{row[unit] / number:.3f}" for unit in ("cpu_seconds", "seconds")]
        table.add_row(str(number), *each, f"{mib(peak([row])):.0f}")
    console().print(table)


def print_classifier(title: str, result: Result) -> None:
    """An encoder adapter against its bare forward passes."""
    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left")
    for name in ("of the time of bare forward passes", "median (range)"):
        table.add_column(name)
    for unit, label in (("cpu_seconds", "processor"), ("seconds", "clock")):
        table.add_row(label, spread(result["ratios"][unit], 2))
    console().print(table)


def spread(numbers: Sequence[float], digits: int) -> str:
    """Median and range: ``9.1 (8.5 to 9.5)``."""
    middle, low, high = statistics.median(numbers), min(numbers), max(numbers)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def peak(results: Sequence[Result]) -> int:
    """The largest memory of some runs in bytes: a GPU's where there is one."""
    key = "gpu_peak_bytes" if "gpu_peak_bytes" in results[0] else "peak_bytes"
    return max(int(result[key]) for result in results)


def mib(size: int) -> float:
    """Bytes in MiB."""
    return size / 2**20
