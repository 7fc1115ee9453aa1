"""Predictions of a run, argument by argument, out of the samples that lm-eval logs beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valueeval.leaderboard.reading.results_files import RUN_FILE, Run
from valueeval.leaderboard.reading.run_files import data_of, reason_of
from valueeval.leaderboard.text import clean
from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.data.dataset import DataSet, load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.f1 import macro_f1, official_f1
from valueeval.tasks.scores.runfile import read_run

_TOLERANCE = 1e-6  # between scores in the results and the same recomputed from samples

BoolArray = npt.NDArray[np.bool_]


class SamplesError(ValueError):
    """Why samples cannot be used."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a run predicted.

    Attributes:
        ids: n argument ids, sorted, so that position means the same in every run on the same set.
        truth: (n, 20).
        prediction: (n, 20).
        clusters: n keys of conclusions.
        premises: n premises as they stand in the samples, or ``""``.
    """

    ids: tuple[str, ...]
    truth: BoolArray
    prediction: BoolArray
    clusters: tuple[str, ...]
    premises: tuple[str, ...]

    def same_arguments(self, other: Predictions) -> bool:
        """Whether the other run was scored on the very same arguments, labels and conclusions."""
        return (
            self.ids == other.ids
            and self.clusters == other.clusters
            and np.array_equal(self.truth, other.truth)
        )

    def totals(self) -> tuple[npt.NDArray[np.float64], ...]:
        """True positives, predicted and actual positives per value, each (20,)."""
        parts = (self.truth & self.prediction, self.prediction, self.truth)
        return tuple(part.sum(0).astype(np.float64) for part in parts)


def read_predictions(path: Path) -> Predictions:
    """Reads a file of samples.

    Raises:
        SamplesError: it cannot be read, is cut off, holds an argument twice or another task's
            samples.
    """
    rows: dict[str, tuple[list[int], list[int], str, str]] = {}
    for line, sample in _lines(path):
        try:
            entry, doc = sample["macro_f1"], sample["doc"]
            row = (
                _labels(entry["labels"]), _labels(entry["prediction"]),
                conclusion_key(doc["conclusion"]), str(doc.get("premise", "")),
            )  # fmt: skip
            argument = entry["id"]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise SamplesError(f"line {line} is no sample of a ValueEval task") from error
        if argument in rows:
            raise SamplesError(f"line {line}: argument {clean(argument)} for the second time")
        rows[str(argument)] = row
    if not rows:
        raise SamplesError("empty file")
    ordered = sorted(rows.items())
    truth, prediction, clusters, premises = zip(*(row for _, row in ordered), strict=True)
    return Predictions(
        tuple(argument for argument, _ in ordered),
        np.array(truth, dtype=bool), np.array(prediction, dtype=bool), clusters, premises,
    )  # fmt: skip


def predictions_of_run_file(path: Path, data: DataSet) -> Predictions:
    """The predictions in a run file, with labels and conclusions of the user's data.

    Raises:
        ValueEvalError: The file cannot be read, or is not about the arguments of `data`.
    """
    order = sorted(range(len(data.ids)), key=lambda index: data.ids[index])
    return Predictions(
        tuple(data.ids[index] for index in order),
        data.labels[order],
        read_run(path).aligned(data.ids, data.directory)[order],
        tuple(conclusion_key(data.conclusions[index]) for index in order),
        tuple(data.arguments[index].premise for index in order),
    )


def read_checked(run: Run) -> Predictions:
    """The predictions of `run`, after checking that they belong to its results.

    Raises:
        SamplesError: there are none, or their number or their scores differ from the results.
    """
    if run.samples is None:
        raise SamplesError("no samples beside the results (lm_eval --log_samples)")
    if not run.template:
        return predictions_of_run_file(run.samples, data_of(run.samples))
    if run.samples.suffix == RUN_FILE:
        predictions = _archived(run, run.samples)
    else:
        predictions = read_predictions(run.samples)
    n = len(predictions.ids)
    if run.arguments is not None and n != run.arguments:
        raise SamplesError(f"{n} samples, but the results are of {run.arguments} arguments")
    totals = predictions.totals()
    for name, metric in (("macro_f1", macro_f1), ("official_f1", official_f1)):
        told, found = run.metrics[name], float(metric(*totals)[0])
        if told is not None and not abs(found - told) <= _TOLERANCE:
            raise SamplesError(
                f"{name} is {found:.4f} by the samples but {told:.4f} in the results"
            )
    return predictions


def _archived(run: Run, path: Path) -> Predictions:
    """Predictions of an archive, which has them without labels and texts."""
    try:
        data = load_set(run.dataset)
    except ValueEvalError as error:
        raise SamplesError(
            f"its labels are not at hand: no set {run.dataset!r} in your data (`valueeval data "
            "fetch`, or set VALUEEVAL_DATA)"
        ) from error
    if data.sha256 != run.data_sha256:
        raise SamplesError(
            f"its labels are in data {run.data_sha256[:12]}, and the data at hand are "
            f"{data.sha256[:12]}"
        )
    try:
        return predictions_of_run_file(path, data)
    except ValueEvalError as error:
        raise SamplesError(reason_of(error, path)) from error


def _labels(values: Any) -> list[int]:
    if len(values) != 20 or not {0, 1}.issuperset(values):
        raise ValueError("not 20 labels")
    return list(values)


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    line = 0
    try:
        with path.open(encoding="utf-8") as file:
            for line, text in enumerate(file, start=1):
                yield line, json.loads(text)
    except OSError as error:
        raise SamplesError(f"cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, SamplesError):
            raise
        raise SamplesError(f"line {line} is no JSON (cut off?)") from error
