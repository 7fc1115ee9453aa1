"""Which cells of a pool run beside each other: main memory and the memory of GPUs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from valueeval.study.cells import Cell, resolve
from valueeval.study.design import read_study
from valueeval.study.running import execute, pool
from valueeval.study.running.execute import Runner
from valueeval.study.running.gpu_memory import GpuMemory, gpu_memory
from valueeval.study.running.pool import MemoryPool, Share
from valueeval.study.store import Store

GIB = 1 << 30


@pytest.fixture
def cells(tmp_path: Path) -> Callable[[int], list[Cell]]:
    def of(number: int) -> list[Cell]:
        block = {"factors": {"seed": list(range(number))}, "options": {"data": "sample"}}
        file = tmp_path / "study.yaml"
        file.write_text(yaml.safe_dump({"blocks": {"a": block}}))
        return resolve(read_study(file), tmp_path / "out")

    return of


def test_a_cell_that_ends_tells_what_the_next_needs(
    cells: Callable[[int], list[Cell]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected: list[int] = []

    def run_cell(self: Runner, cell: Cell, share: Share) -> None:
        expected.append(share.expected)
        adapter = self.store.path(cell) / "adapter"
        adapter.mkdir()
        (adapter / "valueeval.json").write_text(json.dumps({"peak_memory_bytes": 7 * GIB}))
        self.store.results(cell).mkdir()

    monkeypatch.setattr(Runner, "_run_cell", run_cell)
    Runner(Store(tmp_path / "out"), cells(2), workers=1).run()
    assert expected[0] < 7 * GIB
    assert expected[1] == 7 * GIB


@pytest.mark.parametrize(
    ("free", "together"),
    [(10 * GIB, 2), (5 * GIB, 1), (1 * GIB, 1)],
    ids=["both fit", "one fits", "not even one: it is tried alone"],
)
def test_main_memory(
    cells: Callable[[int], list[Cell]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    free: int,
    together: int,
) -> None:
    """Each needs 3 GiB and holds nothing yet, so that free memory does not show it."""
    monkeypatch.setattr(pool, "free_bytes", lambda: free)
    monkeypatch.setattr(pool, "needed_bytes", lambda cell, peaks, cells: 3 * GIB)
    monkeypatch.setattr(pool, "taken_bytes", lambda process: 0)
    assert most_together(Runner(Store(tmp_path / "out"), cells(4), 2), together, monkeypatch) == (
        together
    )
    told = "may need 3.0 GiB of memory, 1.0 GiB are free: it is started alone"
    assert capsys.readouterr().err.count(told) == (free < 3 * GIB)


@pytest.mark.parametrize(
    ("total", "others", "together"),
    [(10 * GIB, 3 * GIB, 2), (8 * GIB, 3 * GIB, 1), (2 * GIB, 0, 1), (None, 0, 2)],
    ids=["both fit", "not beside what others hold", "not even one", "no GPU that tells"],
)
def test_memory_of_a_gpu(
    cells: Callable[[int], list[Cell]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    total: int | None,
    others: int,
    together: int,
) -> None:
    """Each needs 3 GiB of it; two workers share the GPU."""
    monkeypatch.setattr(pool, "free_bytes", lambda: 100 * GIB)
    monkeypatch.setattr(pool, "needed_device_bytes", lambda cell, peaks, cells: 3 * GIB)
    there = None if total is None else GpuMemory(total, others)
    monkeypatch.setattr(pool, "gpu_memory", lambda device: there)
    runner = Runner(Store(tmp_path / "out"), cells(4), 2, devices=["0"])
    assert most_together(runner, together, monkeypatch) == together


def most_together(runner: Runner, expected: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run all cells of two workers and return how many ran at once, at the most."""
    monkeypatch.setattr(execute, "POLL_SECONDS", 0.01)
    running, most, lock = set[int](), [0], threading.Lock()
    both = threading.Barrier(2)

    def run_cell(self: Runner, cell: Cell, share: Share) -> None:
        with lock:
            running.add(threading.get_ident())
            most[0] = max(most[0], len(running))
        if expected == 2:
            both.wait(timeout=30)
        with lock:
            running.discard(threading.get_ident())
        (self.store.path(cell) / "adapter").mkdir()
        (self.store.path(cell) / "adapter" / "valueeval.json").touch()
        self.store.results(cell).mkdir()

    monkeypatch.setattr(Runner, "_run_cell", run_cell)
    runner.run()
    assert all(runner.store.results(cell).is_dir() for cell in runner.cells)
    return most[0]


def test_each_gpu_has_its_own_memory(
    cells: Callable[[int], list[Cell]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10 GiB each, others' processes hold 5 GiB of the first; a cell needs 4 GiB."""
    used = {"0": 5 * GIB, "1": 0}
    monkeypatch.setattr(pool, "free_bytes", lambda: 100 * GIB)
    monkeypatch.setattr(pool, "needed_device_bytes", lambda cell, peaks, cells: 4 * GIB)
    monkeypatch.setattr(pool, "gpu_memory", lambda device: GpuMemory(10 * GIB, used[device]))
    monkeypatch.setattr(pool, "_FRESH", 0.0)
    one, two, three, four = cells(4)
    room = MemoryPool([one, two, three, four], Store(tmp_path / "out"))
    first = room.reserve(one, "0")
    assert first is not None
    assert room.reserve(two, "0") is None
    second = room.reserve(two, "1")
    assert second is not None
    assert room.reserve(three, "1")
    assert room.reserve(four, "1") is None
    room.release(first)
    used["0"] = 6 * GIB  # it has not gone yet: remembered are the 5 GiB of before
    assert room.reserve(four, "0")
    room.release(second)
    used["1"] = 7 * GIB  # another's process has come
    assert room.reserve(two, "1") is None


def test_what_the_driver_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program is given the GPU's name; its numbers are MiB."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_memory("0") is None
    program = tmp_path / "nvidia-smi"
    answers = {"0": "143771, 1024", "1": "[N/A], [N/A]", "2": "No devices were found"}
    cases = "\n".join(f'--id={name}) echo "{text}";;' for name, text in answers.items())
    program.write_text(f'#!/bin/sh\ncase "$1" in\n{cases}\n*) exit 6;;\nesac\n')
    program.chmod(0o755)
    assert gpu_memory("0") == GpuMemory(143771 << 20, 1 << 30)
    assert [gpu_memory(name) for name in ("1", "2", "7")] == [None] * 3
