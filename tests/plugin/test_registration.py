"""Registration with lm-eval, and how our errors are shown there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small_lm_eval import python, small_lm_eval, uncaught

from valueeval import registration


def test_task_folder_comes_after_the_defaults_and_before_include_path(tmp_path: Path) -> None:
    code = """
from lm_eval.tasks import TaskManager
import json
import lm_eval.tasks._index
ours = TaskManager().paths[1]
print(json.dumps([TaskManager(include_path=["/mine"]).paths,
                  TaskManager(include_path=["/mine"], include_defaults=False).paths,
                  TaskManager(include_path=[ours]).paths]))
"""
    small_lm_eval(tmp_path)
    defaults, ours = str(tmp_path / "lm_eval" / "tasks"), str(registration.task_folder())
    beside, without, twice = json.loads(python(code, tmp_path))
    assert beside == [defaults, ours, "/mine"]
    assert without == ["/mine"]
    assert twice == [defaults, ours]


def test_nothing_is_done_twice_where_lm_eval_discovers_us(tmp_path: Path) -> None:
    code = """
from lm_eval.tasks import TaskManager
from lm_eval.api.registry import get_model
from valueeval.registration import register
for _ in range(2):
    print(type(get_model("valueeval")).__name__, len(TaskManager().paths))
    register()
"""
    shown = python(code, small_lm_eval(tmp_path, discovers=True))
    assert shown.splitlines() == ["EntryPoint 2"] * 2


RAISES = """
import lm_eval.tasks
from valueeval.adapters.directory.errors import ManifestError
raise {}("no such adapter")
"""
COMMAND = "import lm_eval._cli" + RAISES


def test_the_lm_eval_command_shows_our_errors_without_traceback(tmp_path: Path) -> None:
    folder = small_lm_eval(tmp_path)
    assert uncaught(COMMAND.format("ManifestError"), folder, 2) == "valueeval: no such adapter\n"


def test_other_errors_go_to_the_hook_that_was_there_before(tmp_path: Path) -> None:
    folder = small_lm_eval(tmp_path)
    assert "Traceback" in uncaught(COMMAND.format("ValueError"), folder)
    own = "import sys\nsys.excepthook = lambda *error: sys.stderr.write(f'mine: {error[1]}')\n"
    assert uncaught(own + COMMAND.format("ValueError"), folder) == "mine: no such adapter"


@pytest.mark.parametrize(
    ("code", "variable"),
    [
        (COMMAND, "VALUEEVAL_DEBUG"),
        (COMMAND, "VALUEEVAL_NO_HOOK"),
        (RAISES, "UNRELATED"),
        ("import valueeval.cli\n" + COMMAND, "UNRELATED"),
    ],
    ids=["asked for", "hook switched off", "lm-eval as a library", "valueeval run --debug"],
)
def test_the_traceback_of_our_errors_elsewhere(code: str, variable: str, tmp_path: Path) -> None:
    shown = uncaught(code.format("ManifestError"), small_lm_eval(tmp_path), **{variable: "1"})
    assert "Traceback" in shown
    assert shown.endswith("ManifestError: no such adapter\n")


def test_real_lm_eval_shows_our_errors_without_traceback() -> None:
    command = [sys.executable, "-m", "lm_eval", "--tasks", "valueeval_cls_sample", "--model",
               "valueeval_baseline", "--model_args", "strategy=chance"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "\nvalueeval: " in done.stderr
    assert "chance" in done.stderr.splitlines()[-1]


def test_real_lm_eval_knows_our_tasks_and_models() -> None:
    code = """
import json, logging
logging.basicConfig(level="WARNING")
from lm_eval.tasks import TaskManager
manager = TaskManager()
from lm_eval.api.registry import get_model
print(json.dumps({
    "tasks": [n for n in manager.all_tasks if n.startswith("valueeval_")],
    "folder": str(manager.task_index["valueeval_cls"].yaml_path.parent),
    "others": len(manager.all_tasks),
    "models": [get_model(n).__name__ for n in ("hf", "valueeval", "valueeval_baseline")],
}))
"""
    found = json.loads(python(code).splitlines()[0])
    assert {f"valueeval_{t}" for t in ("cls", "mbc", "bca", "oa", "cot")} <= set(found["tasks"])
    assert found["folder"] == str(registration.task_folder())
    assert found["others"] > 1000
    assert found["models"] == ["HFLM", "ClassifierLM", "BaselineLM"]
