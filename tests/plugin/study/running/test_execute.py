"""Running a study: every cell once, failures apart, kills and several processes on one folder."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import fake_valueeval
import joblib
import pytest
import yaml

from valueeval.study import cli
from valueeval.study.cells import Cell, resolve
from valueeval.study.design import read_study
from valueeval.study.running import execute
from valueeval.study.running.execute import Runner, environment
from valueeval.study.store import State, Store
from valueeval.tasks.errors import ValueEvalError

FAKE = str(Path(fake_valueeval.__file__))
# The command of a study whose cells are run by the fake.
STUDY = (
    "import signal, sys; from valueeval.study import cli; "
    "from valueeval.study.running import execute; "
    # A shell starts programs in the background with interruptions ignored.
    "signal.signal(signal.SIGINT, signal.default_int_handler); "
    "signal.signal(signal.SIGHUP, signal.SIG_DFL); "  # nohup, under which tests may run, ignores it
    f"execute._VALUEEVAL = (sys.executable, {FAKE!r}); execute.POLL_SECONDS = 0.05; "
    "sys.exit(cli.main(sys.argv[1:]))"
)
BLOCKS: dict[str, Any] = {
    "methods": {"factors": {"method": ["head", "full", "lora"], "seed": [0, 1]}},
    "average": {"factors": {"method": ["average"], "of": [{"block": "methods", "method": "full"}]}},
}
TAUGHT: dict[str, Any] = {
    "folds": {"factors": {"fold": [0, 1]}, "options": {"method": "head", "folds": 2}},
    "student": {
        "factors": {"seed": [0]},
        "options": {"method": "full", "folds": 2, "teacher": {"block": "folds"}},
    },
}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model.safetensors").write_bytes(b"weights")
    options = {"data": "sample", "base": str(tmp_path / "base")}
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({"options": options, "blocks": BLOCKS}), encoding="utf-8")
    return file


def with_blocks(study: Path, blocks: dict[str, Any]) -> None:
    content = yaml.safe_load(study.read_text(encoding="utf-8"))
    content["blocks"] = blocks
    study.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def cells_of(study: Path) -> list[Cell]:
    return resolve(read_study(study), study.parent / "out")


def run(study: Path, monkeypatch: pytest.MonkeyPatch, workers: int = 2) -> Store:
    monkeypatch.setattr(execute, "_VALUEEVAL", (sys.executable, FAKE))
    monkeypatch.setattr(execute, "POLL_SECONDS", 0.05)
    store = Store(study.parent / "out")
    Runner(store, cells_of(study), workers).run()
    return store


def ends(study: Path) -> Counter[str]:
    """Count how often each step was brought to its end."""
    lines = (study.parent / "out" / "calls.txt").read_text(encoding="utf-8").splitlines()
    return Counter(line for line in lines if line.startswith("end"))


def test_every_cell_runs_once(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = run(study, monkeypatch)
    cells = cells_of(study)
    assert {store.state(cell) for cell in cells} == {State.DONE}
    steps = Counter(line.split()[1] for line in ends(study))
    assert steps == {"train": 6, "run": 6, "average": 1}
    assert set(ends(study).values()) == {1}
    calls = (store.folder / "calls.txt").read_text(encoding="utf-8").splitlines()
    average = next(cell for cell in cells if cell.needs)
    begun = calls.index(f"begin average {average.key}")
    assert all(calls.index(f"end run {key}") < begun for key in average.needs)


def test_cells_without_a_set_are_trained_alone(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = {
        "trained": {"factors": {"method": ["head"], "seed": [0, 1]}, "sets": []},
        "average": {"factors": {"method": ["average"], "of": [{"block": "trained"}]}},
    }
    with_blocks(study, blocks)
    run(study, monkeypatch)
    steps = Counter(line.split()[1] for line in ends(study))
    assert steps == {"train": 2, "run": 1}


def test_nothing_runs_again(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(study, monkeypatch)
    before = ends(study)
    run(study, monkeypatch)
    assert ends(study) == before


def as_archived(store: Store) -> None:
    """Leave of a study what its archive has: the results of cells that a report reads."""
    for folder in (store.folder / "cells").iterdir():
        shutil.rmtree(folder / "adapter", ignore_errors=True)
        if not any((folder / "results").iterdir()):  # of a cell without an evaluation
            shutil.rmtree(folder)


def test_a_study_goes_on_from_its_archive(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The study trains again, without evaluating, the cells that an unfinished cell reads."""
    with_blocks(study, TAUGHT)
    store = run(study, monkeypatch)
    student = next(cell for cell in cells_of(study) if cell.needs)
    as_archived(store)
    before = ends(study)
    run(study, monkeypatch)
    assert ends(study) == before  # every cell has its results

    shutil.rmtree(store.results(student))
    states = store.states(cells_of(study))
    assert {key for key, state in states.items() if state is State.WAITING} == {
        student.key, *student.needs
    }  # fmt: skip
    run(study, monkeypatch)
    again = ends(study) - before
    trained = {f"end train {key}": 1 for key in (student.key, *student.needs)}
    assert again == {**trained, f"end run {student.key}": 1}
    assert set(store.states(cells_of(study)).values()) == {State.DONE}


