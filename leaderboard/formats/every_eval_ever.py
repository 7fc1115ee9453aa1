"""Ranked rows as records of every_eval_ever, the shared schema of the EvalEval coalition.

Version 0.3.0, ``eval.schema.json`` and ``instance_level_eval.schema.json`` in
github.com/evaleval/every_eval_ever. What is not comparable here is not handed on.

A row's record holds its scores. Beside it, if wanted, a file holds one line an argument. The schema
ties a line to one score of the record. F1 is a ratio of sums over all arguments and no argument has
a part of its own in it, so lines are tied to `subset_accuracy`, which is their mean; whoever wants
macro_f1 recomputes it from the lines' values and references.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import numpy as np

from valueeval.leaderboard import text
from valueeval.leaderboard.formats.hub import DATASET, DESCRIPTIONS, marks, slug
from valueeval.leaderboard.reading.predictions import Predictions, SamplesError, read_checked
from valueeval.leaderboard.reading.run_files import load_data
from valueeval.leaderboard.reading.runs import Run
from valueeval.leaderboard.table.table import RANKED, Board, Row, Table
from valueeval.tasks.data.dataset import Argument
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_NAMES, VALUES

SCHEMA_VERSION = "0.3.0"
IDS, TEXTS = "ids", "texts"
INSTANCES = (IDS, TEXTS)
"""Content of a line's input: the argument's place in the data set, or its text as well."""
_COLLECTION = "touche23-valueeval"
_SPLITS = {"main": "test", "validation": "val"}
_BY_SCORE = ("cls", "bca", "cot2")  # templates that decide by scores; others' answers are parsed
_DISTRIBUTION = "lm-eval-valueeval"


def every_eval_ever(
    table: Table, developer: str | None = None, instances: str | None = None
) -> dict[str, str]:
    """Return files by their path below the data folder, a record for each ranked row.

    Args:
        table: The leaderboard.
        developer: Who made the systems whose names do not say it (``organisation/model`` does).
        instances: One of :data:`INSTANCES`, to add a ``_samples.jsonl`` with a line an argument for
            each row that has samples; ``None`` for none.

    Raises:
        ValueEvalError: Texts are wanted, and the data of a board are not at hand.
    """
    files: dict[str, str] = {}
    told_apart = marks(table)
    for board in table.boards:
        if board.status != RANKED:
            continue
        arguments = _arguments(board) if instances == TEXTS else {}
        for row in board.rows:
            mark = told_apart[row.name]
            record = _record(board, row, developer, mark)
            # The same row always gets the same name.
            digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).digest()
            name = str(uuid.UUID(bytes=digest[:16], version=4))
            model = slug(row.name.rpartition("/")[2]) + mark
            folder = f"{_COLLECTION}/{_developer(row, developer)}/{model}"
            lines = [] if instances is None else _lines(board, row, record, arguments)
            if lines:
                samples = f"{folder}/{name}_samples.jsonl"
                files[samples] = "".join(lines)
                record["detailed_evaluation_results"] = {
                    "format": "jsonl",
                    "file_path": f"data/{samples}",
                    "hash_algorithm": "sha256",
                    "checksum": hashlib.sha256(files[samples].encode()).hexdigest(),
                    "total_rows": len(lines),
                }
            files[f"{folder}/{name}.json"] = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    return files


def _record(board: Board, row: Row, given: str | None, mark: str) -> dict[str, Any]:
    run, developer = row.run, _developer(row, given)
    stamp = str(_epoch(max(each.date for each in row.runs)))
    name = slug(row.name) + mark
    identity = f"{_COLLECTION}/{developer}/{name}"
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"{identity}/{slug(run.task or 'run-file')}/{stamp}",
        "evaluation_timestamp": stamp,
        "retrieved_timestamp": stamp,
        "source_metadata": {
            "source_name": "ValueEval leaderboard",
            "source_type": "evaluation_run",
            "source_organization_name": "lm-eval-valueeval",
            "evaluator_relationship": "other",
        },
        "eval_library": _library(run),
        "model_info": {
            "name": row.name,
            "id": row.name if "/" in row.name else f"{developer}/{name}",
            "developer": developer,
            "additional_details": {
                "deployment_type": "self_deployed",
                "model_availability": "unknown",
                **_known(base_model=run.base, method=run.method, parameters=run.parameters,
                         trainable_parameters=run.trainable, training_data=run.training_data,
                         training_size=run.training_size),
            },
        },
        "evaluation_results": [
            _result(board, row, name, description)
            for name, description in _metric_descriptions(row).items()
            if row.mean(name) is not None
        ],
    }  # fmt: skip


def _library(run: Run) -> dict[str, Any]:
    """Return what made the scores: lm-eval, or ourselves where somebody gave a run file."""
    if not run.task:
        return {"name": _DISTRIBUTION, "version": version(_DISTRIBUTION)}
    return {
        "name": "lm_eval",
        "version": run.versions.get("lm_eval", "unknown"),
        "additional_details": _known(task=run.task, task_version=run.version),
    }


def _metric_descriptions(row: Row) -> dict[str, str]:
    told = row.values or "the"
    return {
        **{name: about.format(values=told) for name, about in DESCRIPTIONS.items()},
        **{f"f1_{value.slug}": f"F1 of the value {value.name}" for value in VALUES},
    }


def _result(board: Board, row: Row, name: str, description: str) -> dict[str, Any]:
    score = row.scores[name]
    return {
        "evaluation_result_id": f"valueeval.{name}",
        "evaluation_name": f"Touché23-ValueEval {board.dataset}, template {row.prompt}",
        "source_data": {
            "dataset_name": "Touché23-ValueEval",
            "source_type": "hf_dataset",
            "hf_repo": DATASET,
            **({"hf_split": _SPLITS[board.dataset]} if board.dataset in _SPLITS else {}),
            **({"samples_number": board.arguments} if board.arguments is not None else {}),
            "additional_details": {"set": board.dataset, "sha256": board.data_sha256},
        },
        "metric_config": {
            "evaluation_description": description,
            "metric_id": f"valueeval.{name}",
            "metric_name": name,
            "metric_kind": "f1" if "f1" in name else name,
            "metric_unit": "proportion",
            "lower_is_better": False,
            "score_type": "continuous",
            "min_score": 0.0,
            "max_score": 1.0,
        },
        "score_details": {
            "score": score.mean,
            **_uncertainty(row, name),
            "details": _known(
                seeds=score.n,
                standard_deviation_over_seeds=score.sd,
                warnings="; ".join(row.warnings) or None,
                **(_standing(row) if name == "macro_f1" else {}),
            ),
        },
    }


def _uncertainty(row: Row, name: str) -> dict[str, Any]:
    interval = {"macro_f1": row.macro_interval, "official_f1": row.official_interval,
                "macro_ap": row.ap_interval}.get(name)  # fmt: skip
    if interval is None or not row.interval_by_samples:
        return {}
    return {
        "uncertainty": {
            "confidence_interval": {
                "lower": interval[0], "upper": interval[1], "confidence_level": 0.95,
                "method": "t and jackknife standard error over conclusions (and seeds), on the "
                "scale of 1 / score",
            },
        }
    }  # fmt: skip


def _standing(row: Row) -> dict[str, Any]:
    standing, moved = row.standing, row.influence
    details: dict[str, Any] = {}
    if standing is not None and standing.ranks is not None:
        details |= {"can_be_best": standing.can_be_best, "ranks": text.ranks(standing.ranks)}
    if moved is not None:
        details["without_any_one_conclusion"] = f"{moved.low:.4f} to {moved.high:.4f}"
    return details


def _known(**details: Any) -> dict[str, str]:
    """Return what is known, as the strings that the schema asks for."""
    return {key: str(value) for key, value in details.items() if value is not None}


def _developer(row: Row, given: str | None) -> str:
    organisation, slash, _ = row.name.partition("/")
    return slug(organisation) if slash else slug(given or "unknown")


def _epoch(date: str) -> int:
    if not date:
        return 0
    moment = datetime.strptime(date, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return int(moment.timestamp())


# ------------------------------------------------------------------------------- lines


def _arguments(board: Board) -> dict[str, Argument]:
    """Return a board's arguments by id, from the data at hand."""
    data = load_data(board.dataset)
    if data.sha256 != board.data_sha256:
        raise ValueEvalError(
            f"--instances texts: {board.title}: the results are of data {board.data_sha256[:12]}, "
            f"the data at hand are {data.sha256[:12]}"
        )
    return dict(zip(data.ids, data.arguments, strict=True))


