"""The package as users get it: built, installed in fresh environments, used, removed.

One environment is provisioned in full from the package index; the others are copies of it, made of
hard links, in which one thing is installed another way.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

from valueeval.cli import COMMANDS
from valueeval.tasks.scores.scoring import METRICS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (
    "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE",
    "plugin", "valueeval_tasks", "adapters", "train", "leaderboard",
)  # fmt: skip
PIP_ARGS = os.environ.get("PIP_ARGS", "").split()  # as for make
TEMPLATES = ("cot", "bca", "mbc", "oa", "cls")

# What an installation must show: our tasks and models beside those of lm-eval.
LOOK = """
import json
from lm_eval.tasks import TaskManager
from lm_eval.api.registry import get_model
index = TaskManager().task_index
print(json.dumps({
    "tasks": sum(name.startswith("valueeval_") for name in index),
    "others": sum(not name.startswith("valueeval") for name in index),
    "models": [get_model(name).__name__ for name in ("hf", "valueeval", "valueeval_baseline")],
}))
"""


@dataclass(frozen=True)
class Environment:
    """A virtual environment and the unrelated folder that its programs are started in."""

    folder: Path
    elsewhere: Path

    @property
    def site(self) -> Path:
        """Its site-packages."""
        return (
            self.folder
            / "lib"
            / f"python{sys.version_info[0]}.{sys.version_info[1]}"
            / ("site-packages")
        )

    def try_run(self, program: str, *arguments: str | Path, **variables: str) -> tuple[int, str]:
        """Exit status, and stdout and stderr together, of a program of the environment."""
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("PYTHON", "VALUEEVAL", "COV", "PYTEST"))
        }
        done = subprocess.run(
            [self.folder / "bin" / program, *arguments],
            cwd=self.elsewhere,
            env={**inherited, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        return done.returncode, done.stdout

    def run(self, program: str, *arguments: str | Path, **variables: str) -> str:
        """Return the output of a program of the environment, which must succeed."""
        status, shown = self.try_run(program, *arguments, **variables)
        assert status == 0, shown
        return shown

    def pip(self, *arguments: str | Path) -> str:
        """Runs its pip."""
        return self.run("python", "-m", "pip", "--disable-pip-version-check", *arguments)

    def files(self) -> set[str]:
        """All its files, as paths relative to it."""
        return {str(p.relative_to(self.folder)) for p in self.folder.rglob("*") if not p.is_dir()}

    def copy(self, folder: Path) -> Environment:
        """The same environment in another folder, its files hard links."""
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        other = Environment(folder, self.elsewhere)
        shutil.rmtree(other.site)
        shutil.copytree(self.site, other.site, copy_function=os.link, symlinks=True)
        for script in (self.folder / "bin").iterdir():
            new = folder / "bin" / script.name
            if not new.exists():
                text = script.read_bytes()
                new.write_bytes(text.replace(bytes(self.folder), bytes(folder)))
                shutil.copymode(script, new)
        return other

    def assert_complete(self) -> None:
        """Our tasks and models are there, and so are those of lm-eval."""
        shown = self.run("python", "-c", LOOK)
        found = json.loads(next(line for line in shown.splitlines() if line.startswith("{")))
        assert found["tasks"] >= 90, found
        assert found["others"] > 1000, found
        assert found["models"] == ["HFLM", "ClassifierLM", "BaselineLM"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project without .git, as an archive of a release has it."""
    folder = tmp_path_factory.mktemp("archive")
    leave = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=leave)
        else:
            shutil.copy(source, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a source distribution built from the archive."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", out, archive]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(out.glob("*.tar.gz"))) == 1
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def fresh(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """A fresh environment with the wheel and, from the package index, all that it needs."""
    folder = tmp_path_factory.mktemp("fresh")
    environment = Environment(folder / "venv", folder / "elsewhere")
    environment.elsewhere.mkdir()
    subprocess.run([sys.executable, "-m", "venv", environment.folder], check=True)
    environment.pip("install", "-q", "-c", ROOT / "constraints.txt", *PIP_ARGS, wheel)
    yield environment
    shutil.rmtree(folder)  # gigabytes


def test_wheel_holds_every_file_of_the_packages(archive: Path, wheel: Path) -> None:
    packages = {"plugin": "valueeval", "valueeval_tasks": "valueeval/tasks"}
    packages |= {name: f"valueeval/{name}" for name in ("adapters", "train", "leaderboard")}
    wanted = {
        f"{target}/{file.relative_to(archive / name)}"
        for name, target in packages.items()
        for file in (archive / name).rglob("*")
        if (file.parent / "__init__.py").is_file() and file.is_file() and file.name[0] != "."
    }
    shipped = (archive / "adapters" / "shipped" / "minilm-lora").iterdir()
    wanted |= {f"valueeval/adapters/shipped/minilm-lora/{file.name}" for file in shipped}
    wanted |= {file.name for file in (archive / "plugin" / "startup").iterdir()}
    with zipfile.ZipFile(wheel) as packed:
        found = {name for name in packed.namelist() if ".dist-info/" not in name}
    assert found == wanted


def test_wheel(fresh: Environment) -> None:
    fresh.assert_complete()
    listed = fresh.run("lm_eval", "ls", "tasks")
    for template in TEMPLATES:
        assert f"valueeval_{template}_p2_zhihu" in listed
    assert "warning" not in fresh.run("python", "-m", "pip", "check").lower()


def test_every_command_of_the_wheel_has_help(fresh: Environment) -> None:
    assert "usage" in fresh.run("lm_eval", "--help")
    assert "valueeval" in fresh.run("valueeval", "--version")
    for command in ([], *([name] for name in COMMANDS)):
        assert "usage: " in fresh.run("valueeval", *command, "--help")
    assert "usage: valueeval" in fresh.run("python", "-m", "valueeval", "--help")


@pytest.mark.parametrize("model", ["tiny_gpt2", "tiny_t5"])
def test_five_tasks_on_real_data(
    model: str, fresh: Environment, real_data_dir: Path, request: pytest.FixtureRequest
) -> None:
    shown = fresh.run(
        "lm_eval",
        *("--tasks", ",".join(f"valueeval_{template}" for template in TEMPLATES)),
        *("--model", "hf", "--model_args", f"pretrained={request.getfixturevalue(model)}"),
        *("--device", "cpu", "--batch_size", "16", "--limit", "4"),
        VALUEEVAL_DATA=str(real_data_dir),
    )
    table = [line.split("|") for line in shown.splitlines() if line.startswith("|")]
    in_table = {cell.strip() for row in table for cell in row}
    assert {f"valueeval_{template}" for template in TEMPLATES} <= in_table
    columns_of_others = {name for name in METRICS if name.endswith("_stderr")}
    assert set(METRICS) - columns_of_others <= in_table
    assert len(table) >= len(TEMPLATES) * (len(METRICS) - len(columns_of_others))


def test_hook_switched_off(fresh: Environment) -> None:
    arguments = ("--tasks", "valueeval_bca_sample", "--model", "valueeval_baseline", "--limit", "2")
    strategy = ("--model_args", "strategy=every_value")
    status, shown = fresh.try_run("lm_eval", *arguments, *strategy, VALUEEVAL_NO_HOOK="1")
    assert status != 0, shown
    assert "valueeval_bca_sample" in shown
    shown = fresh.run("valueeval", "run", *arguments, *strategy, VALUEEVAL_NO_HOOK="1")
    assert "|macro_f1" in shown


def test_uninstalling_leaves_nothing(
    fresh: Environment, wheel: Path, archive: Path, tmp_path: Path
) -> None:
    environment = fresh.copy(tmp_path / "venv")
    environment.pip("uninstall", "-y", "lm-eval-valueeval")
    before = environment.files()
    assert not {name for name in before if "valueeval" in name}
    for arguments in ([wheel], ["-e", archive]):
        environment.pip("install", "-q", "--no-deps", *PIP_ARGS, *arguments)
        environment.run("valueeval", "--help")
        environment.run("python", "-c", "import lm_eval.models, valueeval.tasks.scores.scoring")
        installed = environment.files()
        for name in ("lm_eval_valueeval.pth", "lm_eval_valueeval_hook.py"):
            assert any(file.endswith(name) for file in installed - before)
        environment.pip("uninstall", "-y", "lm-eval-valueeval")
        assert environment.files() == before


def test_editable(fresh: Environment, archive: Path, tmp_path: Path) -> None:
    environment = fresh.copy(tmp_path / "venv")
    environment.pip("install", "-q", "--no-deps", *PIP_ARGS, "-e", archive)
    environment.assert_complete()
    new = archive / "valueeval_tasks" / "valueeval_new_sample.yaml"
    new.write_text("include: valueeval_cls_sample.yaml\ntask: valueeval_new_sample\n")
    try:
        assert "valueeval_new_sample" in environment.run("lm_eval", "ls", "subtasks")
    finally:
        new.unlink()


def test_lm_eval_itself_editable(fresh: Environment, tmp_path: Path) -> None:
    environment = fresh.copy(tmp_path / "venv")
    release = f"lm-eval=={version('lm_eval')}"
    environment.pip(
        "download", "-q", "--no-deps", "--no-binary", "lm-eval", *PIP_ARGS, "-d", tmp_path, release
    )
    (packed,) = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(packed, tmp_path, filter="data")
    source = tmp_path / packed.name.removesuffix(".tar.gz")
    environment.pip("install", "-q", "--no-deps", *PIP_ARGS, "-e", source)
    where = environment.run("python", "-c", "import lm_eval; print(lm_eval.__file__)")
    assert Path(where.strip()).is_relative_to(source)
    environment.assert_complete()


def test_a_half_removed_package_breaks_no_program(fresh: Environment, tmp_path: Path) -> None:
    environment = fresh.copy(tmp_path / "venv")
    shutil.rmtree(environment.site / "valueeval")
    assert environment.run("python", "-c", "import lm_eval.models") == ""
    (environment.site / "lm_eval_valueeval_hook.py").unlink()
    shutil.rmtree(environment.site / "__pycache__")
    assert environment.run("python", "-c", "import lm_eval.models") == ""
