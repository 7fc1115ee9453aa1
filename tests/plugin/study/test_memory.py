"""The pool fits memory: what a cell needs, and which cells run beside each other."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from valueeval.study import execute, memory
from valueeval.study.cells import Cell, resolve
from valueeval.study.design import read_study
from valueeval.study.execute import Runner
from valueeval.study.store import Store

GIB = 1 << 30


@pytest.fixture
def cells(tmp_path: Path) -> Callable[..., list[Cell]]:
    base = tmp_path / "base"
    base.mkdir()
    save_file({"a": np.zeros((100, 50), np.float16), "b": np.zeros(24, np.float16)},
              base / "model.safetensors")  # fmt: skip

    def of(**factors: list[Any]) -> list[Cell]:
        options = {"data": "sample", "base": str(base)}
        file = tmp_path / "study.yaml"
        file.write_text(yaml.safe_dump({"options": options, "blocks": {"a": {"factors": factors}}}))
        return resolve(read_study(file), tmp_path / "out")

    return of


def test_what_a_cell_needs(cells: Callable[..., list[Cell]]) -> None:
    """5024 weights: four copies in float32 to train all, one to train or to ask with them."""
    full, lora = cells(method=["full", "lora"])
    (asked,) = cells(method=["none"], template=["cls"])
    training = memory.PROCESS + memory.ACTIVATIONS
    assert memory.needed_bytes(full, {}, {}) == training + 16 * 5024
    assert memory.needed_bytes(lora, {}, {}) == training + 4 * 5024
    assert memory.needed_bytes(asked, {}, {}) == memory.PROCESS + 4 * 5024
    (elsewhere,) = cells(method=["full"], base=["org/model"])
    assert memory.needed_bytes(elsewhere, {}, {}) == 0


def test_a_base_in_the_cache_of_the_hub(
    cells: Callable[..., list[Cell]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as soon as it has been downloaded, and a name that is no hub id is no error."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    (asked,) = cells(method=["none"], template=["cls"], base=["org/model"])
    assert memory.needed_bytes(asked, {}, {}) == 0
    model = tmp_path / "hub" / "models--org--model"
    snapshot = model / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("0" * 40)
    assert memory.needed_bytes(asked, {}, {}) == 0
    save_file({"a": np.zeros((100, 50), np.float16)}, snapshot / "model.safetensors")
    assert memory.needed_bytes(asked, {}, {}) == memory.PROCESS + 4 * 5000
    for other in ({"revision": "elsewhere"}, {"base": "no/such/folder"}):
        design = replace(asked.design, options={**asked.design.options, **other})
        assert memory.needed_bytes(replace(asked, design=design), {}, {}) == 0


def test_an_average_holds_all_members(cells: Callable[..., list[Cell]]) -> None:
    members = cells(seed=[0, 1, 2])
    average = replace(
        members[0],
        design=replace(members[0].design, options={"method": "average"}),
        train=None,
        needs=tuple(cell.key for cell in members),
    )
    by_key = {cell.key: cell for cell in members}
    assert memory.needed_bytes(average, {}, by_key) == memory.PROCESS + 3 * 4 * 5024
    one, *two = average.needs
    chosen = replace(
        average,
        design=replace(average.design, options={"method": "selected"}),
        candidates={"small": [[one]], "large": [two]},
    )
    assert memory.needed_bytes(chosen, {}, by_key) == memory.PROCESS + 2 * 4 * 5024


def test_a_finished_cell_tells_what_others_need(
    cells: Callable[..., list[Cell]], tmp_path: Path
) -> None:
    first, second = cells(method=["full"], seed=[0, 1])
    store = Store(tmp_path / "out")
    store.results(first).mkdir(parents=True)
    (store.path(first) / "adapter").mkdir()
    manifest = store.path(first) / "adapter" / "valueeval.json"
    manifest.write_text(json.dumps({"peak_memory_bytes": 3 * GIB}))
    peaks = memory.peaks_of_finished([first, second], store)
    assert memory.needed_bytes(second, peaks, {}) == 3 * GIB


def test_what_a_process_holds() -> None:
    words = [sys.executable, "-c", "x = b'1' * (64 << 20); print(flush=True); input()"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert memory.taken_bytes(child.pid) > 64 << 20
        child.communicate(b"\n")
    assert memory.taken_bytes(child.pid) == 0


def test_a_cell_that_ends_tells_what_the_next_needs(
    cells: Callable[..., list[Cell]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[Any, float]] = []

    def run_cell(self: Runner, cell: Cell, device: str | None) -> None:
        asked.append(dict(self._peaks))
        adapter = self.store.path(cell) / "adapter"
        adapter.mkdir()
        (adapter / "valueeval.json").write_text(json.dumps({"peak_memory_bytes": GIB}))
        self.store.results(cell).mkdir()

    monkeypatch.setattr(Runner, "_run_cell", run_cell)
    Runner(Store(tmp_path / "out"), cells(seed=[0, 1]), workers=1).run()
    assert [list(peaks.values()) for peaks in asked] == [[], [GIB]]


@pytest.mark.parametrize(
    ("free", "together"),
    [(10 * GIB, 2), (5 * GIB, 1), (1 * GIB, 1)],
    ids=["both fit", "one fits", "not even one: it is tried alone"],
)
def test_cells_beside_each_other(
    cells: Callable[..., list[Cell]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    free: int,
    together: int,
) -> None:
    """Each needs 3 GiB and holds nothing yet, so that free memory does not show it."""
    monkeypatch.setattr(execute, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(execute, "free_bytes", lambda: free)
    monkeypatch.setattr(execute, "needed_bytes", lambda cell, peaks, cells: 3 * GIB)
    monkeypatch.setattr(execute, "taken_bytes", lambda process: 0)
    running, most, lock = set[int](), [0], threading.Lock()
    both = threading.Barrier(2)

    def run_cell(self: Runner, cell: Cell, device: str | None) -> None:
        with lock:
            running.add(threading.get_ident())
            most[0] = max(most[0], len(running))
        if together == 2:
            both.wait(timeout=30)
        with lock:
            running.discard(threading.get_ident())
        self.store.results(cell).mkdir()

    monkeypatch.setattr(Runner, "_run_cell", run_cell)
    wanted = cells(seed=[0, 1, 2, 3])
    store = Store(tmp_path / "out")
    Runner(store, wanted, workers=2).run()
    assert all(store.results(cell).is_dir() for cell in wanted)
    assert most == [together]
    told = "may need 3.0 GiB of memory, 1.0 GiB are free: it is started alone"
    assert capsys.readouterr().err.count(told) == (free < 3 * GIB)
