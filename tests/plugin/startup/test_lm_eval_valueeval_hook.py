"""The start-up hook: registers whatever is imported first, breaks nothing, goes away."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from small_lm_eval import MODELS, python, small_lm_eval

from valueeval import registration

STARTUP = Path(__file__).resolve().parents[3] / "plugin" / "startup"


@pytest.mark.parametrize(
    "first",
    [
        "lm_eval",
        "lm_eval.api.registry",
        "lm_eval.models",
        "lm_eval.models.huggingface",
        "lm_eval.tasks",
        "lm_eval.tasks._index",
    ],
)
def test_registered_whatever_is_imported_first(first: str, tmp_path: Path) -> None:
    code = f"""
import {first}
from lm_eval.api.registry import get_model, model_registry
from lm_eval.tasks import TaskManager
print(get_model("hf"), get_model("valueeval"), len(TaskManager().paths), sep="; ")
import sys
print([type(finder).__module__ for finder in sys.meta_path].count("lm_eval_valueeval_hook"))
"""
    shown = python(code, small_lm_eval(tmp_path))
    hf = "lm_eval.models.huggingface:HFLM"
    assert shown.splitlines() == [f"{hf}; {registration.MODELS['valueeval']}; 2", "0"]


def test_hook_is_switched_off_by_the_variable(tmp_path: Path) -> None:
    code = """
import sys
from lm_eval.tasks import TaskManager
import lm_eval.models
from lm_eval.api.registry import model_registry
print("lm_eval_valueeval_hook" in sys.modules, sorted(model_registry), len(TaskManager().paths))
from valueeval.registration import register
register()
print(sorted(model_registry), len(TaskManager().paths))
"""
    shown = python(code, small_lm_eval(tmp_path), VALUEEVAL_NO_HOOK="1")
    assert shown.splitlines() == [
        "False ['hf'] 1",
        "['hf', 'valueeval', 'valueeval_baseline', 'valueeval_chat'] 2",
    ]


def test_looking_for_a_module_without_importing_it_does_not_use_up_the_hook(tmp_path: Path) -> None:
    code = """
from importlib.util import find_spec
find_spec("lm_eval.models")
from lm_eval.api.registry import get_model
print(get_model("valueeval"))
"""
    assert python(code, small_lm_eval(tmp_path)) == registration.MODELS["valueeval"]


def test_modules_that_the_hook_touched_look_as_ever(tmp_path: Path) -> None:
    code = """
import inspect, importlib
import lm_eval.models
print(inspect.getsource(lm_eval.models).strip().splitlines()[-1])
print(type(lm_eval.models.__spec__.loader).__name__)
importlib.reload(lm_eval.models)
"""
    shown = python(code, small_lm_eval(tmp_path)).splitlines()
    assert shown == [MODELS.strip().splitlines()[-1], "SourceFileLoader"]


@pytest.mark.parametrize(
    ("registration_module", "warned"),
    [(None, False), ("raise ImportError('half removed')", False), ("1 / 0", True), ("", True)],
    ids=["package gone", "import error", "bug on import", "function missing"],
)
def test_a_failing_hook_breaks_nothing(
    registration_module: str | None, warned: bool, tmp_path: Path
) -> None:
    small_lm_eval(tmp_path)
    broken = tmp_path / "valueeval"
    broken.mkdir()
    (broken / "__init__.py").write_text("")
    if registration_module is not None:
        (broken / "registration.py").write_text(registration_module)
    shown = python("from lm_eval.api.registry import get_model; print(get_model('hf'))", tmp_path)
    lines = shown.replace("HFLM", "HFLM\n").split()
    assert lines[0] == "lm_eval.models.huggingface:HFLM"
    assert ("ValueEval: register_models failed" in shown) is warned


def test_startup_line_is_silent_when_the_hook_is_gone() -> None:
    line = (STARTUP / "lm_eval_valueeval.pth").read_text()
    assert line.startswith("import ")  # else Python's start-up takes it for a folder
    assert line.count("\n") == 1
    command = [sys.executable, "-S", "-I", "-c", line]  # -S: no site-packages, hence no hook
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
