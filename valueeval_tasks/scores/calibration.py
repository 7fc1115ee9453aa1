"""Calibrate the scores of a prompted model, as thresholds do for a trained one.

A prompted model's log-odds lean to yes or to no by the words of its prompt, whatever the argument
says (Zhao et al., 2021, «Calibrate before use»). Two remedies, alone or one after the other:

- a *prior*, subtracted from each value's score: its mean over arguments, without their labels
  (``batch``; Zhou et al., 2024, «Batch calibration»), or its mean over arguments without content
  (``content-free``; Zhao et al.);
- *thresholds*, tuned on labelled arguments by the rule that trained models use
  (:mod:`valueeval.tasks.scores.thresholds`).

A calibration goes with one model and one prompt, and says what it has seen.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from valueeval.tasks.display import clean
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.thresholds import Rule, tune_cuts
from valueeval.tasks.values import VALUE_SLUGS

SCHEMA_VERSION = 2

PriorFrom = Literal["batch", "content-free"]


@dataclass(frozen=True)
class Origin:
    """The run whose scores were calibrated, as far as its files tell; None is not known.

    Attributes:
        model: Name of the model, as lm-eval writes it.
        template: One of the templates.
        paraphrase: Which wording of it.
        wording: ``"plain"`` or ``"chat"``.
        shots: Number of few-shot examples.
        set: Name of the set of arguments; those of several are joined by ``+``.
        data_sha256: Hash of its files, likewise.
    """

    model: str | None = None
    template: str | None = None
    paraphrase: int | None = None
    wording: str | None = None
    shots: int | None = None
    set: str | None = None
    data_sha256: str | None = None

    def differs(self, other: Origin) -> str | None:
        """Return the name of something in which model or prompt differ; None if nothing does.

        What is not known of one of the two does not differ.
        """
        for name in ("model", "template", "paraphrase", "wording", "shots"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if None not in (mine, theirs) and mine != theirs:
                return name
        return None

    def shares_data(self, other: Origin) -> bool:
        """Return whether some arguments may be of both runs: by their files, else by the set."""
        for name in ("data_sha256", "set"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if None not in (mine, theirs):
                return not set(mine.split("+")).isdisjoint(theirs.split("+"))
        return False


@dataclass(frozen=True)
class Prior:
    """The score of each value that a model has before it sees an argument.

    Attributes:
        source: ``"batch"``: mean over unlabelled arguments; ``"content-free"``: mean over arguments
            without content.
        scores: 20, in nats.
        arguments: Number of arguments that the mean is taken over.
    """

    source: PriorFrom
    scores: tuple[float, ...]
    arguments: int


def mean_prior(source: PriorFrom, scores: npt.NDArray[np.float64]) -> Prior:
    """Return the prior that is the mean of scores, (n, 20)."""
    return Prior(source, tuple(scores.mean(axis=0).tolist()), len(scores))


@dataclass(frozen=True)
class Calibration:
    """The amounts that are subtracted from the scores of each value.

    Attributes:
        prior: What is subtracted first; None: nothing.
        thresholds: 20 logits, for scores without the prior; zeros where none were tuned.
        rule: How the thresholds were tuned; None if they were not, and no label was seen.
        arguments: Number of arguments that it was fitted on.
        origin: The run that they are from.
    """

    prior: Prior | None
    thresholds: tuple[float, ...]
    rule: str | None
    arguments: int
    origin: Origin

    @property
    def offsets(self) -> npt.NDArray[np.float64]:
        """Return what is subtracted from the scores in all: (20,), in nats."""
        if self.prior is None:
            return np.array(self.thresholds)
        return np.add(self.prior.scores, self.thresholds)

    @property
    def method(self) -> str:
        """Return a name of the method, e.g. ``content-free prior, shrunk thresholds``."""
        parts = [f"{self.prior.source} prior"] if self.prior else []
        return ", ".join([*parts, f"{self.rule} thresholds"] if self.rule else parts)

    def apply(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return calibrated scores, (n, 20): predicted where positive.

        Args:
            scores: (n, 20), in nats.
        """
        calibrated: npt.NDArray[np.float64] = scores - self.offsets
        return calibrated

    def refusal(self, run: Origin, name: str) -> str | None:
        """Return why the scores of a run must not be calibrated with this; None if they may.

        Args:
            run: The run.
            name: What to call it in the message.
        """
        if (field := self.origin.differs(run)) is not None:
            return (
                f"fitted with {field} {clean(getattr(self.origin, field))}, but {name} has "
                f"{clean(getattr(run, field))}.\n"
                "A calibration goes with one model and prompt: fit one to this run's."
            )
        if self.rule is not None and self.origin.shares_data(run):
            return (
                f"its thresholds were tuned on the labels of {clean(run.set)}, and {name} is about "
                "the same arguments.\nScore another set, or calibrate with --thresholds none."
            )
        return None


