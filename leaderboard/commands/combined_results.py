"""Writes the results of several runs as those of one, as lm-eval writes results and samples."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from valueeval.leaderboard.commands.archive import folder_name
from valueeval.leaderboard.reading.fields import string
from valueeval.leaderboard.reading.finding import DATE_IN_NAME
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.files import replacing
from valueeval.tasks.scores.scoring import AGGREGATIONS

Samples = Sequence[Mapping[str, Any]]


def date_of(path: Path) -> str:
    """Return the date in the name of a results file.

    Raises:
        ValueEvalError: The name does not end in one.
    """
    found = DATE_IN_NAME.search(path.name)
    if found is None:
        raise ValueEvalError(f"{path}: its name does not end in the date that lm-eval writes")
    return found[1]


def scores_of(samples: Samples) -> dict[str, Any]:
    """Return the scores of samples by name, as they stand in a results file.

    Raises:
        KeyError, TypeError, ValueError: The samples are not those of a ValueEval task.
    """
    return {
        f"{name},none": aggregate([sample[name] for sample in samples])
        for name, aggregate in AGGREGATIONS.items()
    }


def total_seconds(files: Sequence[Mapping[str, Any]]) -> str:
    """Return how long the evaluations of some results files took together, as lm-eval writes it."""
    seconds = [string(each.get("total_evaluation_time_seconds")) for each in files]
    return str(sum(float(each) for each in seconds if each))


def write_combined(
    folder: Path, date: str, content: Mapping[str, Any], samples: Mapping[str, Samples]
) -> Path:
    """Write a results file and its samples; return the results file.

    Args:
        folder: The folder below which lm-eval would write a folder by the model's name.
        date: The date for the files' names.
        content: The results file.
        samples: The samples by task.

    Raises:
        ValueEvalError: The folder cannot be written.
    """
    target = folder / folder_name(str(content["model_name"]))
    results = target / f"results_{date}.json"
    try:
        target.mkdir(parents=True, exist_ok=True)
        for task, of_task in samples.items():
            lines = (json.dumps(sample, ensure_ascii=False) + "\n" for sample in of_task)
            with replacing(target / f"samples_{task}_{date}.jsonl") as temporary:
                temporary.write_text("".join(lines), encoding="utf-8")
        with replacing(results) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ValueEvalError(f"{target}: cannot be written ({error.strerror or error})") from error
    return results
