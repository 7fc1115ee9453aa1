"""``valueeval calibrate``: fit a calibration to the samples of a prompted model."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from valueeval.tasks.commands.command_line import CommandParser
from valueeval.tasks.display import clean
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.files import replacing
from valueeval.tasks.harness.origin import origin_of
from valueeval.tasks.harness.samples import Samples, read_samples
from valueeval.tasks.scores.calibration import Calibration, Origin, fit, to_json
from valueeval.tasks.scores.scoring import score
from valueeval.tasks.templates.decide import ALL_TEMPLATES

_TEST_SETS = ("main", "nahjalbalagha", "nyt")


def main(argv: Sequence[str]) -> int:
    """Write the calibration and return the exit status."""
    options = build_parser().parse_args(argv)
    rule = None if options.thresholds == "none" else options.thresholds
    use_prior = options.prior == "mean"
    if rule is None and not use_prior:
        raise ValueEvalError("--prior none and --thresholds none leave nothing to calibrate.")
    origin = _common_origin(options.samples)
    if rule is not None and origin.set in _TEST_SETS:
        raise ValueEvalError(
            f"{options.samples[0]}: thresholds would be tuned on the labels of a test set "
            f"({origin.set}).\nGive the samples of valueeval_{origin.template}_validation, or "
            "--thresholds none for a prior alone, which needs no labels."
        )
    samples = read_samples(options.samples, options.template)
    if samples.scores is None:
        raise ValueEvalError(
            f"{options.samples[0]}: the samples hold no scores: only cls and bca, by "
            "log-likelihood, can be calibrated."
        )
    calibration = fit(samples.scores, samples.truth, origin, use_prior, rule)
    text = json.dumps(to_json(calibration), indent=1, ensure_ascii=False) + "\n"
    with replacing(Path(options.output)) as path:
        path.write_text(text, encoding="utf-8")
    _report(samples, calibration, options.output)
    return 0


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        prog="valueeval calibrate",
        description="Fit a calibration to what a prompted model answered (cls, bca): the prior of"
        " each value, which its score leans to whatever the argument says, and a threshold. Use it"
        " on other arguments by `valueeval score --samples FILE --calibration CALIBRATION`.",
        epilog="Example: lm_eval --tasks valueeval_bca_validation,valueeval_bca … --log_samples"
        " --output_path runs, then valueeval calibrate"
        " runs/*/samples_valueeval_bca_validation_*.jsonl -o calibration.json, then valueeval score"
        " --samples runs/*/samples_valueeval_bca_2*.jsonl --calibration calibration.json",
    )
    parser.add_argument(
        "samples", nargs="+", metavar="SAMPLES", help="samples_*.jsonl of one model and prompt"
    )
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="file to write")
    parser.add_argument(
        "--prior",
        choices=("mean", "none"),
        default="mean",
        help="what is taken off each value's scores: their mean, for which labels are not read"
        " (default), or nothing",
    )
    parser.add_argument(
        "--thresholds",
        choices=("shrunk", "global", "per-value", "none"),
        default="shrunk",
        help="how thresholds are tuned on the labels, as for `valueeval train` (default: shrunk)",
    )
    parser.add_argument(
        "--template",
        choices=ALL_TEMPLATES,
        help="the task's template (default: from the files' names)",
    )
    return parser


def _common_origin(paths: Sequence[str]) -> Origin:
    """Return what is known of the run that all files are from.

    Raises:
        ValueEvalError: They are of two models or prompts.
    """
    origins = [origin_of(path) for path in paths]
    for path, other in zip(paths[1:], origins[1:], strict=True):
        if (name := origins[0].differs(other)) is not None:
            raise ValueEvalError(
                f"{path}: its {name} is {clean(getattr(other, name))}, that of {paths[0]} "
                f"{clean(getattr(origins[0], name))}: calibrate them apart."
            )
    if len({origin.set for origin in origins}) > 1:
        names = dict.fromkeys(str(origin.set) for origin in origins)
        test = [name for name in names if name in _TEST_SETS]
        # A test set among them counts as one: its labels would be seen.
        return replace(origins[0], set=test[0] if test else "+".join(names), data_sha256=None)
    return origins[0]


def _report(samples: Samples, calibration: Calibration, output: str) -> None:
    scores: Any = samples.scores
    raw = score(samples.truth, samples.prediction)
    now = score(samples.truth, calibration.apply(scores) > 0)
    print(
        f"{len(samples.ids)} arguments: macro_f1 {_number(raw['macro_f1'])}, calibrated "
        f"{_number(now['macro_f1'])}; predicted {_number(raw['predicted_rate'])} of all decisions, "
        f"calibrated {_number(now['predicted_rate'])}.",
        file=sys.stderr,
    )
    if calibration.rule is not None:
        print(
            "These arguments were tuned on, so the second numbers are too good: score others with "
            f"valueeval score --samples FILE --calibration {output}",
            file=sys.stderr,
        )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
