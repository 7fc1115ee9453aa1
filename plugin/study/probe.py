"""Measure what an argument takes on this machine, with the commands that a cell runs.

Each base model has a process of its own, in which every kind of cell is trained for two epochs on
a handful of arguments, then evaluated on one argument and on some. What the second epoch and the
further arguments take is the time of an argument; the rest is what a cell takes to start.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from valueeval.study.cells import Cell
from valueeval.study.commands import cell_folder, evaluate_command
from valueeval.study.cost import FORWARD, Kind, Rate, Rates, evaluation_kind, training_kind
from valueeval.study.design import PARTS

# Arguments of a probe: enough that a fraction of a second does not matter, with a small encoder;
# few, where each is asked about 20 values, or is answered in words.
_CLASSIFIER, _TEMPLATE = 32, 4
_NOT_PROBED = (
    "protocol",
    "folds",
    "fold",
    "teacher",
    "train_size",
    "shots_per_value",
    "validation_size",
)


@dataclass(frozen=True)
class _Job:
    """A cell that stands for its kind."""

    cell: Cell
    training: Kind | None
    evaluation: Kind

    @property
    def kinds(self) -> list[Kind]:
        return [kind for kind in (self.training, self.evaluation) if kind is not None]


def probe(
    cells: Sequence[Cell],
    known: Rates,
    environment: Mapping[str, str],
    report: Callable[[str], None],
) -> Rates:
    """Measure the kinds of cells that are not known; where one fails the others are measured.

    Args:
        cells: Those to be run.
        known: Rates that need no probe.
        environment: That of the commands.
        report: Called with a line about each kind before it is measured.

    Returns:
        The known rates and the measured ones.
    """
    training, evaluation = dict(known.training), dict(known.evaluation)
    failures = dict(known.failures)
    by_base: dict[str, list[_Job]] = {}
    seen: set[Kind] = set()
    for cell in cells:
        asked = evaluation_kind(cell)
        if asked is None or cell.calibrated is not None or asked in seen:
            continue
        job = _Job(cell, training_kind(cell), asked)
        if any(kind not in training and kind not in evaluation for kind in job.kinds):
            seen.add(asked)
            by_base.setdefault(str(cell.design.options.get("base", "minilm")), []).append(job)
    for base, jobs in by_base.items():
        for job, found in _measure(base, jobs, environment, report):
            if "failed" in found:
                failures |= dict.fromkeys(job.kinds, f"{base}: {found['failed']}")
                continue
            if job.training is not None:
                training[job.training] = Rate(*found["train"])
            evaluation[job.evaluation] = Rate(*found["evaluate"])
    return Rates(training, evaluation, failures)


def _measure(
    base: str,
    jobs: Sequence[_Job],
    environment: Mapping[str, str],
    report: Callable[[str], None],
) -> Iterator[tuple[_Job, dict[str, Any]]]:
    """Yield what each job takes, or why it failed, from one process for all of them."""
    with tempfile.TemporaryDirectory() as scratch:
        content = [_content(job.cell, Path(scratch, str(n))) for n, job in enumerate(jobs)]
        revision = jobs[0].cell.design.options.get("revision")
        request = json.dumps({"base": base, "revision": revision, "jobs": content}, default=str)
        child = subprocess.Popen(  # noqa: S603 (this Python, our own module)
            [sys.executable, "-m", "valueeval.study.probe", request],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
            env=dict(environment), text=True,
        )  # fmt: skip
        assert child.stdout is not None  # noqa: S101 (for the type checker)
        for job in jobs:
            report(job.cell.design.label)
            if line := child.stdout.readline():
                yield job, json.loads(line)
            else:  # killed, for want of memory perhaps
                yield job, {"failed": f"the probe ended with exit status {child.wait()}"}
        child.stdout.close()
        child.wait()


def _content(cell: Cell, folder: Path) -> dict[str, Any]:
    """Return the options of the training, and the words of the evaluation but for ``--limit``."""
    design = cell.design
    options = {k: v for k, v in design.options.items() if k not in PARTS}
    # Cells that others average may have no task of their own; any takes as long.
    tasks = cell.tasks[:1] or (f"valueeval_{options.get('template') or 'cls'}_validation",)
    evaluated = replace(cell, design=replace(design, options=options), tasks=tasks)
    words = evaluate_command(evaluated, folder, folder / "results")
    if "--use_cache" in words:
        at = words.index("--use_cache")
        del words[at : at + 2]
    arguments = _TEMPLATE if options.get("template") else _CLASSIFIER
    train = None
    if cell.train is not None:
        train = {k: v for k, v in cell.train.items() if k not in _NOT_PROBED}
        train |= {"train_size": arguments, "validation_size": arguments}
        train |= {"epochs": 2, "output": str(cell_folder(folder, cell.key) / "adapter")}
    return {"train": train, "evaluate": words, "arguments": arguments}


# --------------------------------------------------------------------------- in the process


def main(request: str) -> None:
    """Measure the jobs and print a line of JSON for each."""
    content, answers = json.loads(request), sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        began = time.monotonic()
        for module in ("lm_eval.evaluator", "lm_eval.models.huggingface", "valueeval.train.run"):
            import_module(module)  # what the commands of every cell import first
        imports = time.monotonic() - began
        unreadable = _failure(lambda: _fetch(content["base"], content["revision"]))
        for job in content["jobs"]:
            found: dict[str, Any] = {}
            failed = unreadable or _failure(lambda: found.update(_measured(job, imports)))  # noqa: B023
            print(json.dumps({"failed": failed} if failed else found), file=answers, flush=True)


def _failure(work: Callable[[], None]) -> str:
    """Do some work; return the first line of what went wrong, empty if nothing did."""
    try:
        work()
    except (Exception, SystemExit) as error:
        lines = str(error).strip().splitlines()
        return lines[0] if lines else type(error).__name__
    return ""


def _fetch(base: str, revision: str | None) -> None:
    from valueeval.adapters.directory.base import fetch_base

    fetch_base(base, revision)


def _measured(job: Mapping[str, Any], imports: float) -> dict[str, tuple[float, float]]:
    """Return start and seconds an argument, of a training if there is one, and an evaluation."""
    found = {}
    if job["train"] is not None:
        found["train"] = _train(job["train"], job["arguments"], imports)
    words, arguments = job["evaluate"], job["arguments"]
    one = _seconds([*words, "--limit", "1"])
    some = _seconds([*words, "--limit", str(1 + arguments)])
    each = max(some - one, 0.0) / arguments
    found["evaluate"] = (imports + max(one - each, 0.0), each)
    return found


def _train(options: Mapping[str, Any], arguments: int, imports: float) -> tuple[float, float]:
    adapter = Path(options["output"])
    adapter.parent.mkdir(parents=True)
    file = adapter.parent / "train.yaml"
    file.write_text(yaml.safe_dump(dict(options)), encoding="utf-8")
    whole = _seconds(["train", "--config", str(file)])
    lines = (adapter / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    first, second = (json.loads(line)["seconds"] for line in lines[-2:])
    if options.get("method") == "head":  # its one reading is before the first epoch
        return imports, first / (2 * arguments * FORWARD)
    epoch = second - first
    return imports + max(whole - 2 * epoch, 0.0), epoch / (arguments * (1 + FORWARD))


def _seconds(words: Sequence[str]) -> float:
    """Run a command in this process and return the seconds that it takes."""
    from valueeval.cli import COMMANDS

    began = time.monotonic()
    if status := import_module(COMMANDS[words[0]][0]).main(words[1:]):
        raise RuntimeError(f"valueeval {words[0]}: exit status {status}")
    return time.monotonic() - began


if __name__ == "__main__":
    os.environ.setdefault("TQDM_DISABLE", "1")
    main(sys.argv[1])
