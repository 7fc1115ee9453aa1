"""Which package may import which, and what the light ones may not drag in."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {
    "valueeval.tasks": "valueeval_tasks",
    "valueeval.adapters": "adapters",
    "valueeval.train": "train",
    "valueeval.leaderboard": "leaderboard",
    "valueeval": "plugin",
}
# Package → what it must not import, anywhere, not even inside a function.
FORBIDDEN = {
    "valueeval.tasks": ("valueeval.adapters", "valueeval.train", "valueeval.leaderboard", "torch"),
    "valueeval.adapters": ("valueeval.train", "valueeval.leaderboard"),
    "valueeval.train": ("valueeval.leaderboard",),
    "valueeval.leaderboard": ("valueeval.adapters", "valueeval.train", "torch"),
}
# The front door imports these, and every other package but tasks, inside functions only.
HEAVY = ("torch", "transformers", "peft", "datasets", "evaluate", "lm_eval", "matplotlib")
LIGHT_MODULES = [
    "valueeval",
    "valueeval.cli",
    "valueeval.registration",
    "valueeval.tasks",
    "valueeval.tasks.errors",
    "valueeval.tasks.files",
    "valueeval.tasks.values",
    "valueeval.tasks.data.dataset",
    "valueeval.tasks.scores.scoring",
]
USES_LM_EVAL = "valueeval.tasks.harness"  # the rest of valueeval.tasks works without lm-eval

# Rooms of each package, each with the rooms of the same package that it may import. Modules at a
# package's root are "": those of tasks may be imported by every room, those of train import all.
ROOMS: dict[str, dict[str, set[str]]] = {
    "valueeval.tasks": {
        "": set(),
        "data": {""},
        "scores": {"", "data"},
        "templates": {"", "data", "scores"},
        "harness": {"", "data", "scores", "templates"},
        "commands": {"", "data", "scores", "templates", "harness"},
    },
    "valueeval.adapters": {
        "directory": set(),
        "runtime": set(),
        "classifier": {"directory", "runtime"},
        "reading": {"directory", "runtime"},
        "harness": {"directory", "runtime", "classifier", "reading"},
        "servers": {"harness"},
        "engines": {"directory", "runtime", "classifier"},
        "shipped": set(),
        "tables": set(),
        "predict": {
            *("directory", "runtime", "classifier", "engines", "shipped", "tables"),
            *("harness", "servers"),  # prompted models
        },
    },
    "valueeval.train": {
        "config": set(),
        "runtime": {"config"},
        "storage": {"config", "runtime"},
        "data": {"config", "runtime"},
        "objectives": {"config", "runtime", "storage", "data"},
        "loop": {"config", "runtime", "storage", "data", "objectives"},
        "templates": {"config", "runtime", "objectives", "loop", "methods"},
        "methods": {"config", "runtime"},
        "publish": {"config", "runtime", "data", "objectives", "loop"},
        "": {
            *("config", "runtime", "storage", "data", "objectives"),
            *("loop", "templates", "methods", "publish"),
        },
    },
    "valueeval.leaderboard": {
        "": set(),
        "published": set(),
        "reading": {""},
        "table": {"", "reading", "published"},
        "inference": {"", "reading", "published", "table"},
        "formats": {"", "reading", "published", "table"},
        "page": {"", "reading", "published", "table", "formats"},
        "commands": {"", "reading", "table", "inference", "formats", "page"},
    },
}


def modules(package: str) -> list[tuple[str, Path]]:
    """Import name and file of every module of a package, those in its rooms included."""
    folder = ROOT / FOLDERS[package]
    found = []
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(folder).with_suffix("").parts
        if parts[0] != "startup":  # installed beside the package, not in it
            name = ".".join((package, *parts))
            found.append((name.removesuffix(".__init__"), file))
    return found


def room_of(name: str, package: str) -> str:
    """Return the room of a module, "" for a module at the package's root."""
    rest = name.removeprefix(package).lstrip(".").split(".")
    return rest[0] if (ROOT / FOLDERS[package] / rest[0]).is_dir() else ""


ALL_MODULES = [(package, *module) for package in FOLDERS for module in modules(package)]


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Full names of what ``tree`` imports: modules, and names from modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, [package if node.level else "", node.module]))
            yield from (f"{base}.{alias.name}" for alias in node.names)


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


