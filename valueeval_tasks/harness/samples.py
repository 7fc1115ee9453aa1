"""Reading the samples that ``lm_eval --log_samples`` writes, and deciding them anew."""

from __future__ import annotations

import json
import re
import unicodedata
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.display import clean
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.templates.decide import ALL_TEMPLATES, entries_from_sample
from valueeval.tasks.values import VALUES

_TASK = re.compile(rf"valueeval_({'|'.join(ALL_TEMPLATES)})(?![a-z0-9])")


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
        answer_mass: (n,), or ``None`` if an argument lacks it.
        folds: (n,), the fold of each argument of set ``cv``, or ``None`` if one lacks it.
    """

    ids: tuple[str, ...]
    truth: npt.NDArray[np.bool_]
    prediction: npt.NDArray[np.bool_]
    unparsed: npt.NDArray[np.float64]
    clusters: tuple[str, ...]
    scores: npt.NDArray[np.float64] | None
    answer_mass: npt.NDArray[np.float64] | None
    folds: npt.NDArray[np.int64] | None = None


def template_of(path: str | Path) -> str:
    """Return the template in a samples file's name: ``samples_valueeval_bca_p2_….jsonl`` → ``bca``.

    Raises:
        ValueEvalError: The name contains no template.
    """
    found = _TASK.search(Path(path).name)
    if not found:
        raise ValueEvalError(
            f"{path}: the file's name does not say the task (samples_valueeval_….jsonl).\n"
            f"Name the template with --template: {', '.join(ALL_TEMPLATES)}."
        )
    return found[1]


def read_samples(paths: Sequence[str | Path], template: str | None = None) -> Samples:
    """Read some samples files as one set.

    The decisions are made anew from the logged responses, so that samples of ``--predict_only`` and
    of older parsers can be scored.

    Args:
        paths: Files that ``lm_eval --log_samples`` wrote.
        template: The tasks' template; ``None``: as each file's name says.

    Raises:
        ValueEvalError: A file cannot be read, is empty or truncated, holds another task's samples,
            or an argument is there twice; the message names the file and line.
    """
    files = [Path(path) for path in paths]
    place_of_id: dict[str, tuple[int, int]] = {}  # in the order of the arguments: file, line
    labels, predictions, unparsed = bytearray(), bytearray(), array("d")
    scores, all_scored = array("d"), True
    masses, all_weighed = array("d"), True
    clusters: list[str] = []
    folds: list[int] = []
    key_of: dict[str, str] = {}  # one string a conclusion
    for number, path in enumerate(files):
        form = template or template_of(path)
        for line, sample in json_lines(path):
            where = f"{path}, line {line}"
            try:
                entries = entries_from_sample(sample, form)
                entry, mass = entries["macro_f1"], entries["answer_mass"]
                id, key = _id(entry["id"]), conclusion_key(sample["doc"]["conclusion"])
                argument_labels = _bits(sample["doc"]["labels"])
                if "fold" in sample["doc"]:
                    folds.append(int(sample["doc"]["fold"]))
            except ValueEvalError as error:
                raise ValueEvalError(f"{where}: {clean(error)}") from error
            except (AttributeError, OverflowError, TypeError, ValueError) as error:
                # What a value of another type or size than lm-eval's raises.
                raise ValueEvalError(
                    f"{where}: not a sample of a ValueEval {form} task: {clean(error)}"
                ) from error
            if id in place_of_id:
                first, first_line = place_of_id[id]
                raise ValueEvalError(
                    f"{where}: argument {clean(id)} is there twice, first in {files[first]}, line "
                    f"{first_line}.\nGive the samples of one task and one run."
                )
            place_of_id[id] = number, line
            labels += argument_labels
            predictions += bytes(entry["prediction"])
            unparsed.append(entry["unparsed"])
            all_scored = all_scored and entry["scores"] is not None
            scores.extend(entry["scores"] if all_scored else ())
            all_weighed = all_weighed and mass is not None
            masses.extend((mass,) if all_weighed else ())
            clusters.append(key_of.setdefault(key, key))
    shape = (len(place_of_id), len(VALUES))
    return Samples(
        ids=tuple(place_of_id),
        truth=np.frombuffer(labels, dtype=np.bool_).reshape(shape),
        prediction=np.frombuffer(predictions, dtype=np.bool_).reshape(shape),
        unparsed=np.frombuffer(unparsed, dtype=np.float64),
        clusters=tuple(clusters),
        scores=np.frombuffer(scores, dtype=np.float64).reshape(shape) if all_scored else None,
        answer_mass=np.frombuffer(masses, dtype=np.float64) if all_weighed else None,
        folds=np.array(folds) if len(folds) == len(place_of_id) else None,
    )


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield number (from 1) and content of each line.

    Raises:
        ValueEvalError: The file cannot be read, holds no line, or one that is no JSON object.
    """
    line = 0
    try:
        with path.open(encoding="utf-8") as file:
            for line, text in enumerate(file, start=1):
                content = _parse_json(text, f"{path}, line {line}")
                if not isinstance(content, dict):
                    raise ValueEvalError(f"{path}, line {line}: not a JSON object")
                yield line, content
    except OSError as error:
        reason = error.strerror or error
        raise ValueEvalError(f"{path}: cannot be read ({reason}). Check the path.") from error
    except UnicodeDecodeError as error:
        raise ValueEvalError(f"{path}: after line {line}: not UTF-8 text.") from error
    if not line:
        raise ValueEvalError(f"{path}: the file is empty.")


def _parse_json(text: str, where: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueEvalError(
            f"{where}: not valid JSON ({error.msg}). Is the file cut off?"
        ) from error
    except RecursionError as error:
        raise ValueEvalError(f"{where}: nested too deeply for a sample of lm-eval.") from error
    except ValueError as error:  # Python refuses to convert integers of more than 4300 digits
        raise ValueEvalError(
            f"{where}: a number has too many digits for a sample of lm-eval."
        ) from error


def _id(id: object) -> str:
    """Return an id if it can stand in a run file, which takes no control characters."""
    if (
        not isinstance(id, str)
        or not id.strip()
        or any(unicodedata.category(character) in ("Cc", "Cs") for character in id)
    ):
        raise ValueEvalError(f"no argument id: {id!r}")
    return id


def _bits(labels: Sequence[int]) -> bytes:
    """Return labels as bytes 0 and 1.

    Raises:
        ValueEvalError: They are not 20 of these.
    """
    if len(labels) != len(VALUES) or any(label not in (0, 1) for label in labels):
        raise ValueEvalError(f"the labels are not {len(VALUES)} times 0 or 1")
    return bytes(map(int, labels))
