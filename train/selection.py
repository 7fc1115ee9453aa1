"""``valueeval select``: choose among configurations by cross-validation, before a test set is read.

A configuration is the adapters of all folds of ``--folds N`` (``NAME=runs/a0+runs/a1+…``); given
several times with one name, they are its seeds. Each argument of training and validation is
answered by the adapter that left out its fold, with that adapter's thresholds. Epochs and
thresholds were chosen on the same folds, so the scores are too good, for all configurations alike.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from valueeval.adapters.directory.ensemble import Members, find_members
from valueeval.tasks.commands.command_line import CommandParser
from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.data.dataset import DataSet, joined, load_set
from valueeval.tasks.data.folds import folds_of
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.files import replacing
from valueeval.tasks.scores.cross_validation import RESAMPLES, Selection, select
from valueeval.train.objectives.distillation import out_of_fold_logits

_PARTS = ("training", "validation")


def main(argv: Sequence[str]) -> int:
    """Print the choice and return the exit status.

    Raises:
        ValueEvalError: An adapter cannot be used, or the adapters are not the folds of the data.
    """
    options = build_parser().parse_args(argv)
    given = [_named(text) for text in options.configurations]
    if len({name for name, _ in given}) < 2:
        raise ValueEvalError("two configurations at least are needed to choose one of them")
    data = joined(*(load_set(name) for name in _PARTS))
    members = [(name, _checked(adapter, data)) for name, adapter in given]
    if len(numbers := {each.manifest.data.folds for _, each in members}) > 1:
        listed = " and ".join(map(str, sorted(filter(None, numbers))))
        raise ValueEvalError(f"cut into {listed} folds: compare configurations of one cut")
    predictions: dict[str, list[npt.NDArray[np.bool_]]] = {}
    for name, each in members:
        predictions.setdefault(name, []).append(out_of_fold(each, data))
    clusters = [conclusion_key(conclusion) for conclusion in data.conclusions]
    found = select(data.labels, predictions, clusters)
    content = json.dumps(asdict(found), indent=2, allow_nan=False)
    if options.output is not None:
        with replacing(options.output) as temporary:
            temporary.write_text(content + "\n", encoding="utf-8")
    if options.json:
        print(content)
    else:
        _print(found)
    return 0


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        prog="valueeval select",
        description="Choose among configurations by cross-validation over training and validation: "
        "each is the adapters of `valueeval train --folds N --fold 0` to N - 1. The test set is "
        "not read.",
        epilog="Example: valueeval select small=runs/a0+runs/a1+runs/a2+runs/a3+runs/a4 "
        "large=runs/b0+runs/b1+runs/b2+runs/b3+runs/b4",
    )
    parser.add_argument(
        "configurations", nargs="+", metavar="NAME=A+B+…",
        help="a configuration and its adapters, one for each fold; several with one name are its "
        "seeds",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write the choice to a file as JSON, too"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_data_dir()
    return parser


def out_of_fold(members: Members, data: DataSet) -> npt.NDArray[np.bool_]:
    """Return the decisions about each argument by the adapter that left out its fold, (n, 20).

    Args:
        members: One adapter for each fold of the data.
        data: Training and validation, joined.
    """
    folds = members.manifest.data.folds or 0
    fold_of = folds_of(data, folds)
    logits = out_of_fold_logits(members, data, folds)
    prediction = np.zeros(data.labels.shape, dtype=np.bool_)
    for manifest in members.manifests:
        rows = fold_of == manifest.data.left_out[0]
        prediction[rows] = manifest.thresholds.decide(logits[rows])
    return prediction


def _named(text: str) -> tuple[str, str]:
    name, equals, adapter = text.partition("=")
    if not (name and equals and adapter):
        raise ValueEvalError(f"{text}: give a configuration as NAME=adapter+adapter+…")
    return name, adapter


def _checked(adapter: str, data: DataSet) -> Members:
    """Return the adapters of all folds of the data.

    Raises:
        ValueEvalError: They are not.
    """
    members = find_members(adapter)
    for folder, manifest in zip(members.folders, members.manifests, strict=True):
        of = manifest.data
        if of.protocol != "main" or of.folds is None or len(of.left_out) != 1:
            raise ValueEvalError(
                f"{folder}: trained on {of.described}; needed is an adapter of `valueeval train "
                "--folds N --fold K`"
            )
        if of.sha256 != data.sha256:
            raise ValueEvalError(
                f"{folder}: trained on {of.described}, other data than those found here"
            )
    left_out = sorted(manifest.data.left_out[0] for manifest in members.manifests)
    folds = members.manifest.data.folds or 0
    if left_out != list(range(folds)):
        raise ValueEvalError(
            f"{adapter}: leaves out fold {', '.join(map(str, left_out))} of {folds}; needed is one "
            "adapter for each fold"
        )
    return members


def _print(found: Selection) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("configuration")
    for column in ("macro_f1", "95 % interval", "less the chosen", "95 % interval", "chosen in"):
        table.add_column(column, justify="right")
    table.add_column("can be the best")
    for one in found.candidates:
        score, other = one.macro_f1, one.difference
        can = {None: "unknown", True: "yes", False: "no"}[one.can_be_best]
        table.add_row(
            escape(one.name), _number(score.estimate), _ends(score.ci_low, score.ci_high),
            _number(other.value), _ends(other.low, other.high), f"{one.chosen_share:.0%}", can,
        )  # fmt: skip
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"Chosen: {escape(found.chosen)}, on {found.arguments} arguments about "
        f"{found.conclusions} conclusions. «chosen in»: share of {RESAMPLES} resamples of "
        "conclusions. Intervals of differences hold for all together. Epochs and thresholds were "
        "chosen on the same folds: the scores are too good for all alike."
    )


def _ends(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
