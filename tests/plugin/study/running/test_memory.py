"""What a cell needs of main memory and of a GPU's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from valueeval.study.cells import Cell, resolve
from valueeval.study.design import read_study
from valueeval.study.running import memory
from valueeval.study.running.memory import Peaks
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
    assert memory.needed_bytes(full, Peaks(), {}) == training + 16 * 5024
    assert memory.needed_bytes(lora, Peaks(), {}) == training + 4 * 5024
    assert memory.needed_bytes(asked, Peaks(), {}) == memory.PROCESS + 4 * 5024
    assert memory.needed_device_bytes(lora, Peaks(), {}) == (
        memory.CONTEXT + memory.ACTIVATIONS + 4 * 5024
    )
    (half,) = cells(method=["none"], template=["cls"], dtype=["bfloat16"])
    assert memory.needed_bytes(half, Peaks(), {}) == memory.PROCESS + 2 * 5024
    (elsewhere,) = cells(method=["full"], base=["org/model"])
    assert memory.needed_bytes(elsewhere, Peaks(), {}) == 0
    assert memory.needed_device_bytes(elsewhere, Peaks(), {}) == 0


def test_a_base_in_the_cache_of_the_hub(
    cells: Callable[..., list[Cell]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as soon as it has been downloaded, and a name that is no hub id is no error."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    (asked,) = cells(method=["none"], template=["cls"], base=["org/model"])
    assert memory.needed_bytes(asked, Peaks(), {}) == 0
    model = tmp_path / "hub" / "models--org--model"
    snapshot = model / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("0" * 40)
    assert memory.needed_bytes(asked, Peaks(), {}) == 0
    save_file({"a": np.zeros((100, 50), np.float16)}, snapshot / "model.safetensors")
    assert memory.needed_bytes(asked, Peaks(), {}) == memory.PROCESS + 4 * 5000
    for other in ({"revision": "elsewhere"}, {"base": "no/such/folder"}):
        design = replace(asked.design, options={**asked.design.options, **other})
        assert memory.needed_bytes(replace(asked, design=design), Peaks(), {}) == 0


def test_an_average_holds_all_members(cells: Callable[..., list[Cell]]) -> None:
    members = cells(seed=[0, 1, 2])
    average = replace(
        members[0],
        design=replace(members[0].design, options={"method": "average"}),
        train=None,
        needs=tuple(cell.key for cell in members),
    )
    by_key = {cell.key: cell for cell in members}
    assert memory.needed_bytes(average, Peaks(), by_key) == memory.PROCESS + 3 * 4 * 5024
    one, *two = average.needs
    chosen = replace(
        average,
        design=replace(average.design, options={"method": "selected"}),
        candidates={"small": [[one]], "large": [two]},
    )
    assert memory.needed_bytes(chosen, Peaks(), by_key) == memory.PROCESS + 2 * 4 * 5024


def test_a_finished_cell_tells_what_others_need(
    cells: Callable[..., list[Cell]], tmp_path: Path
) -> None:
    first, second = cells(method=["full"], seed=[0, 1])
    store = Store(tmp_path / "out")
    store.results(first).mkdir(parents=True)
    (store.path(first) / "adapter").mkdir()
    manifest = store.path(first) / "adapter" / "valueeval.json"
    manifest.write_text(json.dumps({"peak_memory_bytes": 3 * GIB, "peak_device_bytes": 2 * GIB}))
    peaks = memory.peaks_of_finished([first, second], store)
    assert memory.needed_bytes(second, peaks, {}) == 3 * GIB
    assert memory.needed_device_bytes(second, peaks, {}) == memory.CONTEXT + 2 * GIB
    lower = Peaks(dict.fromkeys(peaks.main, 1.0), {})
    assert lower.joined(peaks) == peaks.joined(lower) == peaks


def test_what_a_process_holds() -> None:
    words = [sys.executable, "-c", "x = b'1' * (64 << 20); print(flush=True); input()"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert memory.taken_bytes(child.pid) > 64 << 20
        child.communicate(b"\n")
    assert memory.taken_bytes(child.pid) == 0
