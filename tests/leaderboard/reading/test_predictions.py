"""Samples beside results: used only where they fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from leaderboard_results import (
    documents,
    outputs,
    predictions,
    write_results,
)

DOCS = documents()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda lines: lines[:-1], "59 samples, but the results are of 60"),
        (lambda lines: [*lines[:-1], lines[-1][:50]], "line 60 is not valid JSON"),
        (lambda lines: [*lines[:-1], lines[0]], "appears twice"),
        (lambda lines: ["{}\n", *lines[1:]], "line 1 is not a sample"),
        (lambda lines: [], "empty file"),
        (lambda lines: [line.replace('"prediction": [0', '"prediction": [7') for line in lines],
         "is not a sample"),
        (lambda lines: [line.replace('"prediction": [1', '"prediction": [0') for line in lines],
         "by the samples but"),
    ],
)  # fmt: skip
def test_samples_that_do_not_fit_their_results_are_not_used(
    tmp_path: Path, damage: Any, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_results(tmp_path / "results", prediction=predictions(DOCS, 0.9))
    (samples,) = path.parent.glob("samples_*")
    lines = samples.read_text(encoding="utf-8").splitlines(keepends=True)
    samples.write_text("".join(damage(lines)), encoding="utf-8")
    page = json.loads(outputs(tmp_path / "results", ".json")[".json"])
    assert reason in page["not_used"][0]["reason"]
    assert reason in capsys.readouterr().err
    row = page["rows"][0]
    assert (row["rank"], row["interval_from"], row["can_be_best"]) == (1, "results", None)


def test_samples_on_other_labels_are_not_compared(tmp_path: Path) -> None:
    other = [dict(doc) for doc in DOCS]
    other[0] = {**other[0], "labels": [1 - label for label in other[0]["labels"]]}
    write_results(tmp_path / "results/a", model="a", prediction=predictions(DOCS, 0.9))
    write_results(tmp_path / "results/b", model="b", docs=other, prediction=predictions(DOCS, 0.2))
    page = json.loads(outputs(tmp_path / "results", ".json")[".json"])
    assert "other arguments or labels" in page["not_used"][0]["reason"]
    assert [row["interval_from"] for row in page["rows"][:2]] == ["samples", "results"]
