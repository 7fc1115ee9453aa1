"""Reading lm-eval's results files into typed runs: one run is one task of one results file.

A leaderboard is read from folders that anybody may have filled, so nothing in a file is trusted to
be there or to have its type. A file that cannot be used becomes a :class:`Problem` that names it
and says why; the others are read all the same. Written for ``results_*.json`` of lm-eval 0.4.9 and
later (``lm_eval/result_schema.py``).
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from valueeval.leaderboard.text import clean
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_SLUGS

SETS = ("main", "validation", "zhihu", "nahjalbalagha", "nyt")
TEMPLATES = ("cls", "mbc", "bca", "oa", "cot")
TASK_PREFIX = "valueeval_"
MAX_FILE_BYTES = 256 * 2**20

_SCORES = ("macro_f1", "official_f1", "micro_f1", "macro_precision", "macro_recall",
           "subset_accuracy", "unparsed")  # fmt: skip
_INTERVALS = tuple(f"{score}_{end}" for score in ("macro_f1", "official_f1")
                   for end in ("stderr", "ci_low", "ci_high"))  # fmt: skip
METRICS = (*_SCORES, *_INTERVALS, *(f"f1_{slug}" for slug in VALUE_SLUGS))

# What lm-eval appends to the name of a results file (`EvaluationTracker.date_id`).
_DATE_IN_NAME = re.compile(r"_(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?)\.json$")
# Arguments of a model, and settings of a training, that change how a result comes about but not
# what is measured: runs that differ only here are repetitions of one another. (`path` is what our
# own models add, so that lm-eval knows their name; it may hold the seed.)
_VOLATILE_ARGUMENTS = frozenset(
    {"batch_size", "max_batch_size", "device", "parallelize", "seed", "path"}
)
_VOLATILE_SETTINGS = frozenset(
    {"seed", "output", "output_dir", "resume", "data_dir", "device", "workers", "threads", "quiet"}
)


@dataclass(frozen=True)
class Problem:
    """A file, or a part of one, that could not be used."""

    source: str
    reason: str


@dataclass(frozen=True)
class Run:
    """One task of one results file.

    Attributes:
        source: The file, as a path below the folder that was given.
        path: Where it is.
        task: Name of the task, e.g. ``valueeval_bca_p2_zhihu``.
        template: One of `TEMPLATES`, or ``""`` for a run file of the shared task.
        paraphrase: Which wording of the template, from 1.
        dataset: One of `SETS`, ``sample…``, or the name of a set of one's own.
        version: Version of the task.
        data_sha256: Hash of the data that it ran on.
        official: Whether those are the published files.
        sample: Whether they are the sample set of the package.
        limited: Whether it ran on a part of them.
        arguments: How many arguments were scored; ``None`` if the file does not say.
        model: Name to show.
        base: Name of the base model, if known.
        method: How the system came about: ``full``, ``lora`` …, ``zero-shot``, ``baseline`` ….
        parameters: Parameters in all; ``None`` if unknown.
        trainable: Parameters that were trained; 0 if nothing was.
        training_size: How many arguments it was trained on.
        training_data: Their name and hash, shown when they are a reason for a warning.
        shots: Few-shot examples in the prompt.
        seed: Seed of the training, of the baseline, or of the few-shot examples.
        system: Key equal for two runs that differ in nothing but their seed and their task.
        metrics: Score by name, `METRICS`; missing, not applicable and NaN are ``None``.
        date: When it was made, UTC, ``YYYY-MM-DDTHH:MM:SS``.
        versions: Version by library.
        warnings: What a reader should hold against the result.
        samples: The file of samples beside it, if there is one.
    """

    source: str
    path: Path
    task: str
    template: str
    paraphrase: int
    dataset: str
    version: str
    data_sha256: str
    official: bool
    sample: bool
    limited: bool
    arguments: int | None
    model: str
    base: str | None
    method: str
    parameters: int | None
    trainable: int | None
    training_size: int | None
    training_data: str | None
    shots: int
    seed: int | None
    system: str
    metrics: Mapping[str, float | None]
    date: str
    versions: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    samples: Path | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _File:
    """A file to read and how it is called in what is written."""

    path: Path
    source: str


class _RefusedError(ValueError):
    """Why a file, or a task in it, cannot be used."""


# ------------------------------------------------------------------------------- finding


def find_results(places: Sequence[str | Path]) -> list[_File]:
    """Every results file in `places` (files, or folders searched to any depth), each once, sorted.

    In a folder a results file is one called ``results*.json`` or one whose name ends in the date
    that lm-eval appends (``--output_path NAME.json``). Links to folders are not followed.

    Raises:
        ValueEvalError: a place does not exist, or there is no results file anywhere.
    """
    found: dict[Path, _File] = {}
    for place in map(Path, places):
        if place.is_file():
            found.setdefault(place.resolve(), _File(place, clean(place.name)))
        elif place.is_dir():
            for path in _walk(place):
                source = Path(place.resolve().name) / path.relative_to(place)
                found.setdefault(path.resolve(), _File(path, clean(source.as_posix())))
        else:
            raise ValueEvalError(
                f"{place}: no such file or folder; give the --output_path of lm_eval"
            )
    if places and not found:
        raise ValueEvalError(
            f"no lm-eval results in {', '.join(map(str, places))}: looked for results_*.json; "
            "run lm_eval with --output_path FOLDER and give that folder"
        )
    return sorted(found.values(), key=lambda file: (file.source, str(file.path)))


def _walk(folder: Path) -> Iterator[Path]:
    """Results files below a folder, and folders that may not be listed (so that they are named)."""
    closed: list[str] = []
    for parent, _, names in os.walk(folder, onerror=lambda error: closed.append(error.filename)):
        for name in names:
            if name.endswith(".json") and (
                name.startswith("results") or _DATE_IN_NAME.search(name)
            ):
                yield Path(parent, name)
    yield from map(Path, closed)


# ------------------------------------------------------------------------------- reading


def read_results(
    files: Sequence[_File], manifests: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[list[Run], list[Problem]]:
    """The runs in `files`, and what could not be used and why.

    Args:
        files: From :func:`find_results`.
        manifests: Manifest of an adapter by the name of its folder, for results that do not hold
            it themselves (stock ``hf`` with ``peft=``); see :func:`read_manifests`.
    """
    runs: list[Run] = []
    problems: list[Problem] = []
    for file in files:
        try:
            content = _load(file.path)
            tasks = _tasks(content)
        except (_RefusedError, OSError) as error:
            problems.append(Problem(file.source, _reason(error)))
            continue
        for task in tasks:
            try:
                runs.append(_read_task(file, content, task, manifests or {}))
            except _RefusedError as error:
                problems.append(Problem(f"{file.source}, {clean(task)}", str(error)))
    return runs, problems


def read_manifests(folders: Sequence[str | Path]) -> dict[str, dict[str, Any]]:
    """Manifests (``valueeval.json``) of the adapters in `folders`, by the name of their folder.

    Raises:
        ValueEvalError: a folder does not exist, or a manifest is no JSON object.
    """
    manifests: dict[str, dict[str, Any]] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise ValueEvalError(f"{folder}: no such folder; --adapters takes adapter directories")
        for path in sorted(folder.rglob("valueeval.json")):
            try:
                manifests[path.resolve().parent.name] = _load(path)
            except _RefusedError as error:
                raise ValueEvalError(f"{path}: {error}") from error
    return manifests


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror or error})"
    return str(error)


def _load(path: Path) -> dict[str, Any]:
    if path.is_dir():
        raise _RefusedError("folder that may not be listed")
    if not path.is_file():
        raise _RefusedError("no file, or a link to nowhere")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise _RefusedError(f"larger than {MAX_FILE_BYTES // 2**20} MiB, no results file")
    data = path.read_bytes()
    if not data.strip():
        raise _RefusedError("empty file")
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise _RefusedError(f"no UTF-8 text (byte {error.start})") from error
    except json.JSONDecodeError as error:
        cut = " (cut off?)" if error.pos >= len(error.doc.rstrip()) - 1 else ""
        raise _RefusedError(f"no JSON: {error.msg} in line {error.lineno}{cut}") from error
    except (ValueError, RecursionError) as error:
        raise _RefusedError(f"no JSON that can be read ({type(error).__name__})") from error
    if not isinstance(content, dict):
        raise _RefusedError(f"holds a {type(content).__name__}, not the object that lm-eval writes")
    return content


def _tasks(content: Mapping[str, Any]) -> list[str]:
    """Names of our tasks in a results file."""
    results = content.get("results")
    if not isinstance(results, dict) or not isinstance(content.get("configs"), dict):
        raise _RefusedError("no results of lm-eval: 'results' and 'configs' are not both there")
    # Tags that grew into groups and other people's tasks have no configuration of ours.
    tasks = [
        task for task in results if task.startswith(TASK_PREFIX) and task in content["configs"]
    ]
    if not tasks:
        others = ", ".join(clean(task) for task in list(results)[:3]) or "no task at all"
        raise _RefusedError(f"no ValueEval task in it ({others})")
    return sorted(tasks)


def _read_task(
    file: _File, content: Mapping[str, Any], task: str, manifests: Mapping[str, Mapping[str, Any]]
) -> Run:
    metadata = _mapping(_mapping(content["configs"].get(task)).get("metadata"))
    template = metadata.get("template")
    if template not in TEMPLATES:
        raise _RefusedError(
            "its metadata names no template of ours (cls, mbc, bca, oa, cot); was it run with "
            "another task of the same name?"
        )
    sha = _text(metadata.get("data_sha256"))
    if sha is None:
        raise _RefusedError("its metadata has no data_sha256: unknown on which data it ran")
    version = _text(_mapping(content.get("versions")).get(task, metadata.get("version")))
    counts = _mapping(_mapping(content.get("n-samples")).get(task))
    original, effective = _count(counts.get("original")), _count(counts.get("effective"))
    config = _mapping(content.get("config"))
    shots = _count(_mapping(content.get("n-shot")).get(task)) or 0
    model = _describe_model(content, config, shots, manifests)
    date_id = _DATE_IN_NAME.search(file.path.name)
    dataset = clean(metadata.get("set") or "unknown")
    samples = file.path.with_name(f"samples_{task}_{date_id.group(1)}.jsonl") if date_id else None
    return Run(
        source=file.source,
        path=file.path,
        task=task,
        template=template,
        paraphrase=_count(metadata.get("paraphrase")) or 1,
        dataset=dataset,
        version=version or "",
        data_sha256=sha,
        official=metadata.get("data_official") is True,
        sample=metadata.get("sample") is True,
        limited=config.get("limit") is not None
        or (original is not None and effective is not None and effective < original),
        arguments=effective,
        shots=shots,
        metrics=_metrics(content["results"][task]),
        date=_date(content, date_id.group(1) if date_id else None),
        versions=_versions(content, model.manifest),
        warnings=_warnings(model.manifest, dataset, sha),
        samples=samples if samples is not None and samples.is_file() else None,
        **vars(model),
    )


# ------------------------------------------------------------------------------- the model


@dataclass(frozen=True)
class _Model:
    """What `Run` says about a system."""

    model: str
    base: str | None
    method: str
    parameters: int | None
    trainable: int | None
    training_size: int | None
    training_data: str | None
    seed: int | None
    system: str
    manifest: Mapping[str, Any]


def _describe_model(
    content: Mapping[str, Any],
    config: Mapping[str, Any],
    shots: int,
    manifests: Mapping[str, Mapping[str, Any]],
) -> _Model:
    arguments = _model_arguments(config.get("model_args"))
    kind = _text(config.get("model")) or _text(content.get("model_source")) or "unknown"
    name = _text(content.get("model_name")) or arguments.get("pretrained") or kind
    adapter = arguments.get("adapter") or arguments.get("peft")
    manifest = _mapping(config.get("valueeval"))
    if not manifest and adapter:
        manifest = _mapping(manifests.get(Path(adapter).name))
    baseline = kind == "valueeval_baseline"
    base = _text(_mapping(manifest.get("base_model")).get("name")) or arguments.get("pretrained")
    sizes, data = _mapping(manifest.get("parameters")), _mapping(manifest.get("data"))
    if manifest:
        method, seed = _text(manifest.get("method")) or "unknown", _seed(manifest.get("seed"))
        trainable = _count(sizes.get("trainable"))
    elif baseline:
        method, seed, trainable = "baseline", _seed(arguments.get("seed")), 0
        name = f"baseline {arguments.get('strategy', '')}".strip().replace("_", " ")
    elif adapter:
        method, seed, trainable = "adapter", None, None
    else:
        method, trainable = ("few-shot" if shots else "zero-shot"), 0
        seed = _seed(config.get("fewshot_seed")) if shots else None
    return _Model(
        model=clean(_last_part(name) if adapter else _short_name(name)),
        base=clean(_short_name(base)) if base else None,
        method=clean(method),
        parameters=_count(sizes.get("total")) or _count(config.get("model_num_parameters")) or None,
        trainable=trainable,
        training_size=_count(data.get("size")),
        training_data=_text(data.get("name")),
        seed=seed,
        system=_system_key(content, config, arguments, manifest, shots),
        manifest=manifest,
    )


def _system_key(
    content: Mapping[str, Any],
    config: Mapping[str, Any],
    arguments: Mapping[str, str],
    manifest: Mapping[str, Any],
    shots: int,
) -> str:
    """What makes a system the one that it is, but for its seed, as canonical JSON."""
    if manifest:
        settings = {
            key: value
            for key, value in _mapping(manifest.get("config")).items()
            if key not in _VOLATILE_SETTINGS
        }
        same = {key: manifest.get(key) for key in ("template", "head", "method", "objective")}
        base = _mapping(manifest.get("base_model"))
        data = _mapping(manifest.get("data"))
        identity: dict[str, Any] = {
            **same, "base": base.get("sha256") or base.get("name"),
            "data": data.get("sha256"), "size": data.get("size"), "settings": settings,
        }  # fmt: skip
    else:
        kept = {key: arguments[key] for key in arguments if key not in _VOLATILE_ARGUMENTS}
        identity = {"model": config.get("model"), "arguments": kept,
                    "revision": config.get("model_sha")}  # fmt: skip
    identity["prompting"] = [
        shots,
        content.get("chat_template_sha"),
        content.get("system_instruction_sha"),
        content.get("fewshot_as_multiturn") if shots else None,
        config.get("gen_kwargs"),
    ]
    return json.dumps(identity, sort_keys=True, default=str)


def _model_arguments(arguments: object) -> dict[str, str]:
    """``--model_args`` as a mapping, from either form in which lm-eval stores it."""
    if isinstance(arguments, dict):
        return {str(key): str(value) for key, value in arguments.items()}
    if not isinstance(arguments, str):
        return {}
    pairs = (part.partition("=") for part in arguments.split(","))
    return {key.strip(): value.strip() for key, _, value in pairs if key.strip()}


def _short_name(name: str) -> str:
    """``org/model`` as it is; of a longer path the last part."""
    parts = re.split(r"[/\\]", name)
    is_hub_id = len(parts) == 2 and all(part.strip(".~") for part in parts)
    return name if is_hub_id else _last_part(name)


def _last_part(path: str) -> str:
    parts = [part for part in re.split(r"[/\\]", path) if part.strip(".~")]
    return parts[-1] if parts else path


def _warnings(manifest: Mapping[str, Any], dataset: str, tested_on: str) -> tuple[str, ...]:
    """What its manifest says that makes a result better than it deserves."""
    split = _text(_mapping(manifest.get("thresholds")).get("split"))
    data = _mapping(manifest.get("data"))
    tuned_on = f"sample_{split}" if data.get("name") == "sample" else split
    trained_on = _text(data.get("sha256"))
    found = []
    if split is not None and tuned_on == dataset:
        found.append(f"thresholds tuned on this very set ({clean(split)})")
    elif split is not None and not split.endswith(("validation", "training")):
        found.append(f"thresholds tuned on {clean(split)}, not on validation")
    if trained_on is not None and trained_on == tested_on:
        found.append("trained on the very data that it is tested on")
    return tuple(found)


# ------------------------------------------------------------------------------- fields


def _metrics(values: object) -> dict[str, float | None]:
    """Scores by name, without lm-eval's filter suffix."""
    given: dict[str, Any] = {}
    for key, value in _mapping(values).items():
        name, _, filter_name = key.partition(",")
        if name not in given or filter_name == "none":
            given[name] = value
    metrics = {name: _score(name, given.get(name)) for name in METRICS}
    if metrics["macro_f1"] is None:
        if "bypass" in given:
            raise _RefusedError("run with --predict_only, so without scores")
        raise _RefusedError(f"no macro_f1 in it ({_shown(given.get('macro_f1'))})")
    return metrics


def _score(name: str, value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    if not 0 <= value <= 1:
        raise _RefusedError(f"{name} is {clean(value)[:40]}, not between 0 and 1")
    return float(value)


def _shown(value: object) -> str:
    return "nothing there" if value is None else f"found {clean(repr(value))[:40]}"


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    """A string, or a number as one (versions); ``None`` for anything else and for nothing."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    return clean(value) or None


def _count(value: object) -> int | None:
    """A number of things; lm-eval writes -1 where it does not know."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if math.isfinite(value) and value >= 0 else None


def _seed(value: object) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"\d{1,18}", value):
        return int(value)
    return _count(value)


def _date(content: Mapping[str, Any], in_name: str | None) -> str:
    """Start of the run in UTC; failing that, the (local) time in the name of the file."""
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
    trained_with = _mapping(manifest.get("versions"))
    known = {**{f"training: {key}": value for key, value in trained_with.items()}, **versions}
    return {clean(key): text for key, value in sorted(known.items()) if (text := _text(value))}