@cache
def _at_the_door() -> set[str]:
    """The modules that commands import before they know what is asked of them.

    Those right in plugin/ and the command lines in its rooms, and what these import at their top.
    """
    files = dict(modules("valueeval"))
    found, waiting = set(), [n for n in files if n.count(".") < 2 or n.endswith(".cli")]
    while waiting:
        name = waiting.pop()
        if name in files and name not in found:
            found.add(name)
            tree = ast.parse(files[name].read_text(encoding="utf-8"))
            for each in set(imported(tree, "valueeval")) - _typing(tree):
                waiting += [each, each.rpartition(".")[0]]
    return found


@pytest.mark.parametrize(("package", "name", "file"), ALL_MODULES, ids=lambda value: str(value))
def test_arrows(package: str, name: str, file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = set(imported(tree, package))
    wrong = {n for n in names if within(n, FORBIDDEN.get(package, ()))}
    if package == "valueeval.tasks" and not within(name, (USES_LM_EVAL,)):
        wrong |= {n for n in names if within(n, ("lm_eval",))}
    if name in _at_the_door():
        at_import = {n for node in tree.body for n in imported(node, package)} - _typing(tree)
        wrong |= {n for n in at_import if within(n, (*HEAVY, *FORBIDDEN["valueeval.tasks"]))}
    assert not wrong, f"{name} must not import {', '.join(sorted(wrong))}"


@pytest.mark.parametrize(("package", "name", "file"), ALL_MODULES, ids=lambda value: str(value))
def test_arrows_between_rooms(package: str, name: str, file: Path) -> None:
    if package not in ROOMS:
        return
    room = room_of(name, package)
    own = {n for n in imported(ast.parse(file.read_text(encoding="utf-8")), name) if n != package}
    others = {n: room_of(n, package) for n in own if within(n, (package,))}
    wrong = {n for n, other in others.items() if other not in {room, *ROOMS[package][room]}}
    assert not wrong, f"{name} must not import {', '.join(sorted(wrong))}"


def test_the_arrows_have_no_cycle_and_name_every_room() -> None:
    for package, rooms in ROOMS.items():
        TopologicalSorter(rooms).prepare()  # raises CycleError
        folders = {room_of(name, package) for name, _ in modules(package)}
        assert folders | {""} == set(rooms) | {""}


def test_every_room_is_packaged() -> None:
    """Setuptools installs the packages that pyproject.toml lists, and no others."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^packages = (\[.*?\])", text, re.MULTILINE | re.DOTALL)
    assert listed
    packages = {name for _, name, file in ALL_MODULES if file.name == "__init__.py"}
    assert set(ast.literal_eval(listed[1])) == packages


def test_no_folder_is_crowded() -> None:
    """A room holds what a person takes in at a glance."""
    sizes = Counter(file.parent for _, _, file in ALL_MODULES if file.name != "__init__.py")
    assert {folder: n for folder, n in sizes.items() if n > 15} == {}


def _typing(tree: ast.Module) -> set[str]:
    """Return the names imported under ``if TYPE_CHECKING`` and by functions, so not at import."""
    later = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, later) or (
            isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        ):
            found |= set(imported(node, "valueeval"))
    return found


def loaded_by(code: str) -> set[str]:
    """Names in ``sys.modules`` of a fresh Python after ``code``."""
    command = [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_light_modules_import_nothing_heavy() -> None:
    before = loaded_by("")
    names = loaded_by("import " + ", ".join(LIGHT_MODULES)) - before
    assert not {name for name in names if within(name, HEAVY)}


def test_leaderboard_imports_no_torch() -> None:
    names = loaded_by("import " + ", ".join(name for name, _ in modules("valueeval.leaderboard")))
    assert not {name for name in names if within(name, ("torch", "transformers", "lm_eval"))}


def test_classifier_imports_no_lm_eval() -> None:
    """A trained adapter can be used from Python, and trained, without the harness."""
    names = [n for n, _ in modules("valueeval.adapters") if room_of(n, "valueeval.adapters")]
    room = [name for name in names if within(name, ("valueeval.adapters.classifier",))]
    assert len(room) > 3
    loaded = loaded_by("\n".join(f"import {name}" for name in room))
    assert set(room) <= loaded
    assert not {name for name in loaded if within(name, ("lm_eval",))}


def test_interpreter_start_imports_nothing_but_the_hook() -> None:
    started = loaded_by("")
    assert "lm_eval_valueeval_hook" in started
    assert not {name for name in started if within(name, ("valueeval", "lm_eval", "numpy"))}


def test_every_module_can_be_imported() -> None:
    names = [name for _, name, _ in ALL_MODULES if not name.endswith("__main__")]
    assert set(names) <= loaded_by("\n".join(f"import {name}" for name in names))
