"""The leaderboard as JSON."""

from __future__ import annotations

import csv
import json
from importlib import resources
from pathlib import Path

import jsonschema
from leaderboard_results import (
    outputs,
)

from valueeval.leaderboard.formats import to_json
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


def test_json_and_csv_have_the_columns_of_the_schema(results: Path) -> None:
    file = resources.files(to_json.__package__).joinpath("leaderboard.schema.json")
    schema = json.loads(file.read_text(encoding="utf-8"))
    content = outputs(results, ".json", ".csv", options=["--reference", "minilm"])
    jsonschema.validate(
        json.loads(content[".json"]), schema, jsonschema.Draft202012Validator,
        format_checker=jsonschema.FormatChecker(),
    )  # fmt: skip
    columns = schema["properties"]["rows"]["items"]["properties"]
    assert all(column["description"] for column in columns.values())
    header = next(csv.reader(content[".csv"].splitlines()))
    plain = [name for name in header if not name.startswith(("f1_", "precision_", "recall_"))]
    assert plain == [name for name in columns if name not in ("f1", "precision", "recall")]
    assert len(header) - len(plain) == 60
