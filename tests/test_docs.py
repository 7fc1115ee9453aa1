"""The documentation's commands, options, tasks, models, make targets and links exist."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import shlex
from collections.abc import Callable
from functools import cache
from pathlib import Path
from unittest import mock

import pytest

from valueeval import cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "adapters" / "README.md",
    ROOT / "train" / "README.md",
    ROOT / "valueeval_tasks" / "README.md",
    ROOT / "leaderboard" / "leaderboard.md",
]
TASKS = {path.stem for path in (ROOT / "valueeval_tasks").glob("valueeval_*.yaml")}
TAGS = {
    tag
    for path in (ROOT / "valueeval_tasks").glob("valueeval_*.yaml")
    for tag in re.findall(r"valueeval\w*", path.read_text().partition("\ntag: ")[2].split("\n")[0])
}
MODELS = {"hf", "valueeval", "valueeval_baseline", "valueeval_chat", "vllm", "sglang"}


def commands(page: Path) -> list[list[str]]:
    """The words of every command in the page's shell blocks, and in its code spans."""
    text = page.read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```(?:bash|sh)?\n(.*?)```", text, re.S)).replace("\\\n", " ")
    spans = re.findall(r"`((?:valueeval|lm_eval|make) [^`\n]+)`", text)
    found = []
    for line in [*blocks.split("\n"), *spans]:
        with contextlib.suppress(ValueError):  # a line of another language with a lone quote
            words = shlex.split(line.strip(), comments=True)
            if words and words[0] in ("valueeval", "lm_eval", "make", "accelerate"):
                found.append(words)
    return found


SHOWN = [
    pytest.param(words, id=f"{page.parent.name}/{page.name}: {' '.join(words)[:60]}")
    for page in PAGES
    for words in commands(page)
]


def output_of(main: Callable[[], object]) -> str:
    """Return what a command prints that exits with status 0."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as stop:
        raise SystemExit(main())
    assert not stop.value.code
    return out.getvalue()


@cache
def options_of(command: str) -> set[str]:
    """Return every option of a command, hyphens as underscores; of sub-commands together."""
    # Options that a command's short help leaves out.
    whole = "--help_all" if command == "train" else "--help"
    text = output_of(lambda: cli.main([command, whole]))
    for name in re.findall(r"^ {4}(\w+) ", text, re.M) if command == "data" else []:
        text += output_of(lambda name=name: cli.main([command, name, "--help"]))
    return {name.replace("-", "_") for name in re.findall(r"--\w[\w-]*", text)} | {"__debug"}


@cache
def lm_eval_options() -> set[str]:
    """Return the options of ``lm_eval run``."""
    from lm_eval._cli.harness import HarnessCLI

    def show_help() -> None:
        with mock.patch("sys.argv", ["lm-eval", "run", "--help"]):
            HarnessCLI().parse_args()

    return set(re.findall(r"--\w[\w-]*", output_of(show_help)))


def given(words: list[str]) -> set[str]:
    """Return the options among a command's words."""
    return {word.partition("=")[0] for word in words if word.startswith("--")}


def test_there_is_something_to_check() -> None:
    assert len(SHOWN) > 20


@pytest.mark.parametrize("words", SHOWN)
def test_command_exists(words: list[str]) -> None:
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert next(word for word in words[1:] if "=" not in word) in targets
        return
    if words[0] == "valueeval" and words[1] not in ("run", "…", "--help", "COMMAND"):
        assert {word.replace("-", "_") for word in given(words[2:])} <= options_of(words[1])
        return
    if words[0] == "lm_eval":
        assert given(words) <= lm_eval_options()
    options = dict(itertools.pairwise(words))
    for task in options.get("--tasks", "").split(","):
        assert not task or "$" in task or task in TASKS | TAGS
    assert options.get("--model", "hf") in MODELS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target and "*" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
