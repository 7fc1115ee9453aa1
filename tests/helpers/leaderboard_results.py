"""Realistic results files of lm-eval for the tests of the leaderboard, from random predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valueeval.leaderboard.commands.leaderboard import main
from valueeval.leaderboard.reading.finding import find_results
from valueeval.leaderboard.reading.results_files import read_manifests, read_results
from valueeval.leaderboard.table.collate import collate
from valueeval.leaderboard.table.table import Table
from valueeval.tasks.scores.scoring import AGGREGATIONS, metric_entries
from valueeval.tasks.values import VALUE_NAMES

OFFICIAL_SHA = "0" * 63 + "1"
SAMPLE_SHA = "0" * 63 + "2"
# Uneven, as in the real data, but worth enough degrees of freedom for intervals.
CLUSTER_SIZES = (9, 8, 7, 6, 6, 5, 5, 4, 4, 3, 2, 1)
BoolArray = npt.NDArray[np.bool_]
ScoreArray = npt.NDArray[np.float64]


def documents(sizes: Sequence[int] = CLUSTER_SIZES, seed: int = 7) -> list[dict[str, Any]]:
    """Arguments as they stand in samples, with labels; every value has a positive."""
    rng = np.random.default_rng(seed)
    docs = []
    for cluster, size in enumerate(sizes):
        share = np.clip(rng.beta(0.6, 2.0, 20), 0.02, 0.9)
        for number in range(size):
            labels = (rng.random(20) < share).astype(int)
            docs.append({"id": f"A{cluster:02d}{number:03d}", "conclusion": f"Conclusion {cluster}",
                         "stance": "against", "premise": f"Premise {cluster}.{number}",
                         "labels": labels.tolist()})  # fmt: skip
    for value in range(20):
        docs[value]["labels"][value] = 1
    return docs


def predictions(docs: Sequence[Mapping[str, Any]], skill: float, seed: int = 0) -> BoolArray:
    """(n, 20): labels kept with probability `skill`, else drawn at the values' frequency."""
    rng = np.random.default_rng(seed)
    truth = np.array([doc["labels"] for doc in docs], dtype=bool)
    drawn = rng.random(truth.shape) < truth.mean(0)
    return np.where(rng.random(truth.shape) < skill, truth, drawn)


def likely(docs: Sequence[Mapping[str, Any]], skill: float, seed: int = 0) -> ScoreArray:
    """Return scores, (n, 20): normal noise, shifted by `skill` where the label holds."""
    rng = np.random.default_rng(seed)
    truth = np.array([doc["labels"] for doc in docs], dtype=bool)
    return rng.normal(size=truth.shape) - 1 + skill * truth


def manifest(**changes: Any) -> dict[str, Any]:
    """An adapter's manifest (`valueeval.json`) as far as results hold it."""
    base: dict[str, Any] = {
        "schema_version": 1, "template": "cls", "head": {"kind": "linear", "pooling": "mean"},
        "labels": list(VALUE_NAMES), "method": "full", "objective": "bce",
        "base_model": {"name": "minilm", "revision": None, "sha256": "a" * 64},
        "thresholds": {"values": [0.5] * 20, "split": "validation", "metric": "macro_f1"},
        "parameters": {"total": 22_720_916, "trainable": 22_720_916},
        "data": {"set": "training", "name": "touche23", "size": 5393, "sha256": "b" * 64},
        "seed": 1, "config": {"seed": 1, "epochs": 3, "output": "runs/minilm"},
        "versions": {"torch": "2.13.0"},
    }  # fmt: skip
    return {**base, **changes}


