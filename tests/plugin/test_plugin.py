"""The start-up hook, what it registers, and the ``valueeval`` command."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from importlib.metadata import entry_points, requires
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import valueeval
from valueeval import cli, demo, registration, run
from valueeval.tasks.errors import ValueEvalError

STARTUP = Path(__file__).resolve().parents[2] / "plugin" / "startup"


def python(code: str, *path: Path, **environment: str) -> str:
    """What ``code`` prints in a Python of its own, started anywhere but here, ``path`` first."""
    kept = {k: v for k, v in os.environ.items() if k not in ("VALUEEVAL_NO_HOOK", "PYTHONPATH")}
    if path:
        environment["PYTHONPATH"] = os.pathsep.join(map(str, path))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, **environment},
        cwd=STARTUP.root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout.strip() + done.stderr.strip()


# ---------------------------------------------------------------- a small lm-eval, now and to come

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
from importlib.metadata import entry_points, requires
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
from importlib.metadata import entry_points, requires
from importlib.util import find_spec
PLUGINS = [Path(find_spec(entry.value).submodule_search_locations[0])
           for entry in entry_points(group="lm_eval.tasks")]
"""


def small_lm_eval(folder: Path, *, discovers: bool = False) -> Path:
    """Writes a package ``lm_eval`` with the places that the hook touches; returns its parent.

    Like the released lm-eval, or, if it ``discovers``, like the one to come: it reads entry points
    for models (merged upstream) and tasks (proposed).
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


# ---------------------------------------------------------------- the hook


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
        "['hf', 'valueeval', 'valueeval_baseline'] 2",
    ]


def uncaught(code: str, folder: Path, status: int = 1, **environment: str) -> str:
    """The standard error of a program that an exception ends, with this exit status."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(folder), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status
    return done.stderr


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
    assert found["models"] == ["HFLM", "ValueEvalLM", "BaselineLM"]


# ---------------------------------------------------------------- entry points


def test_entry_points_say_what_the_hook_does() -> None:
    models = {entry.name: entry.value for entry in entry_points(group="lm_eval.models")}
    assert registration.MODELS.items() <= models.items()
    tasks = {entry.name: entry.value for entry in entry_points(group="lm_eval.tasks")}
    assert tasks["valueeval"] == "valueeval.tasks"


@pytest.mark.parametrize("target", registration.MODELS.values())
def test_models_exist_where_they_are_said_to_be(target: str) -> None:
    module, _, name = target.partition(":")
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    body = ast.parse(Path(spec.origin).read_text()).body
    assert name in {node.name for node in body if isinstance(node, ast.ClassDef)}


