"""The documentation site and the release's check of versions."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def loaded(path: str) -> Any:
    """Return a module that is in no package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_between_readmes_are_links_between_pages() -> None:
    pytest.importorskip("mkdocs", reason="no mkdocs (extra: docs)")
    pages = loaded("docs/pages.py")
    text = (
        "[a](adapters/README.md) [b](train/README.md#part) [c](CITATION.cff) [d](#here) "
        "[e](https://arxiv.org/abs/2403.09720) ![f](leaderboard/figures/methods.svg)"
    )
    assert pages.with_links_between_pages(text, "README.md") == (
        "[a](evaluating.md) [b](training.md#part) c [d](#here) "
        "[e](https://arxiv.org/abs/2403.09720) ![f](leaderboard/figures/methods.svg)",
        {"leaderboard/figures/methods.svg"},
    )
    above, _ = pages.with_links_between_pages("[g](../README.md)", "train/README.md")
    assert above == "[g](index.md)"


def test_every_command_is_on_the_page_of_commands() -> None:
    pytest.importorskip("mkdocs", reason="no mkdocs (extra: docs)")
    from valueeval.cli import COMMANDS

    text = loaded("docs/pages.py").commands()
    assert re.findall(r"^## valueeval (\w+)$", text, re.M) == list(COMMANDS)
    assert str(ROOT) not in text


@pytest.mark.slow
def test_the_site_is_built_and_asks_no_other_server(tmp_path: Path) -> None:
    """With --strict: every link leads somewhere, every name of the API exists."""
    api, site = tmp_path / "api", tmp_path / "site"
    copy = tmp_path / "copy"  # what is built here leaves nothing in the checkout
    for name in (
        "plugin", "valueeval_tasks", "adapters", "train", "leaderboard", "studies", "docs",
    ):  # fmt: skip
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (
        "pyproject.toml", "setup.py", "README.md", "LICENSE", "MANIFEST.in", "CONTRIBUTING.md",
        "CHANGELOG.md", "mkdocs.yml",
    ):  # fmt: skip
        shutil.copy(ROOT / name, copy / name)
    install = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([sys.executable, *install, str(api), str(copy)], check=True)
    environment = {**os.environ, "VALUEEVAL_API": str(api), "COLUMNS": "96"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(site)]
    subprocess.run(command, check=True, cwd=copy, env=environment)
    html = {page.name: page.read_text(encoding="utf-8") for page in site.glob("*.html")}
    assert {"index.html", "api.html", "commands.html", "training.html"} <= html.keys()
    for name, text in html.items():
        loads = re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"?(https?:[^\" >]*)", text)
        assert not loads, name
        assert str(tmp_path) not in text, name
        assert str(ROOT) not in text, name
    assert "Label arguments or texts of your own" in html["commands.html"]
    assert 'id="valueeval.adapters.predict.model.Model.predict"' in html["api.html"]


def test_the_version_is_the_same_everywhere(tmp_path: Path) -> None:
    check = loaded(".ci/check_version.py")
    assert check.problems(None) == []
    version = check.versions()["pyproject.toml"]
    assert check.problems("v9.9.9")[0] == f"tag v9.9.9, not v{version}"
    for name in (*check.PLACES, "CHANGELOG.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    check.ROOT = tmp_path
    changes = tmp_path / "CHANGELOG.md"
    changes.write_text(changes.read_text("utf-8") + f"\n## [{version}]\n", "utf-8")
    assert check.problems(f"v{version}") == []
    citation = tmp_path / "CITATION.cff"
    citation.write_text(citation.read_text("utf-8").replace(version, "0.0.9"), "utf-8")
    assert check.problems(f"v{version}") == [f"CITATION.cff: 0.0.9, not {version}"]


@pytest.mark.parametrize("name", ["ci", "release"])
def test_workflows_run_what_there_is(name: str) -> None:
    workflow = yaml.safe_load((ROOT / f".github/workflows/{name}.yml").read_text("utf-8"))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    commands = [step["run"] for step in steps if "run" in step]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    for command in commands:
        words = command.split()
        if words[0] == "make":
            assert {word for word in words[1:] if re.fullmatch("[a-z-]+", word)} <= {*targets}
        for path in re.findall(r"python (\S+\.py)", command):
            assert (ROOT / path).is_file()
    assert workflow["permissions"] == {"contents": "read"}


def test_the_image_copies_what_there_is() -> None:
    lines = (ROOT / "Dockerfile").read_text("utf-8").splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    for word in copied:
        assert word.startswith(("--from=", "/opt")) or (ROOT / word).exists(), word
    assert 'ENTRYPOINT ["valueeval"]' in lines
