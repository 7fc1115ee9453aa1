"""The leaderboard as CSV."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from leaderboard_results import (
    manifest,
    outputs,
    write_results,
)


def test_csv_has_every_row_and_column_and_missing_is_empty(results: Path) -> None:
    rows = list(csv.DictReader(outputs(results, ".csv")[".csv"].splitlines()))
    by_status: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_status.setdefault(row["status"], []).append(row)
    assert {key: len(by_status[key]) for key in ("ranked", "other wording", "sample")} == {
        "ranked": 3, "other wording": 1, "sample": 1,
    }  # fmt: skip
    minilm, *_, gamed = sorted(by_status["ranked"], key=lambda row: int(row["rank"]))
    assert (minilm["system"], minilm["seeds"], minilm["seed_list"]) == ("minilm", "2", "1; 2")
    assert minilm["can_be_best"] == "yes"
    assert (
        float(minilm["macro_f1_low"]) < float(minilm["macro_f1"]) < float(minilm["macro_f1_high"])
    )
    assert (gamed["parameters"], gamed["can_be_best"], gamed["gamed"]) == ("", "", "yes")
    assert by_status["sample"][0]["rank"] == ""
    john = next(row for row in rows if row["system"] == "John Arthur")
    assert (john["status"], john["macro_f1"], john["official_f1"]) == ("published", "", "0.55")


def test_training_s_cost_is_the_median_of_the_seeds_that_tell(tmp_path: Path) -> None:
    costs: list[dict[str, Any]] = [
        {"seconds": 60.0, "peak_memory_bytes": 100},
        {"seconds": 90.0, "peak_memory_bytes": 300},
        {"seconds": 600, "peak_memory_bytes": 200, "peak_device_bytes": 500},
        {"seconds": "long", "peak_memory_bytes": 10**400},
    ]
    for seed, cost in enumerate(costs):
        write_results(tmp_path / "results" / str(seed), kind="valueeval", model=f"minilm-s{seed}",
                      adapter=manifest(seed=seed, **cost),
                      model_args={"adapter": f"minilm-s{seed}"})  # fmt: skip
    rows = csv.DictReader(outputs(tmp_path / "results", ".csv")[".csv"].splitlines())
    (row,) = (row for row in rows if row["status"] == "ranked")
    assert (row["seeds"], row["training_seconds"], row["training_memory_bytes"]) == (
        "4",
        "90",
        "200",
    )
    assert row["training_device_memory_bytes"] == "500"
