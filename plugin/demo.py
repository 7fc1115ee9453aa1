"""``valueeval demo``: train, evaluate and rank on the sample set with the commands for users.

Trains an encoder, evaluates it and two baselines through lm_eval, and writes a leaderboard. Needs
no network (the encoder is in the extra ``offline``) and only the sample set of the package.
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
from valueeval.tasks.errors import ValueEvalError

TASK = "valueeval_cls_sample"
EPOCHS = 5
MARK = ".valueeval-demo"  # marks a folder that a demo wrote, and that may be cleared


def main(argv: Sequence[str]) -> int:
    """Run the demo; the folder then holds the adapter, lm_eval's results and leaderboard.md."""
    folder = build_parser().parse_args(argv).output
    _prepare(folder)
    started = time.monotonic()
    for command in commands(folder):
        _run(command)
    print(f"\n{folder / 'leaderboard.md'}:\n")
    print((folder / "leaderboard.md").read_text(encoding="utf-8"))
    print(
        "These numbers are for demonstration only: the sample set was written for this project, "
        f"{len(load_set('sample_training').ids)} arguments to train on and "
        f"{len(load_set('sample').ids)} to test.\n"
        "They say nothing about the real data; README.md shows how to use it.\n"
        f"The demo took {time.monotonic() - started:.0f} s."
    )
    return 0


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
        ["valueeval", "leaderboard", results, "-o", str(folder / "leaderboard.md")],
    ]


def _prepare(folder: Path) -> None:
    """Create ``folder``, or clear it if an earlier demo wrote it; refuse any other folder."""
    if folder.is_dir() and (folder / MARK).is_file():
        for name in ("minilm", "minilm.training", "results"):
            shutil.rmtree(folder / name, ignore_errors=True)
        (folder / "leaderboard.md").unlink(missing_ok=True)
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
