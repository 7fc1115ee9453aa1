"""Averages the scores of adapters that were evaluated apart, argument by argument.

A score is a logit less its adapter's threshold, so the mean of scores decides as the ensemble of
`valueeval.adapters.classifier.ensemble` does, but for the rounding of logits (32 bits there) and of
an archive's scores (16 bits).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from valueeval.adapters.directory.ensemble import adapter_name, average_manifest
from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.manifest import Manifest, manifest_from_json
from valueeval.leaderboard.commands.archive import without_texts
from valueeval.leaderboard.commands.combined_results import (
    Samples,
    date_of,
    scores_of,
    total_seconds,
    write_combined,
)
from valueeval.leaderboard.reading.finding import find_results
from valueeval.leaderboard.reading.predictions import (
    Predictions,
    SamplesError,
    ScoreArray,
    read_checked,
)
from valueeval.leaderboard.reading.results_files import load_content, read_results
from valueeval.leaderboard.reading.runs import Run
from valueeval.tasks.data.dataset import CV
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.scoring import metric_entries


@dataclass(frozen=True, eq=False)
class Member:
    """An adapter's results on one task.

    Attributes:
        run: The result, as the leaderboard reads it.
        content: The file.
        predictions: Its decisions.
        scores: Its scores, (arguments, 20).
        manifest: The adapter's.
    """

    run: Run
    content: Mapping[str, Any]
    predictions: Predictions
    scores: ScoreArray
    manifest: Manifest


@dataclass(frozen=True)
class Averaged:
    """The results of an average on one task.

    Attributes:
        task: Name of the task.
        macro_f1: Its score.
        of_members: Those of its members.
        path: The results file that was written, one for all tasks.
    """

    task: str
    macro_f1: float
    of_members: tuple[float, ...]
    path: Path


def average_results(
    places: Sequence[str | Path], folder: Path, tasks: Sequence[str] | None = None
) -> list[Averaged]:
    """Average the adapters whose results are in some places, task by task, and write the results.

    Args:
        places: Folders or files, as for `find_results`.
        folder: The folder below which lm-eval would write a folder by the model's name.
        tasks: Names of the tasks; None for all.

    Returns:
        One for each task, in the order of `tasks` or of the files.

    Raises:
        ValueEvalError: A file cannot be read, a result has no scores or is not of an adapter with a
            head, the adapters do not go together or are not the same on every task, or the folder
            cannot be written. Nothing is written then.
    """
    by_task = _members(places, tasks)
    members = next(iter(by_task.values()))
    names = [str(each.content.get("model_name") or each.run.path) for each in members]
    manifest = average_manifest(names, [each.manifest for each in members])
    samples = {task: _samples(of_task) for task, of_task in by_task.items()}
    content = _content(by_task, manifest, samples)
    date = max(date_of(each.run.path) for of_task in by_task.values() for each in of_task)
    path = write_combined(folder, date, content, samples)
    return [
        Averaged(
            task,
            content["results"][task]["macro_f1,none"],
            tuple(each.run.metrics["macro_f1"] or 0.0 for each in of_task),
            path,
        )
        for task, of_task in by_task.items()
    ]


def _members(places: Sequence[str | Path], tasks: Sequence[str] | None) -> dict[str, list[Member]]:
    """Return the members by task, the same adapters in the same order for each.

    Raises:
        ValueEvalError: As `average_results`.
    """
    by_task: dict[str, list[Member]] = {task: [] for task in tasks or ()}
    for file in find_results(places):
        runs, problems = read_results([file])
        if problems:
            raise ValueEvalError(f"{file.path}: {problems[0].reason}")
        for run in runs:
            if tasks is None or run.task in by_task:
                by_task.setdefault(run.task, []).append(_member(run))
    (first, of_first), *others = by_task.items()
    for task, members in by_task.items():
        _check(task, members)
    order = [each.manifest.weights_sha256 for each in of_first]
    for task, members in others:
        if {each.manifest.weights_sha256 for each in members} != set(order):
            raise ValueEvalError(
                f"{first} and {task}: results of different adapters; --tasks names the tasks to "
                "average"
            )
        members.sort(key=lambda each: order.index(each.manifest.weights_sha256))
    return by_task


def _member(run: Run) -> Member:
    content = load_content(run.path)
    config = content.get("config") or {}
    if not run.manifest:
        raise ValueEvalError(
            f"{run.path}: not of an adapter that --model valueeval evaluated; only these can be "
            "averaged"
        )
    if config.get("calibration"):
        raise ValueEvalError(f"{run.path}: is calibrated; average what is not")
    try:
        manifest, predictions = manifest_from_json(run.manifest), read_checked(run)
    except (ManifestError, SamplesError) as error:
        raise ValueEvalError(f"{run.path}, {run.task}: {error}") from error
    if predictions.scores is None:
        raise ValueEvalError(
            f"{run.path}, {run.task}: its samples hold no scores; evaluate it again with "
            "--log_samples"
        )
    return Member(run, content, predictions, predictions.scores, manifest)


def _check(task: str, members: Sequence[Member]) -> None:
    """Refuse what is no average: one adapter, one twice, other arguments or another version."""
    if len(members) < 2:
        where = f"those of {members[0].run.path} alone" if members else "none"
        raise ValueEvalError(
            f"{task}: results of two adapters or more are needed, and there are {where}; --tasks "
            "names the tasks to average"
        )
    first, seen = members[0], dict[str, Member]()
    for each in members:
        twin = seen.setdefault(each.manifest.weights_sha256, each)
        if twin is not each:
            raise ValueEvalError(
                f"{twin.run.path} and {each.run.path}: results of the same adapter on {task}; "
                "it would count twice"
            )
        for what in ("version", "data_sha256"):
            if getattr(each.run, what) != getattr(first.run, what):
                raise ValueEvalError(
                    f"{first.run.path} and {each.run.path}: {what} of {task} differs"
                )
        if not each.predictions.same_arguments(first.predictions):
            raise ValueEvalError(
                f"{first.run.path} and {each.run.path}: not on the same arguments of {task}"
            )
    if first.run.dataset == CV:
        raise ValueEvalError(
            f"{task}: each argument is answered by the adapter that has not seen it, not by the "
            "mean of all; `valueeval join` joins folds that were evaluated apart"
        )


def _samples(members: Sequence[Member]) -> list[dict[str, Any]]:
    """Return the arguments as lm-eval logs them, without prompts, answered by the mean."""
    scores = np.mean([each.scores for each in members], axis=0)
    first = members[0].predictions
    samples = []
    for row, argument in enumerate(first.ids):
        labels = first.truth[row].astype(int).tolist()
        doc = {"id": argument, "premise": first.premises[row],
               "conclusion": first.conclusions[row], "labels": labels}  # fmt: skip
        entries = metric_entries(
            id=argument,
            conclusion=first.conclusions[row],
            labels=labels,
            prediction=(scores[row] > 0).astype(int).tolist(),
            scores=scores[row].tolist(),
            unparsed=0.0,
        )
        samples.append({"doc_id": row, "doc": doc, **entries})
    return samples


def _content(
    by_task: Mapping[str, Sequence[Member]],
    manifest: Manifest,
    samples: Mapping[str, Samples],
) -> dict[str, Any]:
    """Return the results file, as `--model valueeval` would have written it for all together."""
    name = adapter_name("+".join(str(each["adapter"]) for each in manifest.config["members"]))
    files = {each.run.path: each.content for members in by_task.values() for each in members}
    kept = [without_texts(members[0].content, [task]) for task, members in by_task.items()]
    told = {
        key: {task: value for each in kept for task, value in each.get(key, {}).items()}
        for key in ("configs", "versions", "n-shot", "n-samples")
    }
    return {
        **kept[0],
        **told,
        "results": {
            task: {"alias": task, "sample_len": len(of_task), **scores_of(of_task)}
            for task, of_task in samples.items()
        },
        "config": {
            "model": "valueeval",
            "model_args": {"adapter": name},
            "model_num_parameters": manifest.parameters.total,
            "limit": kept[0]["config"].get("limit"),
            "valueeval": manifest.to_json(),
        },
        "date": max(each.get("date") or 0 for each in files.values()),
        "model_name": name,
        "total_evaluation_time_seconds": total_seconds(list(files.values())),
    }
