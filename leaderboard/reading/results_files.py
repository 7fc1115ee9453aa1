"""Reading lm-eval's results files into typed runs: one run is one task of one results file.

A leaderboard is read from folders that anybody may have filled, so nothing in a file is trusted to
be there or to have its type. A file that cannot be used becomes a :class:`Problem` that names it
and says why; the others are read all the same. Written for ``results_*.json`` of lm-eval 0.4.9 and
later (``lm_eval/result_schema.py``).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from valueeval.leaderboard.reading.fields import count, hashes, mapping, string
from valueeval.leaderboard.reading.finding import DATE_IN_NAME, File
from valueeval.leaderboard.reading.runs import METRICS, RUN_FILE, Problem, Run
from valueeval.leaderboard.reading.system import (
    adapter_of,
    describe_system,
    has_seen,
    warnings_of,
    warnings_of_calibration,
    warnings_of_requests,
)
from valueeval.leaderboard.text import clean
from valueeval.tasks.data.content_free import CONTENT_FREE
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.templates.decide import ALL_TEMPLATES

TASK_PREFIX = "valueeval_"
MAX_FILE_BYTES = 256 * 2**20
_ROUNDING = 1e-3

# Names of tasks become parts of file names, and are shown.
_TASK_NAME = re.compile(r"[A-Za-z0-9_.-]{1,200}")


class RefusedError(ValueError):
    """Why a file, or a task in it, cannot be used."""


def read_results(
    files: Sequence[File], manifests: Mapping[Path, Mapping[str, Any]] | None = None
) -> tuple[list[Run], list[Problem]]:
    """Return the runs in `files`, and what could not be used and why.

    Args:
        files: From :func:`find_results`.
        manifests: Manifest of an adapter by its folder, for results that do not hold it themselves
            (stock ``hf`` with ``peft=``); see :func:`read_manifests`.
    """
    runs: list[Run] = []
    problems: list[Problem] = []
    for file in files:
        try:
            content = load_content(file.path)
            tasks = _tasks(content)
        except (RefusedError, OSError) as error:
            problems.append(Problem(file.source, _reason(error)))
            continue
        for task in tasks:
            try:
                runs.append(_read_task(file, content, task, manifests or {}))
            except RefusedError as error:
                problems.append(Problem(f"{file.source}, {clean(task)}", str(error)))
    return runs, problems


def read_manifests(folders: Sequence[str | Path]) -> dict[Path, dict[str, Any]]:
    """Return manifests (``valueeval.json``) of the adapters in `folders`, by the adapter's folder.

    Raises:
        ValueEvalError: A folder does not exist, or a manifest is no JSON object.
    """
    manifests: dict[Path, dict[str, Any]] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise ValueEvalError(f"{folder}: no such folder; --adapters takes adapter directories")
        for path in sorted(folder.rglob("valueeval.json")):
            try:
                manifests[path.resolve().parent] = load_content(path)
            except RefusedError as error:
                raise ValueEvalError(f"{path}: {error}") from error
    return manifests


def _manifest_of(
    adapter: str | None, manifests: Mapping[Path, Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    """Return the manifest of an adapter that results name by a path.

    The path is as it was when they were made, perhaps on another machine. So the adapter is the one
    whose folder shares most of the path's end.

    Raises:
        RefusedError: Two that differ share as much.
    """
    shared = {folder: _shared_end(Path(adapter or "").parts, folder.parts) for folder in manifests}
    longest = max(shared.values(), default=0)
    found = [folder for folder, length in shared.items() if length == longest]
    if longest == 0:
        return None
    if any(manifests[folder] != manifests[found[0]] for folder in found):
        raise RefusedError(
            f"its adapter is {clean(adapter)}, and --adapters has "
            f"{' and '.join(map(str, found[:2]))}: name the folder of the one that is meant"
        )
    return manifests[found[0]]


def _shared_end(a: Sequence[str], b: Sequence[str]) -> int:
    """Return how many parts two paths share at their ends."""
    same = [x == y for x, y in zip(reversed(a), reversed(b), strict=False)]
    return [*same, False].index(False)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror or error})"
    return str(error)


def load_content(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        RefusedError: There is none, with the reason.
        OSError: It cannot be read.
    """
    if path.is_dir():
        raise RefusedError("this folder cannot be listed")
    if not path.is_file():
        raise RefusedError("not a file, or a broken link")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise RefusedError(f"larger than {MAX_FILE_BYTES // 2**20} MiB: not a results file")
    data = path.read_bytes()
    if not data.strip():
        raise RefusedError("empty file")
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise RefusedError(f"not UTF-8 text (byte {error.start})") from error
    except json.JSONDecodeError as error:
        cut = " (cut off?)" if error.pos >= len(error.doc.rstrip()) - 1 else ""
        raise RefusedError(f"not valid JSON: {error.msg} in line {error.lineno}{cut}") from error
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"not readable as JSON ({type(error).__name__})") from error
    if not isinstance(content, dict):
        raise RefusedError(f"holds a {type(content).__name__}, not the object that lm-eval writes")
    return content


def _tasks(content: Mapping[str, Any]) -> list[str]:
    """Return the names of our tasks in a results file."""
    results = content.get("results")
    if not isinstance(results, dict) or not isinstance(content.get("configs"), dict):
        raise RefusedError("not results of lm-eval: 'results' and 'configs' are not both there")
    # Tags that grew into groups and other people's tasks have no configuration of ours; arguments
    # without content have no scores, and serve `valueeval calibrate` alone.
    tasks = [
        task
        for task in results
        if task.startswith(TASK_PREFIX)
        and task in content["configs"]
        and not task.endswith(f"_{CONTENT_FREE}")
    ]
    if not tasks:
        others = ", ".join(clean(task) for task in list(results)[:3]) or "no task at all"
        raise RefusedError(f"no ValueEval task in it ({others})")
    return sorted(tasks)


