"""The parser that every command but ``valueeval train`` builds on."""

from __future__ import annotations

import argparse
import os
import re
import sys
from typing import Any, NoReturn

from valueeval.tasks.data.dataset import DATA_VARIABLE
from valueeval.tasks.display import did_you_mean

_BAD_CHOICE = re.compile(r"(.*): invalid choice: '?(.*?)'? \(choose from (.*)\)", re.DOTALL)
_UNKNOWN = "unrecognized arguments: "


class CommandParser(argparse.ArgumentParser):
    """A parser that takes options by their whole names and suggests the nearest one.

    Hyphens in the name of an option are as good as underscores.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("allow_abbrev", False)
        super().__init__(*args, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse the words that are known, after spelling options as they were declared."""
        words = sys.argv[1:] if args is None else list(args)
        spelled = {name.replace("-", "_"): name for name in self._options()}
        for place, word in enumerate(words):
            if word == "--":
                break
            name, equals, content = word.partition("=")
            if name.startswith("--"):
                name = spelled.get(name.replace("-", "_"), name)
                words[place] = f"{name}{equals}{content}"
        return super().parse_known_args(words, namespace)

    def add_data_dir(self, group: argparse._ArgumentGroup | None = None) -> None:
        """Add ``--data_dir``: where this command, and what it starts, looks for the dataset.

        Args:
            group: The group of options that shows it; ``None`` is the parser's own.
        """
        (self if group is None else group).add_argument(
            "--data_dir", metavar="DIR", action=_UseDataDir, default=argparse.SUPPRESS,
            help="folder of the dataset's files (default: $VALUEEVAL_DATA, else the cache)",
        )  # fmt: skip

    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong and what is near, and end with exit status 2."""
        self.exit(2, f"{self.prog}: {self._readable(message)} ({self.prog} --help)\n")

    def _readable(self, message: str) -> str:
        if message.startswith(_UNKNOWN):
            word = message.removeprefix(_UNKNOWN).split(" ")[0]
            if not word.startswith("-"):
                return f"{word!r} is one argument too many"
            name = word.partition("=")[0]
            return f"no option {name}{did_you_mean(name, self._options())}"
        if wrong := _BAD_CHOICE.fullmatch(message):
            option, given, listed = wrong.groups()
            allowed = [choice.strip("'") for choice in listed.split(", ")]
            return (
                f"{option.removeprefix('argument ')}: {given!r}; allowed: {', '.join(allowed)}"
                f"{did_you_mean(given, allowed)}"
            )
        return message

    def _options(self) -> list[str]:
        """Return the long options, as they are declared."""
        names = [name for action in self._actions for name in action.option_strings]
        return [name for name in names if name.startswith("--")]


class _UseDataDir(argparse.Action):
    """Makes a folder the place of the dataset, for this process and those that it starts."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        os.environ[DATA_VARIABLE] = values