def fit(
    scores: npt.NDArray[np.float64],
    truth: npt.NDArray[np.bool_],
    origin: Origin,
    prior: Prior | None,
    rule: Rule | None,
) -> Calibration:
    """Fit a calibration.

    Args:
        scores: (n, 20), in nats.
        truth: (n, 20); read only where there is a rule.
        origin: The run that they are from.
        prior: What to subtract before thresholds are tuned; None: nothing.
        rule: How to tune thresholds; None: not at all.
    """
    logits = np.zeros(scores.shape[1])
    if rule is not None:
        without_prior = scores if prior is None else scores - np.array(prior.scores)
        logits = tune_cuts(rule, truth, without_prior)
    return Calibration(prior, tuple(logits.tolist()), rule, len(scores), origin)


def to_json(calibration: Calibration) -> dict[str, Any]:
    """Return a calibration as it is written; `read_calibration` reads it."""
    prior = calibration.prior
    return {
        "schema_version": SCHEMA_VERSION,
        "method": calibration.method,
        "fitted_on": {
            **asdict(calibration.origin),
            "arguments": calibration.arguments,
            "labels_used": calibration.rule is not None,
        },
        "rule": calibration.rule,
        "prior": prior
        and {
            "source": prior.source,
            "arguments": prior.arguments,
            "scores": dict(zip(VALUE_SLUGS, prior.scores, strict=True)),
        },
        "thresholds": dict(zip(VALUE_SLUGS, calibration.thresholds, strict=True)),
    }


def read_calibration(path: str | Path) -> Calibration:
    """Read what `to_json` gives.

    Raises:
        ValueEvalError: The file cannot be read, or is no calibration; the message says where.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueEvalError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (ValueError, RecursionError) as error:
        raise ValueEvalError(f"{path}: not valid JSON ({clean(error)[:200]}).") from error
    try:
        return _from_json(content)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueEvalError(
            f"{path}: not a calibration that `valueeval calibrate` wrote: "
            f"{type(error).__name__} {clean(error)[:200]}"
        ) from error


def _from_json(content: Any) -> Calibration:
    if content["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"schema_version {content['schema_version']!r}; known is {SCHEMA_VERSION}")
    fitted_on = content["fitted_on"]
    origin = Origin(**{field.name: fitted_on[field.name] for field in fields(Origin)})
    for field in fields(Origin):
        kind = int if field.name in ("paraphrase", "shots") else str
        value = getattr(origin, field.name)
        if value is not None and type(value) is not kind:
            raise TypeError(f"fitted_on.{field.name}: {value!r}")
    if not (content["rule"] is None or isinstance(content["rule"], str)):
        raise TypeError(f"rule: {content['rule']!r}")
    thresholds = _numbers(content["thresholds"], "thresholds")
    arguments = _count(fitted_on["arguments"], "fitted_on.arguments")
    prior = content["prior"]
    if prior is not None:
        if prior["source"] not in get_args(PriorFrom):
            raise ValueError(f"prior.source: {prior['source']!r}")
        numbers = _numbers(prior["scores"], "prior.scores")
        prior = Prior(prior["source"], numbers, _count(prior["arguments"], "prior.arguments"))
    return Calibration(prior, thresholds, content["rule"], arguments, origin)


def _count(given: object, where: str) -> int:
    if type(given) is not int:
        raise TypeError(f"{where}: {given!r}")
    return given


def _numbers(given: Mapping[str, Any], where: str) -> tuple[float, ...]:
    """Return the number of each value, in the order of values."""
    if sorted(given) != sorted(VALUE_SLUGS):
        raise ValueError(f"{where}: not the {len(VALUE_SLUGS)} values")
    for slug, number in given.items():
        if type(number) not in (int, float) or not math.isfinite(number):
            raise ValueError(f"{where}.{slug}: {number!r} is no finite number")
    return tuple(float(given[slug]) for slug in VALUE_SLUGS)
