"""The leaderboard as CSV: one line a row, published systems included and marked in `status`."""

from __future__ import annotations

import csv
import io
from typing import Any

from valueeval.leaderboard import text
from valueeval.leaderboard.table.records import records
from valueeval.leaderboard.table.table import Table
from valueeval.tasks.values import VALUE_SLUGS

_PER_VALUE = ("f1", "precision", "recall")


def render(table: Table) -> str:
    """Return `table` as CSV; missing is empty; no cell is a formula to a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    lines = [flat(record) for record in records(table)]
    writer.writerow(lines[0])
    writer.writerows([_cell(value) for value in line.values()] for line in lines)
    return out.getvalue()


def flat(record: dict[str, Any]) -> dict[str, Any]:
    """Turn lists of one score per value into a column per value."""
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if key in _PER_VALUE:
            values = value or [None] * len(VALUE_SLUGS)
            flat |= {f"{key}_{slug}": one for slug, one in zip(VALUE_SLUGS, values, strict=True)}
        else:
            flat[key] = value
    return flat


def _item(value: Any) -> str:
    """Return ``3f1c92ab (124 arguments): 0.432`` for a conclusion: the score without it."""
    if not isinstance(value, dict):
        return str(value)
    return f"{value['key']} ({value['arguments']} arguments): {value['without']:.4f}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        value = "; ".join(map(_item, value))
    return text.csv(value) if isinstance(value, str) else str(value)
