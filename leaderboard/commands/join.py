"""``valueeval join FOLD… -o FOLDER``: the five folds of set ``cv``, evaluated apart, as one run.

An adapter of the protocol ``cv`` answers the fold that it has not seen (--metadata '{"fold": K}').
Those with a head can be evaluated together; any others, and prompted models that were asked in five
parts, are joined here: the samples one after the other, the scores computed anew from them.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from valueeval.leaderboard.commands.combined_results import (
    date_of,
    scores_of,
    total_seconds,
    write_combined,
)
from valueeval.leaderboard.reading.fields import count, mapping
from valueeval.leaderboard.reading.finding import find_results
from valueeval.leaderboard.reading.results_files import RefusedError, load_content
from valueeval.leaderboard.text import clean
from valueeval.tasks.commands.command_line import CommandParser
from valueeval.tasks.data.dataset import CV
from valueeval.tasks.data.folds import CV_FOLDS
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.samples import json_lines

# What the folds of one configuration differ in: which fold it is, and a teacher of that fold.
_BY_FOLD = ("fold", "teacher", "teacher_sha256")
_TASK = ("version", "template", "paraphrase", "wording", "set", "data_sha256", "votes")
_PROMPT = ("chat_template_sha", "system_instruction_sha", "fewshot_as_multiturn")
_CONFIG = ("model", "gen_kwargs", "fewshot_seed", "limit", "guided")
_WHICH_ADAPTER = ("adapter", "peft", "path")


@dataclass(frozen=True)
class Part:
    """A task of a results file that is about one fold.

    Attributes:
        path: The file.
        content: The parsed file.
        task: Name of the task.
        fold: Number of the fold.
        samples: The file of samples beside it.
    """

    path: Path
    content: Mapping[str, Any]
    task: str
    fold: int
    samples: Path

    @property
    def manifest(self) -> Mapping[str, Any]:
        """Return the adapter's manifest; empty for a prompted model."""
        return mapping(mapping(self.content.get("config")).get("valueeval"))

    @property
    def arguments(self) -> tuple[int | None, int | None]:
        """Return how many arguments the fold has, and how many were evaluated, as far as told."""
        counts = mapping(mapping(self.content.get("n-samples")).get(self.task))
        return count(counts.get("original")), count(counts.get("effective"))

    @property
    def same(self) -> dict[str, Any]:
        """Return what all folds of one run have in common, by its name in messages."""
        config = mapping(self.content.get("config"))
        metadata = mapping(mapping(mapping(self.content["configs"])[self.task]).get("metadata"))
        settings, arguments = mapping(self.manifest.get("config")), config.get("model_args")
        if isinstance(arguments, dict):
            arguments = {k: v for k, v in arguments.items() if k not in _WHICH_ADAPTER}
        elif self.manifest:
            arguments = None  # a string, with the adapter's name in it
        base = mapping(self.manifest.get("base_model")).get("sha256")
        return {
            **{name: metadata.get(name) for name in _TASK},
            **{name: self.content.get(name) for name in _PROMPT},
            **{name: config.get(name) for name in _CONFIG},
            "num_fewshot": mapping(self.content.get("n-shot")).get(self.task),
            "model_args": arguments,
            "calibration": mapping(config.get("calibration")).get("method"),
            "base model": base,
            "data": mapping(self.manifest.get("data")).get("sha256"),
            **{name: self.manifest.get(name) for name in ("head", "method", "objective")},
            **{name: value for name, value in settings.items() if name not in _BY_FOLD},
        }


def main(argv: Sequence[str] | None = None) -> int:
    """Write the joined run and return the exit status.

    Raises:
        ValueEvalError: A file cannot be read, the parts are not the five folds of one configuration
            and task, or the folder cannot be written.
    """
    options = build_parser().parse_args(argv)
    by_task: dict[str, list[Part]] = defaultdict(list)
    for part in _parts(options.results):
        by_task[part.task].append(part)
    joined = [(_checked(task, parts)) for task, parts in sorted(by_task.items())]
    for parts in joined:
        results = write_joined(parts, options.output)
        print(f"{parts[0].task}: {results}")
    return 0


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        prog="valueeval join",
        description="Join the results of the five folds of a task valueeval_…_cv, each evaluated "
        "with --metadata '{\"fold\": K}' and --log_samples, into those of one run over all "
        "arguments.",
    )
    parser.add_argument(
        "results", nargs="+", metavar="RESULTS",
        help="folders (any depth) or results_*.json files of the five folds",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder to write to"
    )
    return parser


def write_joined(parts: Sequence[Part], folder: Path) -> Path:
    """Write the joined results and samples of five folds; return the results file.

    Args:
        parts: The folds, in order.
        folder: The folder below which lm-eval would write a folder by the model's name.

    Raises:
        ValueEvalError: Samples cannot be read, or the folder cannot be written.
    """
    task = parts[0].task
    samples: list[dict[str, Any]] = []
    ids: set[str] = set()
    for part in parts:
        before = len(samples)
        for line, sample in json_lines(part.samples):
            doc = mapping(sample.get("doc"))
            if doc.get("fold") != part.fold or doc.get("id") in ids:
                raise ValueEvalError(
                    f"{part.samples}, line {line}: not an argument of fold {part.fold}, or there "
                    "twice"
                )
            ids.add(str(doc.get("id")))
            sample["doc_id"] = len(samples)
            samples.append(sample)
        told, there = part.arguments[1], len(samples) - before
        if told is not None and told != there:
            raise ValueEvalError(
                f"{part.samples}: {there} arguments, and {part.path.name} tells of {told}; is it "
                "cut off?"
            )
    content = _joined_content(parts, samples)
    date = max(date_of(part.path) for part in parts)
    return write_combined(folder, date, content, {task: samples})


