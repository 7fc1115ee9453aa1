"""``valueeval score``: scores of a run file against labels, or of logged samples."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from valueeval.tasks.commands.command_line import CommandParser
from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.data.dataset import CV, iter_arguments, read_labels
from valueeval.tasks.display import clean
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.origin import origin_of
from valueeval.tasks.harness.samples import Samples, read_samples
from valueeval.tasks.scores.average_precision import macro_ap
from valueeval.tasks.scores.calibration import read_calibration, to_json
from valueeval.tasks.scores.cross_validation import calibrate_by_fold
from valueeval.tasks.scores.intervals import LEVEL
from valueeval.tasks.scores.runfile import read_run
from valueeval.tasks.scores.scoring import (
    BoolArray,
    Intervals,
    intervals,
    per_value_counts,
    score,
)
from valueeval.tasks.scores.thresholds import Rule
from valueeval.tasks.templates.decide import ALL_TEMPLATES
from valueeval.tasks.values import VALUES

_POINTS = ("official_f1", "macro_f1")
_OTHERS = (
    *("macro_ap", "micro_f1", "macro_precision", "macro_recall", "subset_accuracy"),
    *("predicted_rate", "unparsed", "answer_mass"),
)
_NOTES = (
    "official_f1: harmonic mean of macro-precision and macro-recall, the shared task's ranking.",
    "macro_f1: mean of the per-value F1.",
)
_NOTE_ON_AP = "macro_ap: mean average precision over values, whatever the thresholds."


def main(argv: Sequence[str]) -> int:
    """Print the scores; returns the exit status."""
    parser = build_parser()
    options = parser.parse_args(argv)
    of_run = (options.labels, options.run)
    if options.samples is not None and not any((*of_run, options.arguments)):
        samples = read_samples([options.samples], options.template)
        report = make_report(
            samples.ids, samples.truth, samples.prediction, samples.clusters, samples.unparsed,
            samples.scores, samples.answer_mass,
        )  # fmt: skip
        if options.calibration is not None:
            report["calibrated"] = _calibrated(samples, options.samples, options.calibration)
        if options.tune_by_fold is not None:
            report["tuned_by_fold"] = _tuned_by_fold(samples, options.samples, options.tune_by_fold)
    elif (
        options.samples is None
        and all(of_run)
        and not (options.template or options.calibration or options.tune_by_fold)
    ):
        report = _score_run(options.labels, options.run, options.arguments)
    else:
        parser.error("give either --labels and --run (and --arguments), or --samples")
    if options.json:
        print(json.dumps(report, indent=2, allow_nan=False))
    else:
        print_tables(report)
    return 0


def make_report(
    ids: Sequence[str],
    truth: BoolArray,
    prediction: BoolArray,
    clusters: Sequence[str] | None,
    unparsed: Any = None,
    scores: npt.NDArray[np.float64] | None = None,
    answer_mass: npt.NDArray[np.float64] | None = None,
) -> dict[str, Any]:
    """Return everything that the command reports, ready for strict JSON.

    Args:
        ids: n argument ids.
        truth: (n, 20) bool.
        prediction: (n, 20) bool.
        clusters: n keys of conclusions; ``None`` if they are not known.
        unparsed: (n,) shares; ``None`` for a run file.
        scores: (n, 20); ``None`` where an argument lacks them.
        answer_mass: (n,) probabilities of saying one of the answers; ``None`` likewise.

    Returns:
        The scores of :func:`valueeval.tasks.scores.scoring.score`; ``macro_ap``; ``n``; ``values``,
        the number of values with a positive, over which means are; stderr,
        ci_low and ci_high of both F1 (``macro_f1_stderr`` …) over what ``interval.over`` says;
        ``argument_interval`` with those over single arguments; ``per_value`` with precision,
        recall, f1, support (true arguments) and predicted for each slug.
    """
    by_argument = intervals(truth, prediction)
    best = by_argument if clusters is None else intervals(truth, prediction, clusters)
    return {
        "n": len(ids),
        "values": int(truth.any(axis=0).sum()),
        **score(truth, prediction, unparsed),
        "macro_ap": None if scores is None else macro_ap(truth, scores),
        "answer_mass": None if answer_mass is None else float(np.mean(answer_mass)),
        **_flat(best),
        "interval": {
            "over": "arguments" if clusters is None else "conclusions",
            "units": best.units,
            "level": best.level,
        },
        "argument_interval": _flat(by_argument),
        "per_value": _per_value(truth, prediction),
    }


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        prog="valueeval score",
        description="Score a run file of the shared task against labels, or score again what"
        " lm_eval --log_samples wrote (also with --predict_only).",
    )
    add_options(parser)
    return parser


def add_options(parser: CommandParser) -> None:
    """Add the options of run files, of logged samples and of output."""
    runs = parser.add_argument_group("a run file of the shared task")
    runs.add_argument("--labels", metavar="L.tsv", help="labels in the official format")
    runs.add_argument("--run", metavar="R.tsv", help="run file: same format, 0 or 1 per value")
    runs.add_argument(
        "--arguments",
        metavar="A.tsv",
        help="arguments in the official format, for intervals over conclusions",
    )
    logged = parser.add_argument_group("samples logged by lm_eval")
    logged.add_argument("--samples", metavar="FILE", help="samples_….jsonl of a ValueEval task")
    logged.add_argument(
        "--template",
        choices=ALL_TEMPLATES,
        help="template of the samples' task (default: from the file's name)",
    )
    logged.add_argument(
        "--calibration",
        metavar="FILE",
        help="also score the samples as `valueeval calibrate` calibrated this model and prompt",
    )
    logged.add_argument(
        "--tune_by_fold",
        nargs="?",
        const="shrunk",
        choices=("shrunk", "global", "per-value"),
        help="also score samples of set cv with the prior and thresholds of each fold fitted on "
        "another one, fold (K + 1) mod 5, as those of adapters trained by --protocol cv are "
        "(default rule: shrunk)",
    )
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="one JSON object on standard output")


def _score_run(labels: str, run: str, arguments: str | None) -> dict[str, Any]:
    ids, truth = read_labels(labels)
    read = read_run(run)
    prediction = read.aligned(ids, labels)
    if read.missing:
        columns = ", ".join(read.missing)
        print(f"{run} has no column for: {columns}. They count as not predicted.", file=sys.stderr)
    clusters = None
    if arguments is not None:
        key_of = cache(conclusion_key)  # one string a conclusion
        key = {a.id: key_of(a.conclusion) for a in iter_arguments(arguments)}
        lacking = [id for id in ids if id not in key]
        if lacking:
            raise ValueEvalError(
                f"{arguments}: argument {clean(lacking[0])} of {labels} is missing.\n"
                "Give the arguments file of the same set."
            )
        clusters = [key[id] for id in ids]
    return make_report(ids, truth, prediction, clusters)


def _calibrated(samples: Samples, path: str, calibration_file: str) -> dict[str, Any]:
    """Return the report on samples after calibration, and what that was fitted on.

    Raises:
        ValueEvalError: The samples hold no scores, or are of another model or prompt.
    """
    calibration = read_calibration(calibration_file)
    if samples.scores is None:
        raise ValueEvalError(f"{path}: the samples hold no scores, so nothing can be calibrated.")
    if (why := calibration.refusal(origin_of(path), path)) is not None:
        raise ValueEvalError(f"{calibration_file}: {why}")
    scores = calibration.apply(samples.scores)
    report = make_report(
        samples.ids, samples.truth, scores > 0, samples.clusters, samples.unparsed, scores
    )
    manifest = to_json(calibration)
    return {**report, **{key: manifest[key] for key in ("method", "fitted_on")}}


def _tuned_by_fold(samples: Samples, path: str, rule: Rule) -> dict[str, Any]:
    """Return the report on samples of set ``cv`` with each fold calibrated on its inner fold.

    Raises:
        ValueEvalError: The samples hold no scores, or are not of all folds of set ``cv``.
    """
    if samples.scores is None:
        raise ValueEvalError(f"{path}: the samples hold no scores, so nothing can be tuned.")
    if samples.folds is None:
        raise ValueEvalError(
            f"{path}: the samples name no folds; --tune_by_fold is for tasks valueeval_…_{CV}."
        )
    try:
        scores = calibrate_by_fold(samples.scores, samples.truth, samples.folds, rule)
    except ValueEvalError as error:
        raise ValueEvalError(f"{path}: {error}") from error
    report = make_report(
        samples.ids, samples.truth, scores > 0, samples.clusters, samples.unparsed, scores
    )
    return {**report, "rule": rule}


def _flat(result: Intervals) -> dict[str, float | None]:
    return {
        f"{point}_{part}": getattr(getattr(result, point), part)
        for point in _POINTS
        for part in ("stderr", "ci_low", "ci_high")
    }


def _per_value(truth: BoolArray, prediction: BoolArray) -> dict[str, dict[str, Any]]:
    counts = per_value_counts(truth, prediction)
    out = {}
    for value, tp, predicted, actual in zip(VALUES, *map(np.ndarray.tolist, counts), strict=True):
        out[value.slug] = {
            "precision": tp / predicted if predicted else (0.0 if actual else None),
            "recall": tp / actual if actual else None,
            "f1": 2 * tp / (predicted + actual) if actual else None,
            "support": actual,
            "predicted": predicted,
        }
    return out


def print_tables(report: dict[str, Any]) -> None:
    """Print a report of `make_report` for people."""
    console = Console(highlight=False)
    console.print(_score_table(report))
    if "calibrated" in report:
        calibrated, fitted_on = report["calibrated"], report["calibrated"]["fitted_on"]
        labels = "with" if fitted_on["labels_used"] else "without"
        data = f"{fitted_on['arguments']} arguments of {escape(clean(fitted_on['set']))}"
        console.print(_score_table(calibrated, "calibrated"))
        console.print(f"Calibrated on {data}, {labels} their labels:")
        console.print(f"{escape(clean(calibrated['method']))}.\n")
    if "tuned_by_fold" in report:
        tuned = report["tuned_by_fold"]
        console.print(_score_table(tuned, "tuned by fold (cv)"))
        console.print(
            f"Prior and {tuned['rule']} thresholds of each fold fitted on the next one.\n"
        )
    last = report.get("tuned_by_fold", report.get("calibrated", report))
    console.print(_value_table(last["per_value"]))
    notes: tuple[str, ...] = _NOTES if report["macro_ap"] is None else (*_NOTES, _NOTE_ON_AP)
    if report["values"] < len(VALUES):
        notes = (*notes, f"Means are over the {report['values']} values that occur in the labels.")
    for note in (*notes, _interval_note(report)):
        console.print(note)


def _score_table(report: dict[str, Any], title: str | None = None) -> Table:
    by_conclusion = report["interval"]["over"] == "conclusions"
    table = _table(title or f"{report['n']} arguments", "metric")
    table.add_column("score", justify="right")
    table.add_column("stderr", justify="right")
    table.add_column(f"{LEVEL:.0%} interval", justify="right")
    if by_conclusion:
        table.add_column("by arguments", justify="right")
    for name in _POINTS:
        cells = [_cell(report[name]), _cell(report[f"{name}_stderr"]), _bounds(report, name)]
        if by_conclusion:
            cells.append(_bounds(report["argument_interval"], name))
        table.add_row(name, *cells)
    for name in _OTHERS:
        if report[name] is not None or name not in ("macro_ap", "unparsed", "answer_mass"):
            table.add_row(name, _cell(report[name]))
    return table


def _value_table(per_value: dict[str, dict[str, Any]]) -> Table:
    table = _table("per value", "value")
    for column in ("precision", "recall", "F1", "true", "predicted"):
        table.add_column(column, justify="right")
    for value in VALUES:
        row = per_value[value.slug]
        numbers = [_cell(row[key]) for key in ("precision", "recall", "f1")]
        table.add_row(value.name, *numbers, str(row["support"]), str(row["predicted"]))
    return table


def _table(title: str, first: str) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False
    )
    table.add_column(first, no_wrap=True)
    return table


def _interval_note(report: dict[str, Any]) -> str:
    interval = report["interval"]
    units = interval["units"]
    if interval["over"] == "conclusions" and report["macro_f1_stderr"] is None:
        return (
            f"No interval: {units} conclusions are too few, or too uneven in size, to tell how "
            "scores vary between them. Intervals over single arguments are too narrow."
        )
    if interval["over"] == "conclusions":
        return (
            f"Intervals: jackknife over {units} conclusions with t, since arguments that share a "
            "conclusion are not independent; beside them, over single arguments."
        )
    return (
        "Intervals: over single arguments, as if they were independent; too narrow where arguments "
        "share conclusions. --arguments A.tsv gives intervals over conclusions."
    )


def _bounds(scores: dict[str, Any], name: str) -> str:
    low, high = scores[f"{name}_ci_low"], scores[f"{name}_ci_high"]
    return "-" if low is None else f"{low:.4f} to {high:.4f}"


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
