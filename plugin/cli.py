"""The ``valueeval`` command: runs the ``main`` of a sub-command and shows errors without traceback.

Only the chosen sub-command is imported, so that ``valueeval --help`` answers at once.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

# Sub-command: (module whose ``main(argv) -> int`` it is, one line of help), in the order of use.
COMMANDS = {
    "demo": ("valueeval.demo", "train, evaluate and rank on the sample set, in a few minutes"),
    "data": (
        "valueeval.tasks.commands.data",
        "fetch, verify and describe the Touché23-ValueEval data",
    ),
    "train": ("valueeval.train.cli", "fine-tune a model; writes an adapter directory"),
    "app": ("valueeval.app.cli", "open a page to try a model in; nothing leaves this machine"),
    "study": ("valueeval.study.cli", "train and evaluate every combination of a study file"),
    "prompt": ("valueeval.prompt.cli", "ask a language model by template, in one or two turns"),
    "run": ("valueeval.run", "lm_eval run, with these tasks and models registered"),
    "predict": ("valueeval.adapters.predict.cli", "label arguments of your own with an adapter"),
    "score": (
        "valueeval.adapters.predict.score_table",
        "score your own table, a run file, or samples logged by lm_eval",
    ),
    "calibrate": (
        "valueeval.tasks.commands.calibrate",
        "take a prompted model's bias off its scores",
    ),
    "export": ("valueeval.tasks.commands.export", "write logged samples as a run file"),
    "leaderboard": (
        "valueeval.leaderboard.commands.leaderboard",
        "rank the results of lm_eval in a table",
    ),
    "archive": (
        "valueeval.leaderboard.commands.archive",
        "copy results without the texts of the data, to keep or publish",
    ),
    "select": (
        "valueeval.train.selection",
        "choose among configurations by cross-validation",
    ),
    "join": (
        "valueeval.leaderboard.commands.join",
        "join five folds of set cv, evaluated apart, into one run",
    ),
    "average": (
        "valueeval.average.cli",
        "average adapters from their results, without running them again",
    ),
    "compare": ("valueeval.leaderboard.commands.compare", "test differences between results"),
    "completion": ("valueeval.completion", "print a script that completes commands in your shell"),
}
INTERRUPTED = 130  # what shells report for a program ended by SIGINT
BROKEN_PIPE = 141  # … by SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``valueeval ARGV`` and return the exit status, 2 for errors that the user can correct."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _print_anywhere()
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        try:
            return _dispatch(arguments)
        finally:
            sys.stdout.flush()  # so that a closed pipe shows here, not while Python shuts down
    except KeyboardInterrupt:
        if debug:
            raise
        print("valueeval: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more at exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        told = None if debug else _message(error)
        if told is None:
            raise
        print(f"valueeval {arguments[0]}: {told}", file=sys.stderr)
        return 2


def _message(error: Exception) -> str | None:
    """Return an error's message for users; ``None`` for an error that is a bug."""
    import sqlite3

    from valueeval.tasks.display import error_message
    from valueeval.tasks.errors import ValueEvalError, unreadable_cache

    if isinstance(error, ValueEvalError):
        return error_message(error)
    if isinstance(error, sqlite3.DatabaseError):
        return error_message(unreadable_cache(error))
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename is not None else ""
        return error_message(f"{where}{error.strerror or error}")
    if isinstance(error, RecursionError):
        return "the input is nested too deeply; --debug shows where it was read"
    if isinstance(error, UnicodeError):
        return error_message(f"text that is no valid Unicode; --debug shows where ({error})")
    return None


def _print_anywhere() -> None:
    """Show a character that the terminal or log lacks (±, ↑, half a surrogate pair) as «?»."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    name, *rest = arguments
    if name == "--version":
        from valueeval import __version__

        print(f"valueeval {__version__}")
        return 0
    if name not in COMMANDS:
        print(_unknown(name), file=sys.stderr)
        return 2
    status = import_module(COMMANDS[name][0]).main(rest)
    return int(status or 0)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: valueeval COMMAND [ARGUMENTS]",
            "",
            "Human values behind arguments: data, training, evaluation, leaderboard.",
            "",
            "commands:",
            *lines,
            "",
            "options:",
            "  -h, --help  this text; `valueeval COMMAND --help` for one command",
            "  --version   print the version",
            "  --debug     show the traceback of an error",
        ]
    )


def _unknown(name: str) -> str:
    from difflib import get_close_matches

    what = "option" if name.startswith("-") else "command"
    near = get_close_matches(name, COMMANDS, n=2)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"valueeval: unknown {what} {name!r}: {hint}see valueeval --help"