def _read_task(
    file: File, content: Mapping[str, Any], task: str, manifests: Mapping[Path, Mapping[str, Any]]
) -> Run:
    if not _TASK_NAME.fullmatch(task):
        raise RefusedError("not a name that a ValueEval task can have")
    metadata = mapping(mapping(content["configs"].get(task)).get("metadata"))
    template = metadata.get("template")
    if template not in ALL_TEMPLATES:
        raise RefusedError(
            f"its metadata names none of our templates ({', '.join(ALL_TEMPLATES)}); was it run "
            "with another task of the same name?"
        )
    sha = hashes(metadata.get("data_sha256"))
    if sha is None:
        raise RefusedError("its metadata has no data_sha256, so its data are unknown")
    version = string(mapping(content.get("versions")).get(task, metadata.get("version")))
    counts = mapping(mapping(content.get("n-samples")).get(task))
    original, effective = count(counts.get("original")), count(counts.get("effective"))
    config = mapping(content.get("config"))
    shots = count(mapping(content.get("n-shot")).get(task)) or 0
    votes = count(metadata.get("votes")) or 1
    beside = None if config.get("valueeval") else _manifest_of(adapter_of(config), manifests)
    model = describe_system(content, config, shots, beside, votes, metadata)
    date_id = DATE_IN_NAME.search(file.path.name)
    samples = _samples(file.path, task, date_id.group(1)) if date_id else None
    if effective is None:
        effective = count(mapping(content["results"][task]).get("sample_len"))
    dataset, fold = clean(metadata.get("set") or "unknown"), metadata.get("fold")
    seen = has_seen(model.manifest, dataset, sha, count(fold))
    return Run(
        source=file.source,
        path=file.path,
        task=task,
        template=template,
        paraphrase=count(metadata.get("paraphrase")) or 1,
        dataset=dataset,
        version=version or "",
        data_sha256=sha,
        official=metadata.get("data_official") is True,
        sample=metadata.get("sample") is True,
        limited=fold is not None or _is_part(original, effective, config.get("limit")),
        arguments=effective if effective is not None or samples is None else _count(samples),
        counted_in_samples=effective is None and samples is not None,
        shots=shots,
        metrics=_metrics(content["results"][task]),
        date=_date(content, date_id.group(1) if date_id else None),
        versions=_versions(content, model.manifest),
        warnings=(
            *warnings_of(model.manifest, dataset, seen),
            *warnings_of_calibration(mapping(config.get("calibration")), sha),
            *warnings_of_requests(config.get("failed_requests"), task),
        ),
        seen=seen,
        samples=samples,
        **vars(model),
    )


def _is_part(original: int | None, effective: int | None, limit: object) -> bool:
    """Return whether a part of the set was evaluated; a limit may be beyond its size."""
    if original is None or effective is None:
        return limit is not None
    return effective < original


def _samples(results: Path, task: str, date_id: str) -> Path | None:
    for ending in (".jsonl", RUN_FILE):
        path = results.with_name(f"samples_{task}_{date_id}{ending}")
        if path.is_file():
            return path
    return None


def _count(samples: Path) -> int | None:
    """Return how many arguments a file of samples, or a run file, holds."""
    try:
        with samples.open("rb") as file:
            lines = sum(1 for line in file if line.strip())
    except OSError:
        return None
    return lines - (samples.suffix == RUN_FILE)  # the header is no argument


# ------------------------------------------------------------------------------- fields


def _metrics(values: object) -> dict[str, float | None]:
    """Return scores by name, without lm-eval's filter suffix."""
    given: dict[str, Any] = {}
    for key, value in mapping(values).items():
        name, _, filter_name = key.partition(",")
        if name not in given or filter_name == "none":
            given[name] = value
    metrics = {name: _score(name, given.get(name)) for name in METRICS}
    if metrics["macro_f1"] is None:
        if "bypass" in given:
            raise RefusedError("run with --predict_only, so without scores")
        raise RefusedError(f"no macro_f1 in it ({_shown(given.get('macro_f1'))})")
    return metrics


def _score(name: str, value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if name == "answer_mass" and 1 < value < 1 + _ROUNDING:  # a sum of rounded probabilities
        value = 1
    if not 0 <= value <= 1:
        raise RefusedError(f"{name} is {clean(value)[:40]}, not between 0 and 1")
    return float(value)


def _shown(value: object) -> str:
    return "nothing there" if value is None else f"found {clean(repr(value))[:40]}"


def _date(content: Mapping[str, Any], in_name: str | None) -> str:
    """Return the start of the run in UTC; failing that, the (local) time in the file's name."""
    stamp = content.get("date")
    if isinstance(stamp, (int, float)) and not isinstance(stamp, bool) and 0 < stamp < 4e9:
        return datetime.fromtimestamp(int(stamp), timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    if in_name is None:
        return ""
    day, _, time = in_name.partition("T")
    return f"{day}T{time[:8].replace('-', ':')}"


def _versions(content: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, str]:
    versions = {"lm_eval": content.get("lm_eval_version"),
                "transformers": content.get("transformers_version")}  # fmt: skip
    trained_with = mapping(manifest.get("versions"))
    known = {**{f"training: {key}": value for key, value in trained_with.items()}, **versions}
    return {clean(key): text for key, value in sorted(known.items()) if (text := string(value))}