def _lines(
    board: Board, row: Row, record: dict[str, Any], arguments: dict[str, Argument]
) -> list[str]:
    """Return a JSON line for each argument; none if a run of the row has no samples."""
    try:
        runs = [read_checked(run) for run in row.runs]
    except SamplesError:
        return []  # said already where the table is made
    if not all(run.same_arguments(runs[0]) for run in runs):
        return []
    return [
        json.dumps(line, ensure_ascii=False) + "\n"
        for line in _instances(board, row, record, runs, arguments)
    ]


def _instances(
    board: Board,
    row: Row,
    record: dict[str, Any],
    runs: list[Predictions],
    arguments: dict[str, Argument],
) -> Iterator[dict[str, Any]]:
    """Yield what is said of each argument; several seeds are several outputs."""
    first = runs[0]
    method = extraction(row.run.template)
    results = [each["evaluation_result_id"] for each in record["evaluation_results"]]
    result = "valueeval.subset_accuracy"
    shared = {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": record["evaluation_id"],
        "model_id": record["model_info"]["id"],
        "evaluation_name": record["evaluation_results"][0]["evaluation_name"],
        **({"evaluation_result_id": result} if result in results else {}),
    }
    right = np.array([(run.prediction == first.truth).all(axis=1) for run in runs])
    for place, argument in enumerate(first.ids):
        reference = _names(first.truth[place])
        raw = f"{_COLLECTION}/{board.dataset}/{argument}"
        if argument in arguments:
            said = arguments[argument]
            raw = f"Premise: {said.premise}\nStance: {said.stance}\nConclusion: {said.conclusion}"
        outputs = ["; ".join(_names(run.prediction[place])) for run in runs]
        scores = [run.scores[place].round(4).tolist() for run in runs if run.scores is not None]
        hashed = json.dumps(
            {"raw": raw, "reference": reference}, sort_keys=True, separators=(",", ":")
        )
        yield {
            **shared,
            "sample_id": argument,
            "sample_hash": hashlib.sha256(hashed.encode()).hexdigest(),
            "interaction_type": "single_turn",
            "input": {"raw": raw, "reference": reference},
            "output": {"raw": outputs},
            "answer_attribution": [
                {"turn_idx": 0, "source": "output.raw", "extracted_value": output,
                 "extraction_method": method, "is_terminal": True}
                for output in outputs
            ],
            "evaluation": {
                "score": float(right[:, place].mean()),
                "is_correct": bool(right[:, place].all()),
            },
            "metadata": _known(
                set=board.dataset,
                input="text" if argument in arguments else "by id, without text",
                scores=json.dumps(scores) if len(scores) == len(runs) else None,
            ),
        }  # fmt: skip


def extraction(template: str) -> str:
    """Return how decisions came about, as far as it is known: a run file does not say it."""
    if not template:
        return "unknown"
    return "threshold" if template in _BY_SCORE else "parsed answer"


def _names(labels: Any) -> list[str]:
    """Return the names of the values that hold."""
    return [name for name, holds in zip(VALUE_NAMES, labels, strict=True) if holds]