def test_everything_that_is_declared_is_pinned() -> None:
    pinned = {
        canonicalize_name(Requirement(line).name)
        for line in (STARTUP.parents[1] / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    }
    declared = {canonicalize_name(Requirement(r).name) for r in requires("lm-eval-valueeval") or ()}
    assert declared <= pinned


# ---------------------------------------------------------------- the command


def test_help_lists_every_command_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in cli.COMMANDS:
        assert sum(line.startswith(f"  {name} ") for line in lines) == 1
    assert max(map(len, lines)) <= 80
    assert cli.main([]) == 0


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([name, "--help"])
    assert end.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"valueeval {valueeval.__version__}\n"


@pytest.mark.parametrize(
    ("word", "hint"),
    [("trian", "did you mean train?"), ("--verison", "unknown option"), ("x", "see valueeval")],
)
def test_unknown_words_get_a_hint(word: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([word]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert hint in shown.err
    assert shown.err.count("\n") == 1


def fake_command(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Makes ``valueeval fake`` raise ``error``."""
    module = ModuleType("fake_command")

    def main(argv: list[str]) -> int:
        raise error

    module.main = main  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_command", module)
    monkeypatch.setitem(cli.COMMANDS, "fake", ("fake_command", "raises"))


def test_errors_for_people(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_command(monkeypatch, ValueEvalError("a.tsv, line 3: no tab"))
    assert cli.main(["fake"]) == 2
    assert capsys.readouterr().err == "valueeval fake: a.tsv, line 3: no tab\n"
    with pytest.raises(ValueEvalError):
        cli.main(["fake", "--debug"])


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueEvalError("a\x1b[2J\u202eb\nwhat to do"), "a\ufffd[2J\ufffdb\nwhat to do"),
        (FileNotFoundError(2, "No such file or directory", "x\x07"), "x\ufffd: No such file or"),
        (OSError("disk on fire"), "disk on fire"),
        (RecursionError("maximum recursion depth exceeded"), "the input is nested too deeply"),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"), "no valid Unicode"),
    ],
)
def test_bad_input_shows_no_traceback(
    error: Exception,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake_command(monkeypatch, error)
    assert cli.main(["fake"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("valueeval fake: ")
    assert told in shown
    with pytest.raises(type(error)):
        cli.main(["fake", "--debug"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["score", "--labels", "x" * 100_000, "--run", "r"],
        ["score", "--samples", f"{'x' * 1000}/samples_valueeval_bca_.jsonl"],
        ["score", "--samples", "samples_valueeval_bca_\udcff.jsonl"],
        ["export", "samples_valueeval_bca_.jsonl", "-o", "x" * 100_000],
        ["data", "info", "x" * 100_000],
        ["data", "verify", "x" * 100_000],
        ["data", "info", "--set", "x" * 100_000],
        ["data", "fetch", "--cache", "x" * 100_000],
    ],
)
def test_hostile_arguments_of_our_commands(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    message = capsys.readouterr().err.lstrip("\n")  # where a progress bar was to come
    assert message.startswith(f"valueeval {arguments[0]}: ")
    assert message.count("\n") <= 2
    assert max(map(len, message.split("\n"))) < 1100
    assert not list(tmp_path.iterdir())


def test_errors_of_ours_show_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_command(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["fake"])


def test_interrupt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fake_command(monkeypatch, KeyboardInterrupt())
    assert cli.main(["fake"]) == 130
    assert capsys.readouterr().err == "valueeval: interrupted\n"


def test_a_reader_that_has_gone_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        command = [sys.executable, "-m", "valueeval", "--help"]
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (cli.BROKEN_PIPE, b"")


def test_where_a_character_cannot_be_printed() -> None:
    """As in the log of a job whose locale is not UTF-8; the help has «…» in it."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "valueeval", "train", "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--resume" in done.stdout


def test_run_hands_its_arguments_to_lm_eval(monkeypatch: pytest.MonkeyPatch) -> None:
    import lm_eval.__main__

    seen: list[list[str]] = []
    monkeypatch.setattr(run, "register", lambda: seen.append(["registered"]))
    monkeypatch.setattr(lm_eval.__main__, "cli_evaluate", lambda: seen.append(sys.argv[1:]))
    before = sys.argv
    assert cli.main(["run", "--tasks", "valueeval_cot", "--limit", "4"]) == 0
    assert seen == [["registered"], ["run", "--tasks", "valueeval_cot", "--limit", "4"]]
    assert sys.argv is before


# ---------------------------------------------------------------- the demo


def test_demo_runs_its_commands_in_order_and_shows_the_leaderboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "demo"

    def call(command: list[str], env: dict[str, str]) -> int:
        assert command[:2] == [sys.executable, "-m"]
        if command[3] == "leaderboard":
            (folder / "leaderboard.md").write_text("| minilm |")
        return 0

    monkeypatch.setattr(demo.subprocess, "call", call)
    for _ in range(2):  # the second clears what the first left
        assert cli.main(["demo", "-o", str(folder)]) == 0
        shown = capsys.readouterr().out
        commands = [line.split()[1:3] for line in shown.splitlines() if line.startswith("$ ")]
        train, evaluate, rank = ["valueeval", "train"], ["lm_eval", "--tasks"], ["valueeval"]
        assert commands == [train, *[evaluate] * 3, [*rank, "leaderboard"]]
        assert "| minilm |" in shown
        assert "demonstration only" in shown


def test_demo_leaves_other_folders_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "results"
    kept.mkdir()
    assert cli.main(["demo", "-o", str(tmp_path)]) == 2
    assert "name a new one" in capsys.readouterr().err
    assert kept.is_dir()


def test_demo_stops_where_a_command_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo.subprocess, "call", lambda *_, **__: 3)
    assert cli.main(["demo", "-o", str(tmp_path / "demo")]) == 2
    assert "status 3 from: valueeval train" in capsys.readouterr().err
