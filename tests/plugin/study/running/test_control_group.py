"""Limits of control groups, in both forms of Linux."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from valueeval.study.running import memory
from valueeval.study.running.control_group import left_by_groups


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"memory.{name}").write_text(f"{text}\n")


def named(folder: Path, *lines: str) -> Path:
    file = folder / "cgroup"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def test_the_tightest_limit_of_the_tree(tmp_path: Path) -> None:
    """A job's group has the limit, the step's below it none; cached files can go."""
    root = tmp_path / "root"
    group(root / "slurm", max="9000", current="1000", stat="anon 800\ninactive_file 0")
    group(root / "slurm" / "job", max="4000", current="3000", stat="anon 800\ninactive_file 500")
    group(root / "slurm" / "job" / "step", max="max", current="100", stat="inactive_file 0")
    own = named(tmp_path, "0::/slurm/job/step")
    assert left_by_groups(root, own) == 1500
    group(root / "slurm" / "job", current="5000")
    assert left_by_groups(root, own) == 0


def test_the_earlier_form(tmp_path: Path) -> None:
    """In a container the tree begins with its own group, though the process names it otherwise."""
    root = tmp_path / "root"
    files = {"limit_in_bytes": "4000", "usage_in_bytes": "3000", "stat": "total_inactive_file 7"}
    group(root / "memory", **files)
    own = named(tmp_path, "5:cpu,cpuacct:/docker/1", "4:memory:/docker/1", "0::/docker/1")
    assert left_by_groups(root, own) == 1007


def test_no_limit(tmp_path: Path) -> None:
    assert left_by_groups(tmp_path, named(tmp_path, "0::/user")) is None
    assert left_by_groups(tmp_path, tmp_path / "no-linux") is None


@pytest.mark.parametrize(("left", "free"), [(None, 100), (30, 30), (300, 100)])
def test_free_memory(monkeypatch: pytest.MonkeyPatch, left: int | None, free: int) -> None:
    """Neither more than the machine has, nor than the group may take."""

    class Machine:
        available = 100

    monkeypatch.setattr(psutil, "virtual_memory", Machine)
    monkeypatch.setattr(memory, "left_by_groups", lambda: left)
    assert memory.free_bytes() == free
