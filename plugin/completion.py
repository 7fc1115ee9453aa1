"""``valueeval completion SHELL``: a script that completes commands and options with the Tab key.

The script is made of the commands' own parsers and is static, so completing starts no Python.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from typing import get_args

from valueeval.tasks.commands.command_line import CommandParser

SHELLS = ("bash", "zsh", "fish", "tcsh")
_EPILOG = """once for all sessions:
  bash  valueeval completion bash > ~/.local/share/bash-completion/completions/valueeval
  zsh   valueeval completion zsh > DIR/_valueeval, with DIR in $fpath
  fish  valueeval completion fish > ~/.config/fish/completions/valueeval.fish
  tcsh  valueeval completion tcsh >> ~/.tcshrc"""


def main(argv: Sequence[str]) -> int:
    """Print the script."""
    shell = build_parser().parse_args(argv).shell
    import shtab

    print(shtab.complete(whole_parser(), shell=shell))
    return 0


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        prog="valueeval completion",
        description="Print a script for your shell that completes commands and options.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS, help="your shell")
    return parser


def whole_parser() -> argparse.ArgumentParser:
    """Return a parser that has every command as a sub-command, for its options alone."""
    from valueeval.cli import COMMANDS

    whole = argparse.ArgumentParser(prog="valueeval", description="Human values behind arguments.")
    whole.add_argument("--version", action="store_true", help="print the version")
    commands = whole.add_subparsers(dest="command")
    for name, (module, text) in COMMANDS.items():
        command = import_module(module).build_parser()
        if name == "train":
            _show_choices(command)
        commands.add_parser(
            name, help=text, parents=[command], add_help=False, conflict_handler="resolve"
        )
    return whole


def _show_choices(train: argparse.ArgumentParser) -> None:
    """Give the options of ``valueeval train`` the choices that their types name."""
    from valueeval.train.options import all_options

    for action in train._actions:
        option = all_options().get(action.dest)
        kinds = () if option is None else (option.type, *get_args(option.type))
        words = [word for kind in kinds for word in get_args(kind) if isinstance(word, str)]
        if words:
            action.choices = list(dict.fromkeys(words))
