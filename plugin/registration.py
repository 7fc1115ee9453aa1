"""Registration with lm-eval: three harness models, one folder of tasks, errors shown plainly.

Called by the start-up hook once lm-eval's own modules are loaded, and by ``valueeval run``. Nothing
is done twice: where lm-eval has already found the models or tasks by the entry points of
pyproject.toml (which open pull requests to lm-eval read, and no release), they are left as they
are.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

# The same pairs stand in pyproject.toml under the entry-point group lm_eval.models.
MODELS = {
    "valueeval": "valueeval.adapters.harness.classifier_lm:ClassifierLM",
    "valueeval_baseline": "valueeval.adapters.harness.baseline_lm:BaselineLM",
    "valueeval_chat": "valueeval.adapters.servers.chat_server_lm:ChatServerLM",
}
DEBUG_VARIABLE = "VALUEEVAL_DEBUG"


def register() -> None:
    """Make lm-eval know our models and tasks, whatever was imported before; may be repeated."""
    register_models()
    add_task_folder()


def register_models() -> None:
    """Add ``MODELS`` to lm-eval's model registry as placeholders that are imported on first use.

    lm-eval fills its registry with the built-in models only while it is empty, so those come first.
    """
    import lm_eval.models  # noqa: F401  (fills the registry)
    from lm_eval.api.registry import model_registry

    for name, target in MODELS.items():
        if name not in model_registry:
            model_registry.register(name, target=target)


def register_tasks() -> None:
    """Add our tasks; in the ``lm_eval`` command, show our errors as ``valueeval`` does.

    That command also ends with a line for each of our tasks, its scores with their interval. A
    program that uses lm-eval as a library keeps its own way to show errors, and prints no line.
    """
    add_task_folder()
    if "lm_eval._cli" in sys.modules and "valueeval.cli" not in sys.modules:
        show_errors_plainly()
        atexit.register(print_closing_lines)


def print_closing_lines() -> None:
    """Print what lm-eval's table says first: a line for each of our tasks that was scored."""
    ours = sys.modules.get("valueeval.tasks.harness.closing_lines")  # there if a task was loaded
    for line in [] if ours is None else ours.closing_lines():
        print(line, flush=True)


def show_errors_plainly() -> None:
    """Show an uncaught ``ValueEvalError`` without its traceback and end with exit status 2.

    Likewise the error of a file that is no cache for ``--use_cache``. With ``VALUEEVAL_DEBUG`` set
    they are shown with their traceback. Everything else goes to the
    ``sys.excepthook`` that was there before.
    """
    import sqlite3

    from valueeval.tasks.display import error_message
    from valueeval.tasks.errors import ValueEvalError, unreadable_cache

    before = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
        told = error if isinstance(error, ValueEvalError) else None
        if isinstance(error, sqlite3.DatabaseError):
            told = ValueEvalError(unreadable_cache(error))
        if told is not None and not os.environ.get(DEBUG_VARIABLE):
            print(f"valueeval: {error_message(told)}", file=sys.stderr)
            # Python takes the exit status from what its hook raises.
            raise SystemExit(2)
        else:
            before(kind, error, at)

    sys.excepthook = show


def task_folder() -> Path:
    """Return the folder of our task YAMLs, found without importing it."""
    spec = find_spec("valueeval.tasks")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("valueeval.tasks is not installed")
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def add_task_folder() -> None:
    """Make every task index that holds lm-eval's own tasks hold ours as well.

    Ours come right after lm-eval's, before the folders of ``include_path``, which may override
    them; an index without lm-eval's own tasks (``include_defaults=False``) stays without ours.
    """
    from lm_eval.tasks import _index

    build = _index.TaskIndex.build
    if getattr(build, "with_valueeval", False):
        return
    defaults = Path(_index.__file__).parent.resolve()

    def build_with_valueeval(paths: Iterable[Path], *args: Any, **options: Any) -> Any:
        folders = list(paths)
        places = [Path(folder).resolve() for folder in folders]
        ours = task_folder()
        if defaults in places and ours not in places:
            folders.insert(places.index(defaults) + 1, ours)
        return build(folders, *args, **options)

    build_with_valueeval.with_valueeval = True  # type: ignore[attr-defined]
    _index.TaskIndex.build = staticmethod(build_with_valueeval)