def test_an_average_needs_no_weights(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made of its members' results, which an archive has."""
    store = run(study, monkeypatch)
    average = next(cell for cell in cells_of(study) if cell.needs)
    as_archived(store)
    before = ends(study)
    shutil.rmtree(store.results(average))
    run(study, monkeypatch)
    assert ends(study) - before == {f"end average {average.key}": 1}


def test_a_training_for_another_cell_may_fail_again(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its results stay, and the cell that reads the adapter waits."""
    with_blocks(study, TAUGHT)
    store = run(study, monkeypatch)
    student = next(cell for cell in cells_of(study) if cell.needs)
    as_archived(store)
    shutil.rmtree(store.results(student))
    monkeypatch.setenv("FAKE_FAIL", "head")
    run(study, monkeypatch)
    states = store.states(cells_of(study))
    assert {states[key] for key in student.needs} == {State.FAILED}
    assert states[student.key] is State.WAITING
    assert Counter(map(store.state, cells_of(study))) == {State.DONE: 2, State.WAITING: 1}


def test_what_no_open_cell_reads_is_not_trained(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folds have no results of their own, so that an archive lacks them: their average suffices."""
    blocks = {
        "folds": {"factors": {"method": ["head"], "seed": [0, 1]}, "sets": []},
        "average": {"factors": {"method": ["average"], "of": [{"block": "folds"}]}},
    }
    with_blocks(study, blocks)
    store = run(study, monkeypatch)
    as_archived(store)
    before = ends(study)
    run(study, monkeypatch)
    assert ends(study) == before
    shutil.rmtree(store.results(next(cell for cell in cells_of(study) if cell.needs)))
    run(study, monkeypatch)
    assert Counter(line.split()[1] for line in ends(study) - before) == {"train": 2, "run": 1}


def test_a_failure_is_recorded_and_stops_no_other_cell(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FAIL", "full")
    store = run(study, monkeypatch)
    states = {cell.design.label: store.state(cell) for cell in cells_of(study)}
    assert Counter(states.values()) == {State.DONE: 4, State.FAILED: 2, State.WAITING: 1}
    failed = next(cell for cell in cells_of(study) if store.state(cell) is State.FAILED)
    assert store.failure(failed) == "train: exit status 2: out of luck"

    # Failed cells wait until they are asked for again; then those that need them run as well.
    monkeypatch.delenv("FAKE_FAIL")
    assert Counter(map(run(study, monkeypatch).state, cells_of(study)))[State.FAILED] == 2
    for cell in cells_of(study):
        store.forget_failure(cell)
    store = run(study, monkeypatch)
    assert {store.state(cell) for cell in cells_of(study)} == {State.DONE}


def test_a_killed_training_may_have_lacked_memory(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_blocks(study, {"a": {"factors": {"method": ["head"]}}})
    monkeypatch.setenv("FAKE_KILL", "head")
    store = run(study, monkeypatch)
    (cell,) = cells_of(study)
    assert store.failure(cell) == "train: killed (out of memory?): nothing was printed"


def test_workers_share_the_cores_that_the_study_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not those of the machine; a number that the user has set stands."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 6)
    assert [environment(n, None)["OMP_NUM_THREADS"] for n in (1, 2, 8)] == ["6", "3", "1"]
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert environment(2, None)["OMP_NUM_THREADS"] == "5"


def test_an_evaluation_that_wrote_nothing_has_failed(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lm-eval warns when it cannot write results, and exits with status 0."""
    monkeypatch.setenv("FAKE_LOSS", "all")
    store = run(study, monkeypatch)
    trained = [cell for cell in cells_of(study) if cell.train is not None]
    assert {store.state(cell) for cell in trained} == {State.FAILED}
    assert store.failure(trained[0]).startswith("evaluate: no results were written: see ")
    assert not store.results(trained[0]).exists()


def test_a_bug_in_a_cell_stops_no_other(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is recorded as a failure, and the cell's log says where it was."""
    cell = next(c for c in cells_of(study) if c.design.options["method"] == "head")
    command = execute.evaluate_command

    def broken(asked: Cell, folder: Path, results: Path) -> list[str]:
        if asked.key == cell.key:
            raise KeyError("base")
        return command(asked, folder, results)

    monkeypatch.setattr(execute, "evaluate_command", broken)
    store = run(study, monkeypatch)
    assert Counter(map(store.state, cells_of(study))) == {State.DONE: 6, State.FAILED: 1}
    assert store.failure(cell) == "KeyError: 'base'"
    assert "in broken" in (store.path(cell) / "log.txt").read_text(encoding="utf-8")


def test_a_failure_that_cannot_be_recorded_ends_the_study(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It did end, but as if all were well."""

    def fail(store: Store, cell: Cell, reason: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("FAKE_FAIL", "head")
    monkeypatch.setattr(Store, "fail", fail)
    with pytest.raises(OSError, match="No space left"):
        run(study, monkeypatch)


def start(study: Path, seconds: float, out: Path | None = None) -> subprocess.Popen[bytes]:
    out = out or study.parent / "out"
    return subprocess.Popen(
        [sys.executable, "-c", STUDY, str(study), "-o", str(out), "--workers", "2"],
        env={**os.environ, "FAKE_SECONDS": str(seconds)},
        start_new_session=True,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def test_kills_lose_nothing(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study that was killed ten times ends as one that was not, and repeats no finished cell."""
    numbers = random.Random(0)  # noqa: S311
    for _ in range(10):
        process = start(study, 0.1)
        time.sleep(numbers.uniform(0.3, 1.2))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    store = run(study, monkeypatch)
    cells = cells_of(study)
    assert {store.state(cell) for cell in cells} == {State.DONE}
    for cell in cells:
        assert (store.results(cell) / "results_none.json").read_text() == "{}\n"
        assert not (store.path(cell) / "results.unfinished").exists()
    # Only what had not been renamed into place may have been evaluated more than once.
    assert sum(ends(study).values()) <= 13 + 2 * 10


@pytest.mark.slow
def test_the_report_of_a_study_that_was_killed(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After ten kills at random moments the report is that of an undisturbed run, byte by byte."""
    monkeypatch.setenv("FAKE_RESULTS", "1")
    undisturbed = tmp_path / "undisturbed"
    assert start(study, 0, undisturbed).wait(timeout=300) == 0
    numbers = random.Random(1)  # noqa: S311
    for _ in range(10):
        process = start(study, 0.1)
        time.sleep(numbers.uniform(1, 6))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert start(study, 0).wait(timeout=300) == 0
    reports = []
    for out in (undisturbed, study.parent / "out"):
        folder = out.with_name(f"report-{out.name}")
        assert cli.main([str(study), "-o", str(out), "--report", str(folder)]) == 0
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        reports.append({str(path.relative_to(folder)): path.read_bytes() for path in files})
    assert "7 of 7 cells are measured" in reports[0]["report.md"].decode()
    assert reports[0] == reports[1]


def test_two_commands_share_the_work(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processes = [start(study, 0.2) for _ in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    store = Store(study.parent / "out")
    assert {store.state(cell) for cell in cells_of(study)} == {State.DONE}
    assert set(ends(study).values()) == {1}
    assert len(ends(study)) == 13


def test_a_cell_that_runs_is_seen_as_running(study: Path) -> None:
    cell = cells_of(study)[0]
    mine, other = Store(study.parent / "out"), Store(study.parent / "out")
    assert mine.state(cell) is State.WAITING
    with mine.claim(cell) as held:
        assert held is not None
        assert other.state(cell) is State.RUNNING
        with other.claim(cell) as again:
            assert again is None
    assert other.state(cell) is State.WAITING


def test_looking_does_not_look_like_running(study: Path) -> None:
    """Several may look at once, also at a lock that they may not write to."""
    cell = cells_of(study)[0]
    store = Store(study.parent / "out")
    with store.claim(cell):
        pass
    lock = store.path(cell) / "lock"
    lock.chmod(0o444)
    with lock.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert store.state(cell) is State.WAITING


def test_a_file_system_without_locks(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = cells_of(study)[0]
    store = Store(study.parent / "out")
    with store.claim(cell):
        pass

    def flock(file: Any, kind: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert store.state(cell) is State.WAITING
    with pytest.raises(ValueEvalError, match="this file system has no locks"), store.claim(cell):
        pass


def begun(study: Path, number: int) -> None:
    """Wait until some steps have begun."""
    calls, deadline = study.parent / "out" / "calls.txt", time.monotonic() + 60
    while not calls.exists() or len(calls.read_text(encoding="utf-8").splitlines()) < number:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("to_all", [False, True], ids=["to the study", "to its children as well"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interruption_ends_the_children(study: Path, number: signal.Signals, to_all: bool) -> None:
    """A cell that was ended by a signal waits to go on: it has not failed."""
    process = start(study, 30)
    begun(study, 2)
    if to_all:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    assert process.wait(timeout=20) != 0
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # nobody is left
    store = Store(study.parent / "out")
    assert {store.state(cell) for cell in cells_of(study)} == {State.WAITING}


def test_commands_that_outlive_the_study_hold_their_cells(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The study alone is killed: started again, it waits for the cells that go on without it."""
    process = start(study, 2)
    begun(study, 2)
    process.kill()
    process.wait()
    store = Store(study.parent / "out")
    states = Counter(store.state(cell) for cell in cells_of(study))
    assert states == {State.RUNNING: 2, State.WAITING: 5}
    run(study, monkeypatch)
    assert {store.state(cell) for cell in cells_of(study)} == {State.DONE}
    calls = (store.folder / "calls.txt").read_text(encoding="utf-8").splitlines()
    for key in {line.split()[2] for line in calls}:
        steps = [line.split()[0] for line in calls if line.endswith(f"train {key}")]
        assert steps == ["begin", "end"] * (len(steps) // 2)
