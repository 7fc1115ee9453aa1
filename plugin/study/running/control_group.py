"""How much main memory is left to this process by its control groups: a job's limit, a container's.

Linux kills what goes beyond it, however much the machine has. Groups are in a tree, each with a
limit of its own, in one of two forms (``cgroups(7)``).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class _Form(NamedTuple):
    """The folder and the file names of one version of control groups."""

    tree: str
    limit: str
    used: str
    cached: str  # line of memory.stat: files that are in memory as long as nobody else needs it


_V1 = _Form("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = _Form("", "memory.max", "memory.current", "inactive_file")


def left_by_groups(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> int | None:
    """Return the bytes that the tightest limit leaves; None where there is none.

    Args:
        root: Folder of the trees.
        own: File that names the groups of this process.
    """
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return None
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        form = _V1 if controllers else _V2
        tree = root / form.tree
        group = tree / path.lstrip("/")
        # A container may see its own group as the root: then only `tree` itself exists.
        for folder in (group, *(each for each in group.parents if each.is_relative_to(tree))):
            if (left := _left(folder, form)) is not None:
                found.append(left)
    return min(found, default=None)


def _left(folder: Path, form: _Form) -> int | None:
    """Return the bytes that a group leaves; None where it has no limit, or is not there."""
    try:
        limit = int((folder / form.limit).read_text(encoding="ascii"))
        used = int((folder / form.used).read_text(encoding="ascii"))
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
        statistics = {name: int(value) for name, value in map(str.split, lines)}
    except (OSError, ValueError):  # the limit of none is `max`
        return None
    return max(0, limit - used + statistics.get(form.cached, 0))
