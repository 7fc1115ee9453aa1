"""``valueeval demo``: train, evaluate and rank on the sample set with the commands for users.

Trains an encoder, evaluates it and two baselines through lm_eval, and writes a leaderboard: about
three minutes on one CPU core. Needs no network (the encoder is in the extra ``offline``) and only
the sample set of the package.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from valueeval.tasks.commands.command_line import CommandParser
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.display import clean
from valueeval.tasks.errors import ValueEvalError

TASK = "valueeval_cls_sample"
EPOCHS = 5
MINUTES = 3  # measured: 163 s of one x86-64 core
MARK = ".valueeval-demo"  # marks a folder that a demo wrote, and that may be cleared


def main(argv: Sequence[str]) -> int:
    """Run the demo; the folder then holds the adapter, lm_eval's results and leaderboard.md."""
    folder = build_parser().parse_args(argv).output
    _prepare(folder)
    started = time.monotonic()
    print(
        f"Trains a 22M encoder on {len(load_set('sample_training').ids)} arguments of the built-in "
        f"sample set, and evaluates it and two baselines on {len(load_set('sample').ids)}: about "
        f"{MINUTES} minutes on one CPU core."
    )
    for command in commands(folder):
        _run(command)
    _conclude(folder, time.monotonic() - started)
    return 0


def _conclude(folder: Path, seconds: float) -> None:
    """Print the rows of the leaderboard, what to do next, and where the page is."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from valueeval.leaderboard.commands.interface import leaderboard

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("system", no_wrap=True)
    for heading in ("macro F1", "95 % interval", "official F1"):
        table.add_column(heading, justify="right")
    for board in leaderboard(folder / "results").table.boards:
        for row in sorted(board.rows, key=lambda each: -each.macro_f1):
            interval, official = row.macro_interval, row.mean("official_f1")
            table.add_row(
                clean(row.name), f"{row.macro_f1:.3f}",
                "-" if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}",
                "-" if official is None else f"{official:.3f}",
            )  # fmt: skip
    print(flush=True)
    Console(highlight=False).print(table)
    adapter = shlex.quote(str(folder / "minilm"))
    print(
        "For demonstration only: the sample set was written for this project, and these numbers "
        "say nothing about the real data.\n\n"
        "What to do next:\n"
        f'  valueeval predict --adapter {adapter} --text "Nobody should have to fear the police"\n'
        f"  valueeval app --adapter {adapter}\n"
        "  valueeval data fetch    # the real data; README.md goes on from there\n\n"
        f"The page: {(folder / 'leaderboard.html').resolve()} (after {seconds:.0f} s)"
    )


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(prog="valueeval demo", description=__doc__.split("\n\n")[1])
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("demo"), metavar="DIR",
        help="folder to write, new or of an earlier demo (default: demo)",
    )  # fmt: skip
    return parser


def commands(folder: Path) -> list[list[str]]:
    """Return the commands of the demo as users type them."""
    adapter, results = str(folder / "minilm"), str(folder / "results")
    models = [
        ["valueeval", f"adapter={adapter}"],
        ["valueeval_baseline", "strategy=every_value"],
        ["valueeval_baseline", "strategy=training_frequency"],
    ]
    train = ["valueeval", "train", "--base", "minilm", "--data", "sample", "--method", "full"]
    evaluate = ["lm_eval", "--tasks", TASK, "--output_path", results, "--log_samples"]
    return [
        [*train, "--epochs", str(EPOCHS), "--output", adapter],
        *([*evaluate, "--model", model, "--model_args", args] for model, args in models),
        [
            *("valueeval", "leaderboard", results),
            *("-o", str(folder / "leaderboard.md"), "-o", str(folder / "leaderboard.html")),
        ],
    ]


def _prepare(folder: Path) -> None:
    """Create ``folder``, or clear it if an earlier demo wrote it; refuse any other folder."""
    if folder.is_dir() and (folder / MARK).is_file():
        for name in ("minilm", "minilm.training", "results"):
            shutil.rmtree(folder / name, ignore_errors=True)
        for page in ("leaderboard.md", "leaderboard.html"):
            (folder / page).unlink(missing_ok=True)
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueEvalError(
            f"{folder}: was not written by an earlier demo. Name a new folder with -o."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARK).touch()
    except OSError as error:
        raise ValueEvalError(f"{folder}: cannot be written ({error.strerror})") from error


def _run(command: list[str]) -> None:
    """Show a command and run it with this Python, offline and with the start-up hook on."""
    print(f"\n$ {shlex.join(command)}", flush=True)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment.pop("VALUEEVAL_NO_HOOK", None)
    status = subprocess.call([sys.executable, "-m", *command], env=environment)  # noqa: S603
    if status:
        raise ValueEvalError(f"stopped: exit status {status} of: {shlex.join(command)}")
