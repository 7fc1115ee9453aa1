"""Reads the samples that ``lm_eval --log_samples`` writes, and decides them anew."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.templates.decide import TEMPLATES, entries_from_sample

_TASK = re.compile(rf"valueeval_({'|'.join(TEMPLATES)})(?![a-z])")


@dataclass(frozen=True, eq=False)
class Samples:
    """The arguments of samples files, decided from the responses.

    Attributes:
        ids: n argument ids, each once.
        truth: (n, 20) bool.
        prediction: (n, 20) bool.
        unparsed: (n,) share of each argument's answers that could not be read.
        clusters: n keys of conclusions.
        scores: (n, 20), or ``None`` if an argument lacks them.
    """

    ids: tuple[str, ...]
    truth: npt.NDArray[np.bool_]
    prediction: npt.NDArray[np.bool_]
    unparsed: npt.NDArray[np.float64]
    clusters: tuple[str, ...]
    scores: npt.NDArray[np.float64] | None


def template_of(path: str | Path) -> str:
    """The template in the name of a samples file: ``samples_valueeval_bca_p2_….jsonl`` → ``bca``.

    Raises:
        ValueEvalError: The name says no template.
    """
    found = _TASK.search(Path(path).name)
    if not found:
        raise ValueEvalError(
            f"{path}: the file's name does not say the task (samples_valueeval_….jsonl).\n"
            f"Say it by --template: one of {', '.join(TEMPLATES)}."
        )
    return found[1]


def read_samples(paths: Sequence[str | Path], template: str | None = None) -> Samples:
    """All samples of some files, as one set.

    The decision is made anew from the logged responses, so that samples of ``--predict_only`` and
    of older parsers can be scored.

    Args:
        paths: Files that ``lm_eval --log_samples`` wrote.
        template: The tasks' template; ``None``: as each file's name says.

    Raises:
        ValueEvalError: A file cannot be read, is empty or truncated, holds another task's samples,
            or an argument is there twice; the message names the file and line.
    """
    rows: list[tuple[dict[str, Any], str]] = []
    seen: dict[str, str] = {}
    for path in map(Path, paths):
        form = template or template_of(path)
        for line, sample in _json_lines(path):
            where = f"{path}, line {line}"
            try:
                entry = entries_from_sample(sample, form)["macro_f1"]
                id, key = _text(entry["id"]), conclusion_key(sample["doc"]["conclusion"])
            except ValueEvalError as error:
                raise ValueEvalError(f"{where}: {error}") from error
            if id in seen:
                raise ValueEvalError(
                    f"{where}: argument {id} is there twice, first in {seen[id]}.\n"
                    "Give the samples of one task and one run."
                )
            seen[id] = where
            rows.append((entry, key))
    return Samples(
        ids=tuple(entry["id"] for entry, _ in rows),
        truth=np.array([entry["labels"] for entry, _ in rows], dtype=np.bool_),
        prediction=np.array([entry["prediction"] for entry, _ in rows], dtype=np.bool_),
        unparsed=np.array([entry["unparsed"] for entry, _ in rows], dtype=np.float64),
        clusters=tuple(key for _, key in rows),
        scores=_scores([entry["scores"] for entry, _ in rows]),
    )


def _scores(of_arguments: Sequence[list[float] | None]) -> npt.NDArray[np.float64] | None:
    if any(scores is None for scores in of_arguments):
        return None
    return np.array(of_arguments, dtype=np.float64)


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number (from 1) and content of each line.

    Raises:
        ValueEvalError: The file cannot be read, holds no line, or one that is no JSON object.
    """
    line = 0
    try:
        with path.open(encoding="utf-8") as file:
            for line, text in enumerate(file, start=1):
                content = json.loads(text)
                if not isinstance(content, dict):
                    raise ValueEvalError(f"{path}, line {line}: not a JSON object")
                yield line, content
    except OSError as error:
        reason = error.strerror or error
        raise ValueEvalError(f"{path}: cannot be read ({reason}). Check the path.") from error
    except UnicodeDecodeError as error:
        raise ValueEvalError(f"{path}: after line {line}: not UTF-8 text.") from error
    except json.JSONDecodeError as error:
        raise ValueEvalError(
            f"{path}, line {line}: not valid JSON ({error.msg}). Is the file cut off?"
        ) from error
    if not line:
        raise ValueEvalError(f"{path}: the file is empty.")


def _text(id: object) -> str:
    """An id that can stand in a tab-separated file."""
    if not isinstance(id, str) or not id.strip() or any(c in id for c in "\t\r\n"):
        raise ValueEvalError(f"{id!r} is no argument id")
    return id
