"""The leaderboard as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from leaderboard_results import (
    outputs,
)

from valueeval.tasks.values import VALUE_NAMES


def test_json_is_strict_and_says_what_was_not_used(results: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    content = json.loads(outputs(results, ".json")[".json"], parse_constant=refuse)
    assert content["values"] == list(VALUE_NAMES)
    assert content["not_used"][0]["source"] == "results/results_bad.json"
    ranked = [row for row in content["rows"] if row["status"] == "ranked"]
    assert [row["rank"] for row in ranked] == [1, 2, 3]
    assert all(len(row["f1"]) == 20 for row in ranked)
    assert len({tuple(row) for row in content["rows"]}) == 1, "all rows have the same keys"