def _parts(places: Sequence[str]) -> list[Part]:
    found = []
    for file in find_results(places):
        try:
            content = load_content(file.path)
        except (RefusedError, OSError) as error:
            raise ValueEvalError(f"{file.path}: {error}") from error
        for task, config in mapping(content.get("configs")).items():
            metadata = mapping(mapping(config).get("metadata"))
            if metadata.get("set") != CV:
                continue
            fold = count(metadata.get("fold"))
            if fold is None:
                raise ValueEvalError(
                    f"{file.path}, {clean(task)}: a run over all folds; there is nothing to join"
                )
            samples = file.path.with_name(f"samples_{task}_{date_of(file.path)}.jsonl")
            if not samples.is_file():
                raise ValueEvalError(
                    f"{file.path}, {clean(task)}: no samples beside it; run lm_eval with "
                    "--log_samples"
                )
            found.append(Part(file.path, content, task, fold, samples))
    if not found:
        raise ValueEvalError(
            f"{', '.join(map(str, places))}: no results of a task valueeval_…_{CV}"
        )
    return found


def _checked(task: str, parts: Sequence[Part]) -> list[Part]:
    """Return the five folds of a task in order.

    Raises:
        ValueEvalError: They are not, or not of one configuration.
    """
    by_fold: dict[int, Part] = {}
    for part in parts:
        if part.fold in by_fold:
            raise ValueEvalError(
                f"{task}: fold {part.fold} is there twice, in {by_fold[part.fold].path} and "
                f"{part.path}"
            )
        data = mapping(part.manifest.get("data"))
        if part.manifest and data.get("left_out") != [part.fold]:
            raise ValueEvalError(
                f"{part.path}: its adapter is not one that was trained by --protocol {CV} --fold "
                f"{part.fold}"
            )
        by_fold[part.fold] = part
    if missing := sorted(set(range(CV_FOLDS)) - by_fold.keys()):
        listed = ", ".join(map(str, missing))
        raise ValueEvalError(f"{task}: no results of fold {listed}; all {CV_FOLDS} are needed")
    ordered = [by_fold[fold] for fold in range(CV_FOLDS)]
    first = ordered[0].same
    for part in ordered[1:]:
        other = part.same
        for name in (*first, *other):
            if first.get(name) != other.get(name):
                raise ValueEvalError(
                    f"{ordered[0].path} and {part.path}: {name} differs; the folds must be of one "
                    "configuration"
                )
    return ordered


def _joined_content(parts: Sequence[Part], samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first, task = parts[0], parts[0].task
    config = dict(mapping(first.content.get("config")))
    if first.manifest:
        config["valueeval"] = _joined_manifest(parts)
    if "failed_requests" in config:
        of_parts = [mapping(part.content.get("config")).get("failed_requests") for part in parts]
        lists = [failed for failed in of_parts if isinstance(failed, list)]
        config["failed_requests"] = list(chain.from_iterable(lists))
    metadata = dict(mapping(mapping(first.content["configs"])[task]).get("metadata") or {})
    metadata.pop("fold", None)
    try:
        scores = scores_of(samples)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueEvalError(
            f"{first.samples}: its samples hold no scores of a ValueEval task ({clean(error)})"
        ) from error
    of_folds = [original for part in parts if (original := part.arguments[0]) is not None]
    whole = sum(of_folds) if len(of_folds) == len(parts) else len(samples)
    return {
        **first.content,
        "results": {task: {"alias": task, "sample_len": len(samples), **scores}},
        "configs": {
            task: {**mapping(mapping(first.content["configs"])[task]), "metadata": metadata}
        },
        "config": config,
        "n-samples": {task: {"original": whole, "effective": len(samples)}},
        "model_name": _joined_name([str(part.content.get("model_name")) for part in parts]),
        "total_evaluation_time_seconds": total_seconds([part.content for part in parts]),
    }


def _joined_manifest(parts: Sequence[Part]) -> dict[str, Any]:
    """Return the manifest of the five, as `--model valueeval` writes it for five with a head."""
    manifests = [part.manifest for part in parts]
    first = manifests[0]
    members = [
        {
            "method": one.get("method"),
            "seed": one.get("seed"),
            "left_out": mapping(one.get("data")).get("left_out"),
            "weights_sha256": one.get("weights_sha256"),
            "validation_macro_f1": mapping(one.get("validation")).get("macro_f1"),
            "thresholds": mapping(one.get("thresholds")).get("values"),
        }
        for one in manifests
    ]
    settings = {
        name: value for name, value in mapping(first.get("config")).items() if name not in _BY_FOLD
    }
    hashes = "".join(str(one.get("weights_sha256")) for one in manifests)
    return {
        **first,
        "data": {
            **mapping(first.get("data")),
            "left_out": list(range(CV_FOLDS)),
            "size": max(count(mapping(one.get("data")).get("size")) or 0 for one in manifests),
        },
        "config": {**settings, "cross_validation": members},
        "validation": {},
        "files": {},
        "seconds": sum(float(one.get("seconds") or 0) for one in manifests),
        "weights_sha256": hashlib.sha256(hashes.encode()).hexdigest(),
    }


def _joined_name(names: Sequence[str]) -> str:
    """Return one name: that of all, or theirs joined by ``+`` below a folder that they share."""
    distinct = list(dict.fromkeys(names))
    parents = {Path(name).parent for name in distinct}
    if len(distinct) == 1 or len(parents) > 1:
        return "+".join(distinct)
    return str(parents.pop() / "+".join(Path(name).name for name in distinct))
