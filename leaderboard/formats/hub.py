"""Results for the Hugging Face hub: `model-index` and ``.eval_results`` files.

`model-index` is the block of a model card's metadata that holds evaluation results (format:
``modelcard.md`` in github.com/huggingface/hub-docs). Both carry ranked rows only: what is not
comparable here is not handed on.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import Any

import yaml

from valueeval.leaderboard import text
from valueeval.leaderboard.table.table import RANKED, SET_TITLES, Board, Row, Table
from valueeval.tasks.errors import ValueEvalError

DATASET = "webis/Touche23-ValueEval"
DESCRIPTIONS = {  # of metrics; to be filled with the number of values that occur in a set
    "macro_f1": "Mean of the F1 of {values} values",
    "official_f1": "Harmonic mean of macro-precision and macro-recall (SemEval-2023 Task 4)",
    "macro_ap": "Mean average precision over {values} values",
    "micro_f1": "F1 of all decisions pooled",
    "macro_precision": "Mean precision of {values} values",
    "macro_recall": "Mean recall of {values} values",
    "subset_accuracy": "Share of arguments with all 20 values right",
}


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
    for name in DESCRIPTIONS:
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
    told_apart = marks(table)
    for board in table.boards:
        if board.status != RANKED:
            continue
        for row in board.rows:
            interval = text.interval(row.macro_interval)
            entry = EvalResultEntry(
                dataset_id=DATASET, task_id=board.dataset, value=round(row.macro_f1, 6),
                date=f"{day}Z" if (day := max(run.date for run in row.runs)) else None,
                source_url=row.link,
                notes="; ".join((
                    f"macro_f1{f', 95 % {interval}' if interval else ''}",
                    f"template {row.prompt}", row.run.method, *row.warnings,
                )),
            )  # fmt: skip
            entries.setdefault(slug(row.name) + told_apart[row.name], []).append(entry)
    return {
        f"{name}/.eval_results/touche23-valueeval.yaml": str(
            yaml.safe_dump(
                eval_result_entries_to_yaml(of_row), sort_keys=False, allow_unicode=True, width=100
            )
        )
        for name, of_row in entries.items()
    }


def marks(table: Table) -> dict[str, str]:
    """Return for each row's name what tells its slug from other rows': a hash, or nothing.

    Names may differ in signs that no slug has, or be in another script altogether.
    """
    names = {row.name for board in table.boards for row in board.rows}
    shared = Counter(map(slug, names))
    return {name: f"-{_digest(name)}" if shared[slug(name)] > 1 else "" for name in names}


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:6]


def slug(name: str) -> str:
    """Return a name that is safe as part of a path."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "unnamed"
