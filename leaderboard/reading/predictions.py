"""Predictions of a run, argument by argument, out of the samples that lm-eval logs beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from valueeval.leaderboard.reading.run_files import data_of, load_data, reason_of
from valueeval.leaderboard.reading.runs import RUN_FILE, Run
from valueeval.leaderboard.text import clean
from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.data.dataset import DataSet
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.average_precision import macro_ap
from valueeval.tasks.scores.runfile import read_run
from valueeval.tasks.scores.scoring import score

SCORES_FILE = ".scores.safetensors"  # ending of the scores beside an archive's run file

_TOLERANCE = 1e-6  # between scores in the results and the same recomputed from samples
_TOLERANCE_OF_FLOAT16 = 5e-3  # … from an archive's scores, some of which are rounded to be equal

BoolArray = npt.NDArray[np.bool_]
ScoreArray = npt.NDArray[np.float64]


class SamplesError(ValueError):
    """Why samples cannot be used."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of a run.

    Attributes:
        ids: n argument ids, sorted, so that position means the same in every run on the same set.
        truth: (n, 20).
        prediction: (n, 20).
        clusters: n keys of conclusions.
        premises: n premises as they stand in the samples, or ``""``.
        conclusions: n conclusions, likewise.
        scores: (n, 20), finite, higher where a value is more likely; ``None`` unless the system
            gave 20 scores for every argument.
    """

    ids: tuple[str, ...]
    truth: BoolArray
    prediction: BoolArray
    clusters: tuple[str, ...]
    premises: tuple[str, ...]
    conclusions: tuple[str, ...]
    scores: ScoreArray | None = None

    def same_arguments(self, other: Predictions) -> bool:
        """Return whether both runs were scored on the same arguments, labels and conclusions."""
        return (
            self.ids == other.ids
            and self.clusters == other.clusters
            and np.array_equal(self.truth, other.truth)
        )

    def totals(self) -> tuple[npt.NDArray[np.float64], ...]:
        """Return true positives, predicted and actual positives per value, each (20,)."""
        parts = (self.truth & self.prediction, self.prediction, self.truth)
        return tuple(part.sum(0).astype(np.float64) for part in parts)


def read_predictions(path: Path) -> Predictions:
    """Read a file of samples.

    Raises:
        SamplesError: It cannot be read, is cut off, holds an argument twice or another task's
            samples.
    """
    rows: dict[str, tuple[list[int], list[int], str, str, str, object]] = {}
    for line, sample in _lines(path):
        try:
            entry, doc = sample["macro_f1"], sample["doc"]
            row = (
                _labels(entry["labels"]), _labels(entry["prediction"]),
                conclusion_key(doc["conclusion"]), str(doc.get("premise", "")),
                str(doc["conclusion"]), entry.get("scores"),
            )  # fmt: skip
            argument = entry["id"]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise SamplesError(f"line {line} is not a sample of a ValueEval task") from error
        if str(argument) in rows:
            raise SamplesError(f"line {line}: argument {clean(argument)} appears twice")
        rows[str(argument)] = row
    if not rows:
        raise SamplesError("empty file")
    ordered = sorted(rows.items())
    truth, prediction, clusters, premises, conclusions, scores = zip(
        *(row for _, row in ordered), strict=True
    )
    return Predictions(
        tuple(argument for argument, _ in ordered),
        np.array(truth, dtype=bool), np.array(prediction, dtype=bool), clusters, premises,
        conclusions, _scores(scores),
    )  # fmt: skip


def predictions_of_run_file(path: Path, data: DataSet) -> Predictions:
    """Return the predictions in a run file, with labels and conclusions of the user's data.

    Raises:
        ValueEvalError: The file cannot be read, or is not about the arguments of `data`.
    """
    ids, conclusions = data.ids, data.conclusions
    order = sorted(range(len(ids)), key=ids.__getitem__)
    return Predictions(
        tuple(ids[index] for index in order),
        data.labels[order],
        read_run(path).aligned(ids, data.directory)[order],
        tuple(conclusion_key(conclusions[index]) for index in order),
        tuple(data.arguments[index].premise for index in order),
        tuple(conclusions[index] for index in order),
    )


def read_checked(run: Run) -> Predictions:
    """Return the predictions of `run`, after checking that they belong to its results.

    Raises:
        SamplesError: There are none, or their number or their scores differ from the results.
    """
    if run.samples is None:
        raise SamplesError("no samples beside the results (run lm_eval with --log_samples)")
    if not run.template:
        return predictions_of_run_file(run.samples, data_of(run.samples))
    if run.samples.suffix == RUN_FILE:
        predictions = _archived(run, run.samples)
    else:
        predictions = read_predictions(run.samples)
    n = len(predictions.ids)
    if run.arguments is not None and n != run.arguments:
        raise SamplesError(f"{n} samples, but the results are of {run.arguments} arguments")
    found = score(predictions.truth, predictions.prediction)
    for name in ("macro_f1", "official_f1"):
        told, recomputed = run.metrics[name], found[name]
        if told is not None and (recomputed is None or abs(recomputed - told) > _TOLERANCE):
            shown = "undefined" if recomputed is None else f"{recomputed:.4f}"
            raise SamplesError(f"{name} is {shown} by the samples but {told:.4f} in the results")
    _check_scores(run, predictions)
    return predictions


def _check_scores(run: Run, predictions: Predictions) -> None:
    told = run.metrics["macro_ap"]
    if told is None or predictions.scores is None:
        return
    found = macro_ap(predictions.truth, predictions.scores)
    archived = run.samples is not None and run.samples.suffix == RUN_FILE
    if found is None or abs(found - told) > (_TOLERANCE_OF_FLOAT16 if archived else _TOLERANCE):
        shown = "undefined" if found is None else f"{found:.4f}"
        raise SamplesError(f"macro_ap is {shown} by the scores but {told:.4f} in the results")


def _archived(run: Run, path: Path) -> Predictions:
    """Return the predictions of an archive, which has them without labels and texts."""
    try:
        data = load_data(run.dataset)
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
        predictions = predictions_of_run_file(path, _part_of(data, path) if run.limited else data)
    except ValueEvalError as error:
        raise SamplesError(reason_of(error, path)) from error
    return replace(predictions, scores=_archived_scores(path, predictions.ids))


def _part_of(data: DataSet, path: Path) -> DataSet:
    """Return the arguments of a set that a run file of a limited run is about."""
    chosen = set(read_run(path).ids)
    rows = [row for row, argument in enumerate(data.arguments) if argument.id in chosen]
    kept = tuple(data.arguments[row] for row in rows)
    return replace(data, arguments=kept, labels=data.labels[rows])


# ------------------------------------------------------------------------------- scores


def pack_scores(predictions: Predictions) -> bytes | None:
    """Return the scores of a run as a safetensors file, or ``None`` if it has none.

    As float16 in the order of sorted ids, 63 kB for the main test set; as float32 where too many
    would be rounded to the same number, as those of a model that hardly tells arguments apart.
    Where a score is not 0 its sign stays (decisions are scores above 0).
    """
    if predictions.scores is None:
        return None
    short = _rounded(predictions.scores, np.float16)
    exact, rounded = (macro_ap(predictions.truth, each) for each in (predictions.scores, short))
    if exact is not None and (rounded is None or abs(rounded - exact) > _TOLERANCE_OF_FLOAT16 / 2):
        short = _rounded(predictions.scores, np.float32)
    return save({"scores": short}, {"ids_sha256": _digest(predictions.ids)})


def _rounded(scores: ScoreArray, dtype: type[np.floating[Any]]) -> npt.NDArray[Any]:
    """Return scores in fewer bits: none becomes infinite, nor 0 if it is not 0."""
    most = np.finfo(dtype)
    size = np.clip(np.abs(scores), most.smallest_subnormal, most.max)
    rounded: npt.NDArray[Any] = (np.sign(scores) * size).astype(dtype)
    return rounded


def _archived_scores(run_file: Path, ids: Sequence[str]) -> ScoreArray | None:
    """Return the scores that lie beside a run file of an archive; older archives have none."""
    path = run_file.with_name(run_file.stem + SCORES_FILE)
    if not path.is_file():
        return None
    try:
        with safe_open(path, "numpy") as file:
            told = (file.metadata() or {}).get("ids_sha256")
            scores = np.asarray(file.get_tensor("scores"))
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise SamplesError(f"{path.name} cannot be read as scores ({clean(error)})") from error
    if told != _digest(ids):
        raise SamplesError(f"{path.name} holds the scores of other arguments")
    if scores.dtype not in (np.float16, np.float32) or scores.shape != (len(ids), 20):
        raise SamplesError(f"{path.name} does not hold 20 scores for each of {len(ids)} arguments")
    if not np.isfinite(scores).all():
        raise SamplesError(f"{path.name} holds scores that are not finite")
    return scores.astype(np.float64)


def _digest(ids: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def _scores(rows: Sequence[object]) -> ScoreArray | None:
    """Return (n, 20) scores; ``None`` unless every row is 20 finite numbers."""
    if not all(isinstance(row, list) and len(row) == 20 for row in rows):
        return None
    try:
        scores = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return scores if scores.shape == (len(rows), 20) and np.isfinite(scores).all() else None


# ------------------------------------------------------------------------------- samples


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
        raise SamplesError(f"line {line} is not valid JSON (cut off?)") from error