def write_results(
    folder: Path,
    *,
    docs: Sequence[Mapping[str, Any]] | None = None,
    prediction: BoolArray | None = None,
    scores: ScoreArray | None = None,
    template: str = "cls",
    paraphrase: int = 1,
    dataset: str = "main",
    model: str = "runs/minilm",
    adapter: Mapping[str, Any] | None = None,
    kind: str = "hf",
    model_args: Mapping[str, Any] | str | None = None,
    parameters: int = 22_720_916,
    version: float | str = 1.0,
    sha: str = OFFICIAL_SHA,
    official: bool = True,
    sample: bool = False,
    limit: int | None = None,
    shots: int = 0,
    day: int = 1,
    samples: bool = True,
    metrics: Mapping[str, Any] | None = None,
    change: Any = None,
) -> Path:
    """Writes ``results_<date>.json`` and, beside it, its samples; returns the results file.

    With `scores`, (n, 20), these decide: predicted is what is above 0. `metrics` overrides
    single scores; `change` is called with the whole content before writing.
    """
    docs = documents() if docs is None else docs
    if scores is not None:
        prediction = scores > 0
    prediction = predictions(docs, 0.6) if prediction is None else prediction
    given = [None] * len(docs) if scores is None else scores.tolist()
    entries = [_entries(*each) for each in zip(docs, prediction, given, strict=True)]
    task = f"valueeval_{template}" + (f"_p{paraphrase}" if paraphrase > 1 else "")
    task += "" if dataset == "main" else f"_{dataset}"
    scores = {f"{name},none": aggregate([entry[name] for entry in entries])
              for name, aggregate in AGGREGATIONS.items()}  # fmt: skip
    scores |= {f"{name},none": value for name, value in (metrics or {}).items()}
    date = datetime(2026, 11, day, 9, 30, tzinfo=timezone.utc)
    original = len(docs) if limit is None else len(docs) + 100
    arguments = model_args if model_args is not None else {"pretrained": model}
    content: dict[str, Any] = {
        "results": {task: {"name": task, "alias": task, "sample_len": len(docs), **scores}},
        "group_subtasks": {task: []},
        "configs": {task: {"task": task, "metadata": {
            "version": version, "template": template, "paraphrase": paraphrase, "set": dataset,
            "data_sha256": sha, "data_official": official, "sample": sample,
            "licence": "CC BY 4.0", "citation": "…", "config_source": "valueeval"}}},
        "versions": {task: version},
        "n-shot": {task: shots},
        "higher_is_better": {task: {"macro_f1": True}},
        "n-samples": {task: {"original": original, "effective": len(docs)}},
        "config": {"model": kind, "model_args": arguments, "model_num_parameters": parameters,
                   "model_sha": "", "batch_size": "8", "device": "cpu", "limit": limit,
                   "gen_kwargs": None, "random_seed": 0, "fewshot_seed": 1234},
        "git_hash": None,
        "date": date.timestamp(),
        "transformers_version": "5.23.0",
        "lm_eval_version": "0.4.13",
        "model_source": kind, "model_name": model, "system_instruction": None,
        "system_instruction_sha": None, "fewshot_as_multiturn": None, "chat_template": None,
        "chat_template_sha": None, "total_evaluation_time_seconds": "12.5",
    }  # fmt: skip
    if adapter is not None:
        content["config"]["valueeval"] = dict(adapter)
    if change is not None:
        change(content)
    folder.mkdir(parents=True, exist_ok=True)
    date_id = f"2026-11-{day:02d}T10-30-00.123456"
    if samples:
        lines = (json.dumps(_sample(i, doc, entry), ensure_ascii=False) + "\n"
                 for i, (doc, entry) in enumerate(zip(docs, entries, strict=True)))  # fmt: skip
        (folder / f"samples_{task}_{date_id}.jsonl").write_text("".join(lines), encoding="utf-8")
    path = folder / f"results_{date_id}.json"
    path.write_text(json.dumps(content, indent=2, ensure_ascii=True), encoding="utf-8")
    return path


def _entries(
    doc: Mapping[str, Any], prediction: BoolArray, scores: list[float] | None
) -> dict[str, Any]:
    return metric_entries(
        id=doc["id"], conclusion=doc["conclusion"], labels=doc["labels"],
        prediction=[int(value) for value in prediction], scores=scores, unparsed=0.0,
    )  # fmt: skip


def _sample(number: int, doc: Mapping[str, Any], entries: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "doc_id": number, "doc": dict(doc), "target": "…",
        "arguments": {"gen_args_0": {"arg_0": f"Premise: {doc['premise']}", "arg_1": " yes"}},
        "resps": [[["-1.5", "False"]]], "filtered_resps": [["-1.5", "False"]],
        "filter": "none", "metrics": list(entries), "doc_hash": "d", "prompt_hash": "p",
        "target_hash": "t", **entries,
    }  # fmt: skip


def table_of(*places: Path, adapters: tuple[Path, ...] = ()) -> Table:
    """Return the table of results files, without statistics."""
    return collate(*read_results(find_results(places), read_manifests(adapters)))


def statuses(table: Table) -> list[tuple[str, str, int]]:
    """Return status, set and number of rows of each board that has any."""
    return [(board.status, board.dataset, len(board.rows)) for board in table.boards if board.rows]


def only_row(table: Table) -> Any:
    """Return the one row of a table."""
    (row,) = [row for board in table.boards for row in board.rows]
    return row


def outputs(results: Path, *endings: str, options: Sequence[str] = ()) -> dict[str, str]:
    """Return what `valueeval leaderboard` writes, by the ending of the file."""
    out = results.parent / "out"
    arguments = [str(results), *options]
    for ending in endings:
        arguments += ["-o", str(out / f"board{ending}")]
    assert main(arguments) == 0
    return {ending: (out / f"board{ending}").read_text(encoding="utf-8") for ending in endings}
