"""Rows as plain values, one mapping a row: what CSV, JSON and the HTML page are written from."""

from __future__ import annotations

import statistics
from typing import Any

from valueeval.leaderboard.published.systems import Published
from valueeval.leaderboard.reading.fields import number
from valueeval.leaderboard.reading.runs import SCORES
from valueeval.leaderboard.table.table import RANKED, WORDING, Board, Row, Table
from valueeval.tasks.values import VALUE_SLUGS


def records(table: Table) -> list[dict[str, Any]]:
    """Return every row of the table and every published system, in the order of the table.

    All mappings have the same keys; what is unknown or does not apply is ``None``.
    """
    return [record for board in table.boards for record in board_records(board)]


def board_records(board: Board) -> list[dict[str, Any]]:
    """Return the rows of one board, then the systems published on its set."""
    found = [_row_record(board, row) for row in board.rows]
    found += [_published_record(board, system) for system in board.published]
    keys = list(_row_keys())
    return [{key: record.get(key) for key in keys} for record in found]


def _row_keys() -> tuple[str, ...]:
    return (
        "board", "status", "set", "rank", "rank_low", "rank_high", "system", "run_name",
        "variant_of", "link", "base_model", "ensemble",
        "method", "template", "paraphrase", "shots", "parameters", "trainable_parameters",
        "training_data", "training_size", "training_seconds", "training_memory_bytes",
        "training_device_memory_bytes",
        "arguments", "conclusions", "seeds", "seed_list",
        "macro_f1", "macro_f1_sd", "macro_f1_stderr", "macro_f1_low", "macro_f1_high",
        "interval_from", "macro_f1_argument_low", "macro_f1_argument_high",
        "macro_f1_without_one_low", "macro_f1_without_one_high", "influence",
        "official_f1", "official_f1_sd", "official_f1_low", "official_f1_high",
        "macro_ap", "macro_ap_sd", "macro_ap_low", "macro_ap_high",
        "gamed", "micro_f1", "macro_precision", "macro_recall", "subset_accuracy",
        "predicted_rate", "unparsed", "answer_mass",
        "can_be_best", "is_reference", "difference", "difference_low", "difference_high",
        "p_corrected", "f1", "precision", "recall", "other_score",
        "task", "task_version", "data_sha256", "date", "lm_eval", "results", "warnings",
        "source", "note", "group",
    )  # fmt: skip


def _row_record(board: Board, row: Row) -> dict[str, Any]:
    run, standing = row.run, row.standing
    low, high = row.macro_interval or (None, None)
    argument_low, argument_high = row.argument_interval or (None, None)
    official_low, official_high = row.official_interval or (None, None)
    ap_low, ap_high = row.ap_interval or (None, None)
    rank_low, rank_high = (standing.ranks if standing else None) or (None, None)
    macro, official = row.scores["macro_f1"], row.scores.get("official_f1")
    ap, moved = row.scores.get("macro_ap"), row.influence
    record: dict[str, Any] = {
        "board": board.title, "status": board.status, "set": board.dataset,
        "rank": row.rank, "rank_low": rank_low, "rank_high": rank_high,
        "system": row.name, "run_name": row.folder or None, "variant_of": row.variant_of,
        "link": row.link, "base_model": run.base,
        "ensemble": run.members is not None, "method": run.method,
        "template": run.template or None, "paraphrase": run.paraphrase, "shots": run.shots,
        "parameters": run.parameters, "trainable_parameters": run.trainable,
        "training_data": run.training_data, "training_size": run.training_size,
        "training_seconds": _median(row, "seconds"),
        "training_memory_bytes": _median(row, "peak_memory_bytes"),
        "training_device_memory_bytes": _median(row, "peak_device_bytes"),
        "arguments": run.arguments,
        "conclusions": board.clusters if row.interval_by_samples else None,
        "seeds": macro.n, "seed_list": [each.seed for each in row.runs if each.seed is not None],
        "macro_f1_sd": macro.sd, "macro_f1_stderr": row.stderr,
        "macro_f1_low": low, "macro_f1_high": high,
        "interval_from": _interval_origin(row),
        "macro_f1_argument_low": argument_low, "macro_f1_argument_high": argument_high,
        "macro_f1_without_one_low": moved.low if moved else None,
        "macro_f1_without_one_high": moved.high if moved else None,
        "influence": [vars(each) for each in moved.conclusions] if moved else None,
        "macro_ap_sd": ap.sd if ap else None, "macro_ap_low": ap_low, "macro_ap_high": ap_high,
        "official_f1_sd": official.sd if official else None,
        "official_f1_low": official_low, "official_f1_high": official_high,
        "gamed": row.gamed,
        "f1": [row.mean(f"f1_{slug}") for slug in VALUE_SLUGS],
        "precision": list(row.precision) or None, "recall": list(row.recall) or None,
        "group": _group(board, row), "task": run.task, "task_version": run.version,
        "data_sha256": run.data_sha256,
        "date": max(each.date for each in row.runs) or None,
        "lm_eval": run.versions.get("lm_eval"),
        "results": [each.source for each in row.runs],
        "warnings": list(row.warnings),
    }  # fmt: skip
    record |= {name: row.mean(name) for name in SCORES}
    return record | _standing_record(row)


def _standing_record(row: Row) -> dict[str, Any]:
    standing = row.standing
    if standing is None:
        return {}
    record: dict[str, Any] = {
        "can_be_best": standing.can_be_best, "is_reference": standing.is_reference,
    }  # fmt: skip
    found = standing.difference
    if found is not None and not standing.is_reference:
        record |= {"difference": found.value, "difference_low": found.low,
                   "difference_high": found.high, "p_corrected": found.p}  # fmt: skip
    return record


def _median(row: Row, key: str) -> float | None:
    """Return the median over the runs whose manifest holds the number."""
    told = [number(each.manifest.get(key)) for each in row.runs]
    known = [value for value in told if value is not None]
    return statistics.median(known) if known else None


def _interval_origin(row: Row) -> str | None:
    if row.macro_interval is None:
        return None
    return "samples" if row.interval_by_samples else "results"


def _published_record(board: Board, system: Published) -> dict[str, Any]:
    return {
        "board": board.title,
        "status": "computed" if system.kind == "computed" else "published",
        "set": system.dataset or None,
        "system": system.system, "base_model": system.base or None,
        "method": system.shown_method or None,
        "parameters": system.parameters, "trainable_parameters": system.trainable,
        "macro_f1": system.macro_f1, "official_f1": system.official_f1,
        "f1": list(system.per_value) or None, "other_score": system.other or None,
        "source": system.source, "note": system.note or None,
    }  # fmt: skip


def spreads(table: Table) -> list[dict[str, Any]]:
    """Return the runs of one system on one template and set that differ by wording or seed.

    Each: group (its key, as in the records), data_sha256, system, method, template, and runs with
    paraphrase, seed and macro_f1; only where there are at least two runs.
    """
    found: dict[str, dict[str, Any]] = {}
    for board in table.boards:
        if board.status not in (RANKED, WORDING):
            continue
        for row in board.rows:
            spread = found.setdefault(
                _group(board, row),
                {"group": _group(board, row), "data_sha256": board.data_sha256, "system": row.name,
                 "method": row.run.method, "template": row.run.template, "runs": []},
            )  # fmt: skip
            spread["runs"] += [
                {"paraphrase": run.paraphrase, "seed": run.seed,
                 "macro_f1": run.metrics["macro_f1"]}
                for run in row.runs
            ]  # fmt: skip
    for spread in found.values():
        spread["runs"].sort(key=lambda run: (run["paraphrase"], run["seed"] or 0))
    several = [spread for spread in found.values() if len(spread["runs"]) > 1]
    return sorted(several, key=lambda spread: -max(run["macro_f1"] for run in spread["runs"]))


def _group(board: Board, row: Row) -> str:
    """Return a key that rows share which differ only in their wording."""
    return f"{board.dataset} {board.data_sha256[:8]} {row.run.template} {row.name}"
