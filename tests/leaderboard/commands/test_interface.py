"""Leaderboards and comparisons in Python: the same as the commands, and shown in Jupyter."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from leaderboard_results import documents, manifest, outputs, predictions, write_results

import valueeval
import valueeval.leaderboard
from valueeval.leaderboard.commands import compare as cli_compare
from valueeval.leaderboard.commands.interface import compare, leaderboard
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_SLUGS

DOCS = documents()


def test_the_package_can_be_called(results: Path) -> None:
    assert repr(valueeval.leaderboard(results)) == repr(leaderboard([results]))


def test_a_frame_has_the_rows_and_columns_of_the_csv(results: Path) -> None:
    found = leaderboard(str(results))
    frame = found.to_pandas()
    lines = list(csv.DictReader(outputs(results, ".csv")[".csv"].splitlines()))
    assert list(frame.columns) == list(lines[0])
    assert frame["system"].tolist() == [line["system"] for line in lines]
    written = [float(line["macro_f1"] or "nan") for line in lines]
    assert frame["macro_f1"].astype(float).tolist() == pytest.approx(written, rel=1e-5, nan_ok=True)
    assert found.to_markdown() == str(found)
    assert any("results_bad.json" in problem for problem in found.problems)


def test_a_leaderboard_shows_itself_as_text_only(tmp_path: Path) -> None:
    write_results(tmp_path, model="<script>alert(1)</script>")
    shown = leaderboard(tmp_path)._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "Main test set" in shown


def test_progress_and_reference(results: Path) -> None:
    steps: list[int] = []

    def show_progress(files: int) -> object:
        steps.append(files)
        return lambda: steps.append(1)

    leaderboard(results, show_progress=show_progress)  # type: ignore[arg-type]
    assert steps[0] == len(steps) - 1 > 0
    with pytest.raises(ValueEvalError, match="--reference nobody: no ranked row is called so"):
        leaderboard(results, reference="nobody")


def test_a_comparison_has_the_numbers_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    a = write_results(tmp_path / "a", prediction=predictions(DOCS, 0.9), model="good")
    b = write_results(tmp_path / "b", prediction=predictions(DOCS, 0.2), model="<b>bad")
    found = compare(a, tmp_path / "b")
    assert cli_compare.main([str(a), str(b), "--show", "0"]) == 0
    assert str(found) == capsys.readouterr().out
    assert found.verdict in str(found)
    assert found.verdict in repr(found)
    frame = found.to_pandas()
    assert frame["metric"].tolist() == [
        "macro_f1",
        "official_f1",
        *(f"f1_{s}" for s in VALUE_SLUGS),
    ]
    assert np.allclose(frame["b"] - frame["a"], frame["difference"])
    given = frame["difference_low"].notna()  # values of too few conclusions have no interval
    assert given[:2].all()
    assert (frame["difference_low"] <= frame["difference"])[given].all()
    assert "<b>bad" not in found._repr_html_()


def test_seeds_and_tasks(tmp_path: Path) -> None:
    for side, skill in (("a", 0.9), ("b", 0.5)):
        for seed in (1, 2):
            name = f"{side}-s{seed}"
            write_results(
                tmp_path / name, prediction=predictions(DOCS, skill, seed), kind="valueeval",
                model=name, adapter=manifest(seed=seed), model_args={"adapter": name},
            )  # fmt: skip
    places = [[tmp_path / f"{side}-s{seed}" for seed in (1, 2)] for side in "ab"]
    found = compare(*places)
    assert [len(found.pair.a), len(found.pair.b)] == [2, 2]
    for side in "ab":
        write_results(tmp_path / f"{side}-s1", model=f"{side}-s1", template="bca", day=2)
    with pytest.raises(ValueEvalError, match="say task=, one of valueeval_bca, valueeval_cls"):
        compare(*places)
    only = compare(*places, task="valueeval_cls").to_pandas()
    assert only.equals(found.to_pandas())
