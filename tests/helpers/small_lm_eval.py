"""A small package ``lm_eval``, and programs that import it in a Python of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def python(code: str, *path: Path, **environment: str) -> str:
    """Return what ``code`` prints in a fresh Python, started elsewhere, with ``path`` first."""
    kept = {k: v for k, v in os.environ.items() if k not in ("VALUEEVAL_NO_HOOK", "PYTHONPATH")}
    if path:
        environment["PYTHONPATH"] = os.pathsep.join(map(str, path))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, **environment},
        cwd=Path(sys.executable).anchor,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout.strip() + done.stderr.strip()


def uncaught(code: str, folder: Path, status: int = 1, **environment: str) -> str:
    """Return the standard error of a program that an exception ends with this exit status."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(folder), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status
    return done.stderr


REGISTRY = """
class Registry(dict):
    def register(self, name, *, target):
        if self.get(name, target) != target:
            raise ValueError(f"alias {name} already registered")
        self[name] = target

model_registry = Registry()

def get_model(name):
    if not model_registry:
        import lm_eval.models
    return model_registry[name]
"""
MODELS = """
from lm_eval.api.registry import model_registry
model_registry.register("hf", target="lm_eval.models.huggingface:HFLM")
"""
MODELS_TO_COME = (
    MODELS
    + """
from importlib.metadata import entry_points
for entry in entry_points(group="lm_eval.models"):
    if entry.name not in model_registry:
        model_registry.register(entry.name, target=entry)
"""
)
INDEX = """
class TaskIndex:
    @staticmethod
    def build(paths, *, resolve_includes=True):
        return [str(path) for path in paths]
"""
MANAGER = """
from pathlib import Path
from lm_eval.tasks._index import TaskIndex

class TaskManager:
    def __init__(self, include_path=(), include_defaults=True):
        paths = [Path(__file__).parent] if include_defaults else []
        self.paths = TaskIndex().build(paths + PLUGINS + [Path(p) for p in include_path])
"""
PLUGINS_TO_COME = """
from importlib.metadata import entry_points
from importlib.util import find_spec
PLUGINS = [Path(find_spec(entry.value).submodule_search_locations[0])
           for entry in entry_points(group="lm_eval.tasks")]
"""


def small_lm_eval(folder: Path, *, discovers: bool = False) -> Path:
    """Writes a package ``lm_eval`` with the places that the hook touches; returns its parent.

    Like the released lm-eval, or, if it ``discovers``, like the one to come: it reads entry points
    for models and tasks, as two open pull requests propose (4014, 4015).
    """
    files = {
        "__init__.py": "",
        "api/__init__.py": "",
        "api/registry.py": REGISTRY,
        "models/__init__.py": MODELS_TO_COME if discovers else MODELS,
        "models/huggingface.py": "class HFLM: pass",
        "_cli.py": "",
        "tasks/__init__.py": "from lm_eval.tasks.manager import TaskManager",
        "tasks/_index.py": INDEX,
        "tasks/manager.py": MANAGER + (PLUGINS_TO_COME if discovers else "PLUGINS = []"),
    }
    for name, text in files.items():
        file = folder / "lm_eval" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder
