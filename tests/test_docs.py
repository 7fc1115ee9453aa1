"""The documentation's commands are read by their own parsers; what it names and links exists."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from unittest import mock

import pytest

from valueeval import cli
from valueeval.train.command_line import parse_config
from valueeval.train.config.choice import ConfigError

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


def commands(page: Path) -> list[tuple[list[str], bool]]:
    """The words of every command in the page's shell blocks, and in its code spans.

    Each with whether it is a whole command, as those in blocks are.
    """
    found = []
    for line, whole in lines_of(page.read_text(encoding="utf-8")):
        with contextlib.suppress(ValueError):  # a line of another language with a lone quote
            words = shlex.split(line.strip(), comments=True)
            if words and words[0] in ("valueeval", "lm_eval", "make", "accelerate"):
                found.append((words, whole))
    return found


def lines_of(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the lines of shell blocks with True, and code spans of other lines with False.

    Variables have the value that they were given last, those of loops their first one.
    """
    block: str | None = None
    variables: dict[str, str] = {}
    for line in text.replace("\\\n", " ").split("\n"):
        if line.lstrip().startswith("```"):
            block = line.strip().removeprefix("```") if block is None else None
        elif block in ("bash", "sh"):
            known = "|".join(variables) or "(?!)"
            expanded = re.sub(rf"\$({known})\b", lambda found: variables[found[1]], line)
            loop = re.match(r"\s*for (\w+) in (\S+)", expanded)
            assignment = re.fullmatch(r"\s*(\w+)=(\"[^\"]*\"|[^\s\"]*)", expanded)
            for found in filter(None, (loop, assignment)):
                variables[found[1]] = found[2].strip('"')
            yield expanded, True
        elif block is None:
            for span in re.findall(r"`((?:valueeval|lm_eval|make) [^`\n]+)`", line):
                yield span, False


SHOWN = [
    pytest.param(words, whole, id=f"{page.parent.name}/{page.name}: {' '.join(words)[:60]}")
    for page in PAGES
    for words, whole in commands(page)
]


def read_by_its_parser(words: list[str]) -> argparse.Namespace | None:
    """Let the command's own parser read the words, and run nothing.

    Returns:
        What it read; ``None`` for ``valueeval train``, which returns a configuration.

    Raises:
        SystemExit: It refuses them, with status 2.
        ConfigError: ``valueeval train`` does.
    """
    if words[0] == "lm_eval" or words[:2] == ["valueeval", "run"]:
        from lm_eval._cli.harness import HarnessCLI

        lm_eval = HarnessCLI()
        # It would take the beginning of an option's name for the option.
        lm_eval._parser.allow_abbrev = lm_eval._subparsers.choices["run"].allow_abbrev = False
        start = 2 if words[1:2] == ["run"] else 1
        with mock.patch("sys.argv", ["lm-eval", "run", *words[start:]]):
            return lm_eval.parse_args()
    if words[1] == "train":
        given = [word for word in words[2:] if word != "--config" and not word.endswith(".yaml")]
        with contextlib.suppress(SystemExit):  # --help and --print_config end the program
            parse_config(given)
        return None
    with mock.patch.dict("os.environ"):  # --data_dir sets a variable
        parser = import_module(cli.COMMANDS[words[1]][0]).build_parser()
        read: argparse.Namespace = parser.parse_args(words[2:])
    return read


def options_of(command: str) -> set[str]:
    """Return the names of all options of a command, hyphens as underscores."""
    parser = import_module(cli.COMMANDS[command][0]).build_parser()
    subs = [a.choices.values() for a in parser._actions if isinstance(a.choices, dict)]
    actions = [a for one in (parser, *itertools.chain(*subs)) for a in one._actions]
    return {name.replace("-", "_") for a in actions for name in a.option_strings} | {"__debug"}


def given(words: list[str]) -> set[str]:
    """Return the options among a command's words."""
    return {word.partition("=")[0].replace("-", "_") for word in words if word.startswith("--")}


def test_there_is_something_to_check() -> None:
    assert len(SHOWN) > 20
    assert sum(shown.values[1] is True for shown in SHOWN) > 20


@pytest.mark.parametrize(("words", "whole"), SHOWN)
def test_command_exists(words: list[str], whole: bool) -> None:
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert next(word for word in words[1:] if "=" not in word) in targets
        return
    if words[0] == "accelerate":
        words = words[words.index("-m") + 1 :]
    if whole:
        read = read_by_its_parser(words)
        if words[0] == "lm_eval":
            assert read is not None
            for task in read.tasks or ():
                assert task in TASKS | TAGS
            assert (read.model or "hf") in MODELS
        return
    command = "run" if words[0] == "lm_eval" else words[1]
    if command not in ("…", "--help", "COMMAND"):
        assert given(words) <= options_of(command)
        for task in dict(itertools.pairwise(words)).get("--tasks", "").split(","):
            assert not task or task in TASKS | TAGS


@pytest.mark.parametrize(
    "line",
    [
        "valueeval train --base minilm --fol 5 --output runs/x",
        "valueeval train --base minilm --learning_rat 1e-4 --output runs/x",
        "valueeval train --method lorra --output runs/x",
        "valueeval predict --adapter a survey.xlsx --premis text",
        "valueeval leaderboard results --out x.md",
        "valueeval compare a b --famil x",
        "valueeval score --label a --run b",
        "valueeval data fetc",
        "lm_eval --task valueeval_bca --model hf",
        "lm_eval --tasks valueeval_bca --model hf --lim 3",
    ],
)
def test_what_no_parser_takes_is_found(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((SystemExit, ConfigError)) as refused:
        read_by_its_parser(shlex.split(line))
    assert getattr(refused.value, "code", 2) == 2


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target and "*" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
