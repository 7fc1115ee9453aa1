"""The leaderboard as JSON: all that the other formats show, at full precision."""

from __future__ import annotations

import json

from valueeval.leaderboard.table.records import records
from valueeval.leaderboard.table.table import Table
from valueeval.tasks.values import VALUE_NAMES


def render(table: Table) -> str:
    """Return `table` as strict JSON; missing is null."""
    content = {
        "schema_version": 2,
        "values": list(VALUE_NAMES),
        "findings": [
            {"board": board.title, "conclusions": board.clusters, "finding": board.finding}
            for board in table.boards
            if board.finding
        ],
        "rows": records(table),
        "notes": list(table.notes),
        "not_used": [{"source": each.source, "reason": each.reason} for each in table.problems],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
