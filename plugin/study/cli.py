"""``valueeval study FILE``: plan, run and watch a study."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from valueeval import __version__
from valueeval.study.cells import Cell, resolve
from valueeval.study.design import DesignError, Study, read_study
from valueeval.study.running.devices import check_devices, read_devices
from valueeval.study.running.execute import Runner, environment
from valueeval.study.store import State, Store
from valueeval.tasks.commands.command_line import CommandParser

_STYLES = {State.DONE: "green", State.FAILED: "red", State.RUNNING: "yellow", State.WAITING: "dim"}
_SHOWN = 20  # rows of the live table


def main(argv: Sequence[str]) -> int:
    """Plan, run or show a study; return 1 if a cell has failed."""
    words = list(argv)
    if words[:1] == ["status"]:  # also as a word: valueeval study status FILE
        words[0] = "--status"
    arguments = build_parser().parse_args(words)
    study = read_study(arguments.study)
    folder = arguments.output or Path("runs", arguments.study.stem)
    cells = resolve(study, folder)
    if arguments.only and arguments.report is not None:
        raise DesignError("--only: a report is about all cells; leave it out")
    cells = _only(study, cells, arguments.only)
    store = Store(folder)
    devices = read_devices(arguments.devices)
    workers = arguments.workers or max(1, len(devices))
    if arguments.plan or arguments.status or arguments.probe:
        plan = arguments.plan or arguments.probe
        if arguments.probe:
            check_devices(devices[:1])
        _show(study, cells, store, everything=plan)
        if plan:
            _show_cost(cells, store, workers, devices, measure=arguments.probe)
        return 0
    if arguments.report is not None:
        return _report(study, cells, store, arguments.report, arguments.dataset)
    if arguments.archive is not None:
        return _archive(cells, store, arguments.archive)
    if study.version != __version__:
        raise DesignError(
            f"{arguments.study}: its cells are of version {study.version}, this is {__version__}. "
            f"To go on, install lm-eval-valueeval=={study.version}; to begin anew, take `version` "
            "out of the file"
        )
    if arguments.retry:
        for cell in cells:
            store.forget_failure(cell)
    if devices:
        _refuse_several_processes(cells, store)
    if arguments.jobs is not None:
        return _submit(arguments, folder)
    check_devices(devices)
    with _signals_interrupt():
        _run(Runner(store, cells, workers, devices), cells, store)
    _show(study, cells, store, everything=False)
    states = store.states(cells)
    failed = [cell for cell in cells if states[cell.key] is State.FAILED]
    for cell in failed:
        print(f"{cell.design.label}: {store.failure(cell)}", file=sys.stderr)
    return 1 if failed else 0


def _only(study: Study, cells: Sequence[Cell], asked: Sequence[str]) -> list[Cell]:
    """Return the cells that have the factors which are asked for, and those that they need."""
    if not asked:
        return list(cells)
    chosen = list(study.cells)
    for each in asked:
        name, equals, values = each.partition("=")
        known = sorted({factor for cell in study.cells for factor in cell.factors})
        if not equals or name not in known:
            raise DesignError(f"--only {each}: write FACTOR=VALUE; factors: {', '.join(known)}")
        levels = {str(cell.factors[name]).lower() for cell in study.cells if name in cell.factors}
        wanted = {values.strip().lower()}
        if not wanted <= levels:  # names of blocks may have commas
            wanted = {value.strip().lower() for value in values.split(",")}
        if unknown := wanted - levels:
            raise DesignError(
                f"--only {each}: no cell has {name} {min(unknown)}; "
                f"there are {'; '.join(sorted(levels))}"
            )
        chosen = [cell for cell in chosen if str(cell.factors.get(name)).lower() in wanted]
    if not chosen:
        raise DesignError(f"--only {' --only '.join(asked)}: no cell has all of these")
    designs = {id(design) for design in chosen}
    keys = {cell.key for cell in cells if id(cell.design) in designs}
    needed: set[str] = set()
    for cell in reversed(cells):  # each stands before those that need it
        if cell.key in keys | needed:
            needed.update(cell.needs)
    needed -= keys
    kept = []
    for cell in cells:
        if id(cell.design) in designs or cell.key in needed:
            kept.append(cell)
            needed.discard(cell.key)  # another block may have the same cell
    return kept


def _refuse_several_processes(cells: Sequence[Cell], store: Store) -> None:
    states = store.states(cells)
    for cell in cells:
        if cell.processes > 1 and states[cell.key] is not State.DONE:
            raise DesignError(
                f"--devices gives a cell one GPU, and {cell.design.label} takes "
                f"{cell.processes}: run it and its like without, the others with --only"
            )


def _submit(arguments: argparse.Namespace, folder: Path) -> int:
    from valueeval.study.running.submit import submit

    command = ["study", str(arguments.study.resolve()), "-o", str(folder.resolve())]
    command += [word for each in arguments.only for word in ("--only", each)]
    for name in ("workers", "devices"):
        if value := getattr(arguments, name):
            command += [f"--{name}", str(value)]
    logs = folder / "jobs"
    for job in submit(command, logs, arguments.jobs, arguments.cluster, arguments.job):
        print(f"job {job.job_id}: {job.paths.stdout}")
    print(f"valueeval study {arguments.study} -o {folder} --status  # says how far they are")
    return 0


def _report(
    study: Study, cells: Sequence[Cell], store: Store, folder: Path, dataset: str | None
) -> int:
    from valueeval.study.reporting.report import make_report, write_report

    sets = list(dict.fromkeys(name for cell in cells for name in cell.sets))
    if not sets:
        raise DesignError("--report: no cell of the study is evaluated: see `sets` in its file")
    if dataset is not None and dataset not in sets:
        raise DesignError(f"--set {dataset}: the study evaluates on {', '.join(sets)}")
    report = make_report(study, cells, store, dataset or sets[0])
    for problem in report.problems:
        print(f"not used: {problem.source}: {problem.reason}", file=sys.stderr)
    for path in write_report(report, folder):
        print(path)
    return 0


def _archive(cells: Sequence[Cell], store: Store, folder: Path) -> int:
    from valueeval.study.reporting.archive import archive_cells

    number, problems = archive_cells(cells, store, folder)
    for problem in problems:
        print(f"not archived: {problem.source}: {problem.reason}", file=sys.stderr)
    print(f"{number} cells archived in {folder}, {len(problems)} not", file=sys.stderr)
    return 1 if problems else 0


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        prog="valueeval study",
        description="Train and evaluate every combination that a study file lists. A stopped study "
        "goes on with the same command; several commands on one folder share the work.",
        epilog="The form of the file: python -c 'import valueeval.study.design as d; help(d)'",
    )
    parser.add_argument("study", type=Path, metavar="FILE", help="study file (YAML)")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR",
        help="folder of cells and results (default: runs/<name of the file>)",
    )  # fmt: skip
    parser.add_argument(
        "--plan",
        action="store_true",
        help="list all cells, and how long they take as far as finished ones tell, and run nothing",
    )
    parser.add_argument(
        "--probe", action="store_true",
        help="plan, and measure on a handful of arguments how long each kind of cell takes here",
    )  # fmt: skip
    parser.add_argument("--status", action="store_true", help="count the cells and run nothing")
    parser.add_argument(
        "--report", type=Path, metavar="DIR",
        help="write report.md, report.html and figures of what is measured so far, and run nothing",
    )  # fmt: skip
    parser.add_argument(
        "--archive", type=Path, metavar="DIR",
        help="copy the results of finished cells, without weights and texts of the data, to keep "
        "or publish, and run nothing; -o DIR --report reads the copy",
    )  # fmt: skip
    parser.add_argument(
        "--only", action="append", default=[], metavar="FACTOR=VALUE,…",
        help="run, plan or count only cells that have one of these values, and what they need; "
        "given several times, cells must meet all; `block` is a factor",
    )  # fmt: skip
    parser.add_argument(
        "--set", dest="dataset", metavar="NAME",
        help="set of the dataset to report (default: the first that the study evaluates on)",
    )  # fmt: skip
    parser.add_argument("--retry", action="store_true", help="try failed cells again")
    parser.add_argument(
        "--workers", type=_positive, metavar="N",
        help="cells at the same time, sharing the cores (default: 1, or one a GPU in --devices); "
        "one that would not fit into main memory waits for the others",
    )  # fmt: skip
    parser.add_argument(
        "--devices", metavar="0,1", default="",
        help="GPUs by their number in nvidia-smi or by UUID, taken in turn by the workers; more "
        "workers than GPUs share them",
    )  # fmt: skip
    parser.add_data_dir()
    cluster = parser.add_argument_group("on a cluster (extra `cluster`: submitit)")
    cluster.add_argument(
        "--jobs", type=_positive, metavar="N",
        help="submit N jobs that share the work, and return at once; more can be added later",
    )  # fmt: skip
    cluster.add_argument(
        "--cluster", choices=("slurm", "local"),
        help="where they run (default: SLURM where there is one, else processes of this machine)",
    )  # fmt: skip
    cluster.add_argument(
        "--job", action="append", default=[], metavar="NAME=VALUE",
        help="what a job asks for, in submitit's names, once for each: timeout_min=600 (needed), "
        "gpus_per_node=1, cpus_per_task=8, mem_gb=32, slurm_partition=gpu …",
    )  # fmt: skip
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Take SIGTERM and SIGHUP for Ctrl-C, so that running cells are ended in order."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():  # no other may set handlers
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:  # nohup has it ignored
                before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(runner: Runner, cells: Sequence[Cell], store: Store) -> None:
    """Run the cells with a live table, or without a terminal with a line for each change."""
    console = Console(stderr=True)
    if not console.is_terminal:
        runner.report = lambda cell, state, step: print(
            f"{state.value}: {cell.design.label} {step}".rstrip(), file=sys.stderr, flush=True
        )
        runner.run()
        return
    steps: dict[str, str] = {}
    with Live(console=console, auto_refresh=False) as live:

        def report(cell: Cell, state: State, step: str) -> None:
            steps[cell.key] = step
            live.update(_live_table(cells, store, steps), refresh=True)

        runner.report = report
        runner.run()


def _live_table(cells: Sequence[Cell], store: Store, steps: dict[str, str]) -> Table:
    found = store.states(cells)
    states = [(cell, found[cell.key]) for cell in cells]
    counts = Counter(state for _, state in states)
    title = ", ".join(f"{counts[state]} {state.value}" for state in State if counts[state])
    table = Table(title=title, title_justify="left", box=None, show_header=False)
    order = (State.RUNNING, State.FAILED, State.WAITING, State.DONE)
    shown = sorted(states, key=lambda item: order.index(item[1]))[:_SHOWN]
    for cell, state in shown:
        # As text: the reason of a failure may look like markup.
        named, step = Text(cell.design.label), Text(steps.get(cell.key, ""))
        table.add_row(Text(state.value, style=_STYLES[state]), named, step)
    return table


def _first_step(cell: Cell) -> str:
    if cell.calibrated is not None:
        return "calibrate the answers of another cell, "
    if cell.candidates:
        return f"choose among {len(cell.candidates)} configurations by cross-validation, "
    if cell.from_results:
        return "average the results of other cells, "
    if cell.train is not None:
        return "train, "
    return "for other cells: " if cell.supporting else ""


def _show(study: Study, cells: Sequence[Cell], store: Store, *, everything: bool) -> None:
    states = store.states(cells)
    counts = Counter(states[cell.key] for cell in cells)
    if everything:
        for cell in cells:
            part = f" ({cell.design.part})" if cell.design.part else ""
            print(f"{states[cell.key].value:8} {cell.key}  {cell.design.label}")
            asked = (
                f"evaluate on {', '.join(cell.tasks)}{part}" if cell.tasks else "for other cells"
            )
            print(f"{'':27}{_first_step(cell)}{asked}")
        for hypothesis in study.hypotheses:
            sides = (len(study.selected(s)) for s in (hypothesis.better, hypothesis.than))
            better, than = sides
            print(
                f"hypothesis ({hypothesis.family}): {hypothesis.name}: "
                f"{better} against {than} cells by {hypothesis.metric}"
            )
    shared = len(cells) - len(states)
    summary = ", ".join(f"{counts[state]} {state.value}" for state in State if counts[state])
    also = f" ({shared} of them the same as another)" if shared else ""
    print(f"{study.name}: {len(cells)} cells{also}: {summary}; {os.fspath(store.folder)}")


def _show_cost(
    cells: Sequence[Cell], store: Store, workers: int, devices: Sequence[str], *, measure: bool
) -> None:
    """Print how long the cells that are to be run take, by block and in all."""
    from valueeval.study.cost import estimates, rates_of_finished

    states = store.states(cells)
    waiting = {cell.key: cell for cell in cells if states[cell.key] is not State.DONE}
    rates = rates_of_finished(cells, store)
    if measure:
        from valueeval.study.probe import probe

        rates = probe(
            list(waiting.values()), rates, environment(workers, devices[0] if devices else None),
            lambda label: print(f"measuring: {label}", file=sys.stderr, flush=True),
        )  # fmt: skip
    found = estimates(cells, rates)  # of all: those that wait read models of those that are done
    total, unknown = 0.0, Counter[str]()
    for block in dict.fromkeys(str(cell.design.factors["block"]) for cell in waiting.values()):
        of_block = [c for c in waiting.values() if c.design.factors["block"] == block]
        known = [s for c in of_block if (s := found[c.key].seconds) is not None]
        reasons = [found[c.key].reason for c in of_block if found[c.key].seconds is None]
        unknown.update(reasons)
        total += sum(known)
        if known:
            longest = f", the longest cell {duration(max(known))}"
            print(f"{block}: {len(known)} cells: {duration(sum(known))}{longest}")
    if total:
        shared = f"; {duration(total / workers)} with {workers} workers" if workers > 1 else ""
        print(f"{len(waiting) - sum(unknown.values())} cells to run: {duration(total)}{shared}")
    for reason, number in unknown.items():
        why = reason or "--probe measures them" * (not measure) or "nothing like them was measured"
        print(f"{number} cells: time not known: {why}")


def duration(seconds: float) -> str:
    """Return a duration for people: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
