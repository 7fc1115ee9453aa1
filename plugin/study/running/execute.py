"""Run the cells of a study: a pool of workers, each cell in processes of its own.

Every worker takes the next cell that is neither done nor failed, whose needed cells are done and
which no other process holds. So several commands on one folder, on one machine or many, share the
work without knowing of each other.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from valueeval.study.cells import Cell
from valueeval.study.commands import (
    ANSWERS_FILE,
    average_command,
    calibrate_command,
    cell_folder,
    evaluate_command,
    select_command,
    train_command,
)
from valueeval.study.running.devices import variables
from valueeval.study.running.pool import MemoryPool, Share
from valueeval.study.store import State, Store
from valueeval.tasks.errors import ValueEvalError

POLL_SECONDS = 1.0
_KILLED = -signal.SIGKILL
_VALUEEVAL = (sys.executable, "-m", "valueeval")
Report = Callable[[Cell, State, str], None]


class Runner:
    """Runs cells until none is left that could run.

    Args:
        store: The study's folder.
        cells: The cells, those that others need first.
        workers: Cells that run at the same time.
        devices: GPUs by number or UUID, taken in turn by the workers; none leaves the choice to
            each cell.
        report: Called with a cell, its state and the step it is in, from any worker.
    """

    def __init__(
        self,
        store: Store,
        cells: Sequence[Cell],
        workers: int,
        devices: Sequence[str] = (),
        report: Report = lambda cell, state, step: None,
    ) -> None:
        self.store = store
        self.cells = cells
        self.workers = workers
        self.devices = devices
        self.report = report
        self._stopping = threading.Event()
        self._error: Exception | None = None
        self._children: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._memory = MemoryPool(cells, store)

    def run(self) -> None:
        """Run every cell that can run; a cell that fails is recorded and stops no other.

        On an interruption running cells are ended; they go on from their last checkpoint when the
        study is started again. So they are where a cell cannot even be recorded as failed.
        """
        threads = [
            threading.Thread(target=self._guard, args=(n,), daemon=True)
            for n in range(self.workers)
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive() and self._error is None:
                    thread.join(POLL_SECONDS)
        finally:
            self._stopping.set()
            with self._lock:
                for child in self._children:
                    child.terminate()
            for thread in threads:
                thread.join()
        if self._error is not None:
            raise self._error

    def _guard(self, number: int) -> None:
        """Work; keep what ended the work, for `run` to raise."""
        try:
            self._work(number)
        except Exception as error:
            self._error = error

    def _work(self, number: int) -> None:
        device = self.devices[number % len(self.devices)] if self.devices else None
        while not self._stopping.is_set():
            states = self.store.states(self.cells)
            ready = [
                cell
                for cell in self.cells
                if states[cell.key] is State.WAITING
                and all(states.get(key) is State.DONE for key in self.store.read_by(cell))
            ]
            if not any(self._try(cell, device) for cell in ready):
                # A cell that runs elsewhere may end and free others, or be killed and wait again.
                if not ready and State.RUNNING not in states.values():
                    return
                self._stopping.wait(POLL_SECONDS)

    def _try(self, cell: Cell, device: str | None) -> bool:
        """Run a cell unless another worker has it or memory is short; return True if it was run."""
        if self._stopping.is_set() or (share := self._memory.reserve(cell, device)) is None:
            return False
        try:
            with self.store.claim(cell) as share.lock:
                if share.lock is None:
                    return False
                # Another worker may have finished it between the look and the claim.
                if self.store.is_complete(cell) or self.store.failure(cell):
                    return False
                if (shortage := self._memory.shortage(share)) is not None:
                    print(f"{cell.design.label}: {shortage}", file=sys.stderr, flush=True)
                try:
                    self.store.describe(cell)
                    self._run_cell(cell, share)
                except Exception as error:  # whatever it is, the other cells can run
                    self._fail(cell, self._reason(cell, error))
            self._memory.learn(cell)
            return True
        finally:
            self._memory.release(share)

    def _run_cell(self, cell: Cell, share: Share) -> None:
        own = self.store.path(cell)
        unfinished = own / "results.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        with (own / "log.txt").open("ab") as log:
            for step, words in self._steps(cell, unfinished).items():
                self.report(cell, State.RUNNING, step)
                launcher = _launcher(cell.processes if step == "train" else 1)
                status = self._call([*launcher, *words()], log, share)
                if status < 0:  # a signal to all processes of a job may reach the child first
                    self._stopping.wait(POLL_SECONDS)
                if self._stopping.is_set():
                    return
                if status:
                    how = (
                        "killed (out of memory?)" if status == _KILLED else f"exit status {status}"
                    )
                    self._fail(cell, f"{step}: {how}: {_last_line(own / 'log.txt')}")
                    return
        results = self.store.results(cell)
        adapter_alone = results.is_dir()  # was missing
        if cell.tasks and not adapter_alone and not any(unfinished.rglob("results_*.json")):
            # lm-eval warns when it cannot write, and exits with status 0.
            self._fail(cell, f"evaluate: no results were written: see {own / 'log.txt'}")
            return
        if cell.calibrated is not None:
            (own / ANSWERS_FILE).unlink(missing_ok=True)
        if not adapter_alone:
            unfinished.mkdir(exist_ok=True)  # of a cell without an evaluation
            unfinished.rename(results)
        self.report(cell, State.DONE, "")

    def _steps(self, cell: Cell, results: Path) -> dict[str, Callable[[], list[str]]]:
        """Return the steps of a cell; a later command may depend on what an earlier one wrote."""
        folder = self.store.folder
        steps: dict[str, Callable[[], list[str]]] = {}
        if (calibrated := cell.calibrated) is not None:
            answers = cell_folder(folder, calibrated.answers) / ANSWERS_FILE
            if answers.is_file():  # a copy, since several cells may read them at the same time
                shutil.copyfile(answers, self.store.path(cell) / ANSWERS_FILE)
            steps["calibrate"] = lambda: calibrate_command(cell, calibrated, folder)
        if cell.candidates:
            steps["select"] = lambda: select_command(cell, folder)
        if cell.train is not None:
            steps["train"] = lambda: train_command(cell, folder)
        if cell.from_results:
            steps["average"] = lambda: average_command(cell, folder, results)
        elif cell.tasks and not self.store.results(cell).is_dir():
            steps["evaluate"] = lambda: evaluate_command(cell, folder, results)
        return steps

    def _fail(self, cell: Cell, reason: str) -> None:
        self.store.fail(cell, reason)
        self.report(cell, State.FAILED, reason)

    def _reason(self, cell: Cell, error: Exception) -> str:
        """Return an error as the reason of a failure; of a bug the cell's log has the traceback."""
        if isinstance(error, ValueEvalError):
            return str(error)
        with (self.store.path(cell) / "log.txt").open("a", encoding="utf-8") as log:
            traceback.print_exception(error, file=log)
        return f"{type(error).__name__}: {error}"

    def _call(self, words: Sequence[str], log: IO[bytes], share: Share) -> int:
        with self._lock:
            if self._stopping.is_set():
                return 1
            child = subprocess.Popen(  # noqa: S603 (this Python, our own command)
                words,
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env=environment(self.workers, share.device),
                # It holds the cell even if this process is killed and it goes on alone.
                pass_fds=() if share.lock is None else (share.lock,),
            )  # fmt: skip
            self._children.add(child)
        share.process = child.pid
        status = child.wait()
        share.process = None
        with self._lock:
            self._children.discard(child)
        return status


def _launcher(processes: int) -> Sequence[str]:
    """Return what runs ``valueeval`` in one process, or in several that train together."""
    if processes == 1:
        return _VALUEEVAL
    launch = (sys.executable, "-m", "accelerate.commands.launch")
    # Port 0: several cells on a machine must not meet on one.
    several = ("--multi_gpu", "--num_processes", str(processes), "--main_process_port", "0")
    return (*launch, *several, "--module", "valueeval")


def environment(workers: int, device: str | None) -> dict[str, str]:
    """Return the environment of a cell's commands: their share of the cores, and their GPU."""
    import joblib

    found = dict(os.environ)
    # Workers share the cores that a job or a container has of its machine's; a number that the user
    # has set stands.
    found.setdefault("OMP_NUM_THREADS", str(max(1, joblib.cpu_count() // workers)))
    if device is not None:
        found |= variables(device)
    return found


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "nothing was printed"
