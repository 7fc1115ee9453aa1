"""``valueeval run ARGS``: ``lm_eval run ARGS`` with our tasks and models registered.

For environments where the start-up hook does not run: switched off, or installed with ``--target``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from valueeval.registration import print_closing_lines, register
from valueeval.tasks.commands.command_line import CommandParser

if TYPE_CHECKING:
    import argparse


def main(argv: Sequence[str]) -> int:
    """Pass ``argv`` to lm-eval's command line; errors and exit status are lm-eval's."""
    from lm_eval.__main__ import cli_evaluate

    own = CommandParser(prog="valueeval run", add_help=False)
    own.add_data_dir()
    _, others = own.parse_known_args(argv)
    register()
    before = sys.argv
    sys.argv = ["lm-eval", "run", *others]  # lm-eval reads no other argument list
    try:
        cli_evaluate()
    finally:
        sys.argv = before
    print_closing_lines()
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return lm-eval's parser of ``lm_eval run``, for shell completion."""
    from lm_eval._cli.harness import HarnessCLI

    parser: argparse.ArgumentParser = HarnessCLI()._subparsers.choices["run"]
    return parser
