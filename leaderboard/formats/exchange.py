"""Results in the formats of others: Hugging Face's `model-index` and every_eval_ever.

`model-index` is the block of a model card's metadata that holds evaluation results (format:
``modelcard.md`` in github.com/huggingface/hub-docs). every_eval_ever is the shared schema of the
EvalEval coalition (version 0.3.0, ``eval.schema.json`` in github.com/evaleval/every_eval_ever).
Both carry ranked rows only: what is not comparable here is not handed on.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from datetime import datetime, timezone
from typing import Any

import yaml

from valueeval.leaderboard import text
from valueeval.leaderboard.table.table import RANKED, SET_TITLES, Board, Row, Table
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUES

DATASET = "webis/Touche23-ValueEval"
EEE_VERSION = "0.3.0"
_SPLITS = {"main": "test", "validation": "val"}
_DESCRIPTIONS = {
    "macro_f1": "Mean of the F1 of the 20 values",
    "official_f1": "Harmonic mean of macro-precision and macro-recall (SemEval-2023 Task 4)",
    "macro_ap": "Mean average precision over the 20 values",
    "micro_f1": "F1 of all decisions pooled",
    "macro_precision": "Mean precision of the 20 values",
    "macro_recall": "Mean recall of the 20 values",
    "subset_accuracy": "Share of arguments with all 20 values right",
}


# ------------------------------------------------------------------------------- model-index


def model_index(table: Table) -> str:
    """Return YAML metadata for model cards, one entry a system, for the card's front matter."""
    models: dict[str, list[dict[str, Any]]] = {}
    for board in table.boards:
        if board.status == RANKED:
            for row in board.rows:
                models.setdefault(row.name, []).append(_model_index_result(board, row))
    content = {"model-index": [{"name": name, "results": results}
                               for name, results in models.items()]}  # fmt: skip
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100))


def _model_index_result(board: Board, row: Row) -> dict[str, Any]:
    metrics = []
    for name in _DESCRIPTIONS:
        value = row.mean(name)
        if value is not None:
            kind = "f1" if name in ("macro_f1", "micro_f1") else name
            metrics.append({"type": kind, "name": name, "value": round(value, 6)})
    return {
        "task": {"type": "text-classification", "name": "Human value detection (multi-label)"},
        "dataset": {
            "type": DATASET,
            "name": f"Touché23-ValueEval ({SET_TITLES.get(board.dataset, board.dataset)})",
            "config": row.run.task or "run file",
            "split": board.dataset,
        },
        "metrics": metrics,
    }


# ------------------------------------------------------------------------------- every_eval_ever


def eval_results(table: Table) -> dict[str, str]:
    """Return ``.eval_results`` files for model repositories of the hub, by path, one a ranked row.

    Raises:
        ValueEvalError: The installed huggingface_hub does not write them yet.
    """
    try:
        from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
    except ImportError as error:
        raise ValueEvalError(
            "--eval-results: this huggingface_hub does not write .eval_results files: update it"
        ) from error
    entries: dict[str, list[EvalResultEntry]] = {}
    for board in table.boards:
        if board.status != RANKED:
            continue
        for row in board.rows:
            interval = text.interval(row.macro_interval)
            entry = EvalResultEntry(
                dataset_id=DATASET, task_id=board.dataset, value=round(row.macro_f1, 6),
                date=f"{day}Z" if (day := max(run.date for run in row.runs)) else None,
                source_url=row.link,
                notes=f"macro_f1{f', 95 % {interval}' if interval else ''}; template {row.prompt}; "
                f"{row.run.method}",
            )  # fmt: skip
            entries.setdefault(_slug(row.name), []).append(entry)
    return {
        f"{name}/.eval_results/touche23-valueeval.yaml": str(
            yaml.safe_dump(
                eval_result_entries_to_yaml(of_row), sort_keys=False, allow_unicode=True, width=100
            )
        )
        for name, of_row in entries.items()
    }


def every_eval_ever(table: Table, developer: str | None = None) -> dict[str, str]:
    """Return JSON records by their path below the data folder, one for each ranked row.

    Args:
        table: The leaderboard.
        developer: Who made the systems whose names do not say it (``organisation/model`` does).
    """
    files = {}
    for board in table.boards:
        if board.status == RANKED:
            for row in board.rows:
                record = _record(board, row, developer)
                # The same row always gets the same name.
                digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).digest()
                name = f"{uuid.UUID(bytes=digest[:16], version=4)}.json"
                model = _slug(row.name.rpartition("/")[2])
                path = f"touche23-valueeval/{_developer(row, developer)}/{model}/{name}"
                files[path] = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    return files


def _record(board: Board, row: Row, given: str | None) -> dict[str, Any]:
    run, developer = row.run, _developer(row, given)
    stamp = str(_epoch(max(each.date for each in row.runs)))
    identity = f"touche23-valueeval/{developer}/{_slug(row.name)}"
    return {
        "schema_version": EEE_VERSION,
        "evaluation_id": f"{identity}/{_slug(run.task or 'run-file')}/{stamp}",
        "evaluation_timestamp": stamp,
        "retrieved_timestamp": stamp,
        "source_metadata": {
            "source_name": "ValueEval leaderboard",
            "source_type": "evaluation_run",
            "source_organization_name": "lm-eval-valueeval",
            "evaluator_relationship": "other",
        },
        "eval_library": {
            "name": "lm_eval",
            "version": run.versions.get("lm_eval", "unknown"),
            "additional_details": {"task": run.task, "task_version": run.version},
        },
        "model_info": {
            "name": row.name,
            "id": row.name if "/" in row.name else f"{developer}/{_slug(row.name)}",
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
            for name, description in _metric_descriptions().items()
            if row.mean(name) is not None
        ],
    }  # fmt: skip


def _metric_descriptions() -> dict[str, str]:
    return {**_DESCRIPTIONS, **{f"f1_{value.slug}": f"F1 of the value {value.name}"
                                for value in VALUES}}  # fmt: skip


def _result(board: Board, row: Row, name: str, description: str) -> dict[str, Any]:
    score = row.scores[name]
    return {
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
    return _slug(organisation) if slash else _slug(given or "unknown")


def _slug(name: str) -> str:
    """Return a name that is safe as part of a path."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "unnamed"


def _epoch(date: str) -> int:
    if not date:
        return 0
    moment = datetime.strptime(date, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return int(moment.timestamp())
