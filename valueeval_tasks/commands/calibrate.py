"""``valueeval calibrate``: fit a calibration to the samples of a prompted model."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from valueeval.tasks.commands.command_line import CommandParser
from valueeval.tasks.data.content_free import CONTENT_FREE
from valueeval.tasks.data.dataset import CV
from valueeval.tasks.display import clean
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.files import replacing
from valueeval.tasks.harness.origin import origin_of
from valueeval.tasks.harness.samples import Samples, read_samples
from valueeval.tasks.scores.calibration import Origin, fit, mean_prior, to_json
from valueeval.tasks.scores.scoring import score
from valueeval.tasks.templates.decide import ALL_TEMPLATES

_TEST_SETS = frozenset({"main", "nahjalbalagha", "nyt"})


def main(argv: Sequence[str]) -> int:
    """Write the calibration and return the exit status."""
    parser = build_parser()
    options = parser.parse_args(argv)
    rule = None if options.thresholds == "none" else options.thresholds
    content_free = None if options.prior in ("batch", "none") else options.prior
    if rule is None and options.prior == "none":
        raise ValueEvalError("--prior none and --thresholds none leave nothing to calibrate.")
    if not options.samples and (rule is not None or content_free is None):
        parser.error("name the samples that thresholds, or the prior `batch`, are fitted on")
    files = [*options.samples, *([content_free] if content_free else [])]
    origins = _origins(files)
    if content_free is not None and origins[-1].set not in (CONTENT_FREE, None):
        raise ValueEvalError(
            f"--prior {content_free}: the samples are of {origins[-1].set}. A file there is of a "
            f"task …_{CONTENT_FREE}; for the mean over other arguments, give --prior batch."
        )
    fitted_on = options.samples or [content_free]
    origins = origins[: len(fitted_on)]
    if rule is not None:
        for path, origin in zip(fitted_on, origins, strict=True):
            _refuse_labels_of(path, origin)
    samples, scores = _scored(fitted_on, options.template)
    if rule is not None and not samples.truth.any():
        raise ValueEvalError(
            f"{fitted_on[0]}: no argument has a label, so no threshold can be tuned. --thresholds "
            "none fits a prior alone, which needs no labels."
        )
    prior = None
    if content_free is not None:
        prior = mean_prior("content-free", _scored([content_free], options.template)[1])
    elif options.prior == "batch":
        prior = mean_prior("batch", scores)
    calibration = fit(scores, samples.truth, _of_all(origins), prior, rule)
    text = json.dumps(to_json(calibration), indent=1, ensure_ascii=False) + "\n"
    with replacing(Path(options.output)) as path:
        path.write_text(text, encoding="utf-8")
    if options.samples:
        _report(samples, calibration.apply(scores) > 0, rule is not None, options.output)
    return 0


def _refuse_labels_of(path: str, origin: Origin) -> None:
    """Refuse to tune thresholds on labels that they would be tested on, or on none.

    Raises:
        ValueEvalError: The samples are of a test set, of set cv, or of arguments without content.
    """
    if origin.set == CV:
        raise ValueEvalError(
            f"{path}: thresholds would be tuned on the labels of all of set {CV}, the test set "
            "among them.\nvalueeval score --samples FILE --tune_by_fold tunes those of each "
            "fold on another one."
        )
    if origin.set in _TEST_SETS:
        raise ValueEvalError(
            f"{path}: thresholds would be tuned on the labels of a test set ({origin.set}).\n"
            f"Give the samples of valueeval_{origin.template}_validation, or --thresholds none "
            "for a prior alone, which needs no labels."
        )
    if origin.set == CONTENT_FREE:
        raise ValueEvalError(
            f"{path}: arguments without content have no labels to tune thresholds on.\nGive them "
            f"as --prior {path}, and the samples of valueeval_{origin.template}_validation (or "
            "--thresholds none)."
        )


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        prog="valueeval calibrate",
        description="Fit a calibration to what a prompted model answered (cls, bca): the prior of"
        " each value, which its score leans to whatever the argument says, and a threshold. Use it"
        " on other arguments by `valueeval score --samples FILE --calibration CALIBRATION`, or"
        " `--model valueeval --model_args …,calibration=CALIBRATION`.",
        epilog="Example: lm_eval --tasks valueeval_bca_validation,valueeval_bca … --log_samples"
        " --output_path runs, then valueeval calibrate"
        " runs/*/samples_valueeval_bca_validation_*.jsonl -o calibration.json, then valueeval score"
        " --samples runs/*/samples_valueeval_bca_2*.jsonl --calibration calibration.json",
    )
    parser.add_argument(
        "samples",
        nargs="*",
        metavar="SAMPLES",
        help="samples_*.jsonl of one model and prompt; may be left out where a content-free prior"
        " is all that is wanted",
    )
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="file to write")
    parser.add_argument(
        "--prior",
        metavar="batch|none|FILE",
        default="batch",
        help="what is subtracted from each value's scores: `batch`, their mean over these"
        " arguments, whose labels are not read (default; Zhou et al., 2024); FILE, their mean over"
        f" the samples of the same task's {CONTENT_FREE} set (Zhao et al., 2021); or nothing",
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


def _origins(paths: Sequence[str]) -> list[Origin]:
    """Return what is known of the runs that the files are from.

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
    return origins


def _of_all(origins: Sequence[Origin]) -> Origin:
    """Return the origin of files of one run; what one of them does not tell is not known."""

    def joined(field: str) -> str | None:
        given = dict.fromkeys(getattr(origin, field) for origin in origins)
        return None if None in given else "+".join(given)

    return replace(origins[0], set=joined("set"), data_sha256=joined("data_sha256"))


def _scored(paths: Sequence[str], template: str | None) -> tuple[Samples, npt.NDArray[np.float64]]:
    """Return samples and their scores, (n, 20).

    Raises:
        ValueEvalError: There are none.
    """
    samples = read_samples(paths, template)
    if samples.scores is None:
        raise ValueEvalError(
            f"{paths[0]}: the samples hold no scores: only cls and bca, by log-likelihood, can be "
            "calibrated."
        )
    return samples, samples.scores


def _report(samples: Samples, prediction: npt.NDArray[np.bool_], tuned: bool, output: str) -> None:
    raw = score(samples.truth, samples.prediction)
    now = score(samples.truth, prediction)
    print(
        f"{len(samples.ids)} arguments: macro_f1 {_number(raw['macro_f1'])}, calibrated "
        f"{_number(now['macro_f1'])}; predicted {_number(raw['predicted_rate'])} of all decisions, "
        f"calibrated {_number(now['predicted_rate'])}.",
        file=sys.stderr,
    )
    if tuned:
        print(
            "These arguments were tuned on, so the second numbers are too good: score others with "
            f"valueeval score --samples FILE --calibration {output}",
            file=sys.stderr,
        )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
