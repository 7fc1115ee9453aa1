"""Intervals, standings and influence in the rows of a table."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from leaderboard_results import (
    documents,
    likely,
    manifest,
    only_row,
    outputs,
    predictions,
    table_of,
    write_results,
)

from valueeval.leaderboard.commands.leaderboard import main
from valueeval.leaderboard.inference.analysis import analyse
from valueeval.leaderboard.reading.predictions import Predictions
from valueeval.leaderboard.table.table import LIMITED, Board
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.average_precision import macro_ap
from valueeval.tasks.scores.intervals import interval
from valueeval.tasks.scores.jackknife import leave_one_out

DOCS = documents([8] * 30)
TRUTH = np.array([doc["labels"] for doc in DOCS], dtype=bool)
CONCLUSIONS = [doc["conclusion"] for doc in DOCS]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good system, one of two seeds nearly as good, a bad one; thirty even conclusions."""
    write_results(
        tmp_path / "r/good", model="good", docs=DOCS, prediction=predictions(DOCS, 0.80, 1)
    )
    for seed in (2, 3):
        write_results(tmp_path / f"r/near{seed}", docs=DOCS, kind="valueeval",
                      prediction=predictions(DOCS, 0.79, seed), adapter=manifest(seed=seed),
                      model=f"near-s{seed}", model_args={"adapter": f"near-s{seed}"})  # fmt: skip
    write_results(tmp_path / "r/bad", model="bad", docs=DOCS, prediction=predictions(DOCS, 0.1, 4))
    return tmp_path / "r"


def board_of(folder: Path, reference: str | None = None) -> Board:
    return analyse(table_of(folder), reference).boards[0]


def test_the_first_sentence_says_what_the_table_shows(folder: Path) -> None:
    finding = "2 of 3 systems can be the best (95 %, for all of them together)"
    pages = outputs(folder, ".md", ".html", ".json", ".tex")
    assert board_of(folder).finding.startswith(finding)
    for ending, page in pages.items():
        assert (finding.replace("%", r"\%") if ending == ".tex" else finding) in page
    (said,) = json.loads(pages[".json"])["findings"]
    assert (said["board"], said["conclusions"]) == ("Main test set", 30)


def test_a_row_has_a_standing_among_all_the_others(folder: Path) -> None:
    standings = {row.name: row.standing for row in board_of(folder).rows}
    found = {name: (s.can_be_best, s.ranks) for name, s in standings.items() if s is not None}
    assert found == {"good": (True, (1, 2)), "near": (True, (1, 2)), "bad": (False, (3, 3))}
    assert all(s is not None and s.difference is None for s in standings.values())


def test_rows_are_compared_with_the_row_that_a_user_names(folder: Path) -> None:
    board = board_of(folder, "near cls")
    assert board.reference is not None
    assert board.reference.name == "near"
    rows = {row.name: row for row in board.rows}
    good, near, bad = (rows[name].standing for name in ("good", "near", "bad"))
    assert good is not None
    assert near is not None
    assert bad is not None
    assert (near.is_reference, good.is_reference, bad.is_reference) == (True, False, False)
    assert good.difference is not None
    assert bad.difference is not None
    assert bad.difference.value == pytest.approx(rows["bad"].macro_f1 - rows["near"].macro_f1)
    assert bad.difference.told_apart
    assert not good.difference.told_apart
    pages = outputs(folder, ".md", ".html", ".csv", options=("--reference", "near"))
    assert "| vs minilm |" in pages[".md"], "as it is shown"
    (line,) = [line for line in pages[".md"].splitlines() if line.startswith("| 3 |")]
    assert f"**{bad.difference.value:+.3f} [{bad.difference.low:+.3f}" in line
    assert "vs reference" in pages[".html"]
    csv_rows = {row["system"]: row for row in csv.DictReader(io.StringIO(pages[".csv"]))}
    assert float(csv_rows["bad"]["difference"]) == pytest.approx(bad.difference.value, abs=1e-5)
    assert csv_rows["minilm"]["is_reference"] == "yes"
    assert csv_rows["minilm"]["difference"] == ""


def test_a_reference_that_is_not_one_row_is_refused(folder: Path, tmp_path: Path) -> None:
    write_results(folder / "again", model="good", template="bca", docs=DOCS,
                  prediction=predictions(DOCS, 0.5))  # fmt: skip
    for name, message in (
        ("god", "no ranked row is called so; there are good"),
        ("good", "several rows are called so; say 'good cls', 'good bca'"),
    ):
        with pytest.raises(ValueEvalError, match=message):
            main([str(folder), "-o", str(tmp_path / "x.md"), "--reference", name])
    assert not (tmp_path / "x.md").exists()


def test_no_p_stands_alone_and_no_column_is_empty_without_a_reference(folder: Path) -> None:
    pages = outputs(folder, ".md", ".html", ".tex", ".csv")
    assert "| vs" not in pages[".md"]
    assert "vs reference" not in pages[".html"]
    assert "Delta" not in pages[".tex"]
    for row in csv.DictReader(io.StringIO(pages[".csv"])):
        assert row["p_corrected"] == ""


def test_intervals_are_those_of_the_tasks(folder: Path) -> None:
    """Seeds included: one implementation for the harness's table, rows and comparisons."""
    row = next(row for row in board_of(folder).rows if row.name == "near")
    both = [predictions(DOCS, 0.79, seed) for seed in (2, 3)]
    for metric, shown in (("macro_f1", row.macro_interval), ("official_f1", row.official_interval)):
        expected = interval(leave_one_out(TRUTH, both, CONCLUSIONS, metric), [0, 1])
        assert shown == pytest.approx((expected.ci_low, expected.ci_high))
    assert row.argument_interval is not None


def test_what_one_conclusion_does_is_in_every_page_without_its_text(folder: Path) -> None:
    row = board_of(folder).rows[0]
    assert row.influence is not None
    scores = {
        conclusion: leave_one_out(TRUTH[keep], [predictions(DOCS, 0.80, 1)[keep]],
                                  list(np.array(CONCLUSIONS)[keep])).value[0]
        for conclusion in set(CONCLUSIONS)
        for keep in [np.array(CONCLUSIONS) != conclusion]
    }  # fmt: skip
    assert row.influence.low == pytest.approx(min(scores.values()), abs=0.02)
    assert row.influence.high == pytest.approx(max(scores.values()), abs=0.02)
    pages = outputs(folder, ".md", ".html", ".json", ".csv", ".tex")
    shown = f"{row.influence.low:.3f} to {row.influence.high:.3f}"
    assert all(shown in pages[ending] for ending in (".md", ".html"))
    # Names no single conclusion, and this range only if asked for: a page is narrow.
    del pages[".tex"]
    columns = ("--columns", "system,without_one")
    assert shown in outputs(folder, ".tex", options=columns)[".tex"]
    most = row.influence.conclusions[0]
    for page in pages.values():
        assert most.key in page
        assert "Conclusion 1" not in page
    record = next(each for each in json.loads(pages[".json"])["rows"] if each["system"] == "good")
    assert record["influence"][0] == vars(most)
    assert record["macro_f1_without_one_low"] == row.influence.low


def test_macro_ap_is_a_column_where_systems_give_scores(folder: Path) -> None:
    pages = outputs(folder, ".md", ".html", ".tex")
    assert not any("macro_ap |" in page or "Macro AP" in page for page in pages.values())
    assert "None of these results holds them, so there is no such column." in pages[".md"]
    assert "is not shown: none of these results holds the 20 scores" in pages[".html"]
    scores = likely(DOCS, 2.0)
    write_results(folder / "scored", model="scored", docs=DOCS, scores=scores)

    def older(content: dict[str, Any]) -> None:
        del content["results"]["valueeval_cls"]["macro_ap,none"]

    write_results(folder / "older", model="older", docs=DOCS, scores=scores, change=older)
    pages = outputs(folder, ".md", ".html", ".tex", ".json", ".yaml")
    assert "| macro_ap |" in pages[".md"]
    assert "None of these results holds" not in pages[".md"] + pages[".html"]
    assert "Macro AP" in pages[".html"]
    columns = ("--columns", "system,macro_ap")
    assert "Macro-AP" in outputs(folder, ".tex", options=columns)[".tex"]
    rows = {row["system"]: row for row in json.loads(pages[".json"])["rows"]}
    expected = macro_ap(TRUTH, scores)
    for name in ("scored", "older"):
        assert rows[name]["macro_ap"] == pytest.approx(expected)
        assert rows[name]["macro_ap_low"] < expected < rows[name]["macro_ap_high"]
    assert rows["good"]["macro_ap"] is None
    assert "macro_ap" in pages[".yaml"]


def test_too_few_conclusions_are_told_instead_of_a_ranking(tmp_path: Path) -> None:
    docs = documents([20, 20, 20])
    for name, skill in (("a", 0.9), ("b", 0.2)):
        write_results(
            tmp_path / "r" / name, model=name, docs=docs, prediction=predictions(docs, skill)
        )
    board = board_of(tmp_path / "r")
    assert "the 3 conclusions of this set are too few" in board.finding
    assert [row.macro_interval for row in board.rows] == [None, None]
    assert [row.standing and row.standing.ranks for row in board.rows] == [None, None]


def test_one_system_is_compared_with_nothing(tmp_path: Path) -> None:
    write_results(tmp_path / "r", docs=DOCS)
    assert board_of(tmp_path / "r").finding == "1 system measured: there is nothing to compare."


def test_fifty_systems_on_the_main_set_are_all_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Statistics alone; benchmarks/leaderboard.py measures their time."""
    docs = documents([183, 145, 133, 132, 124, 119, 115, 110, 105, 100, *[4] * 77, *[1] * 2])
    base = Predictions(
        tuple(doc["id"] for doc in docs), np.array([doc["labels"] for doc in docs], dtype=bool),
        np.zeros((len(docs), 20), dtype=bool), tuple(doc["conclusion"] for doc in docs),
        ("",) * len(docs), ("",) * len(docs),
    )  # fmt: skip
    ready = {
        f"m{system}": replace(base, prediction=predictions(docs, 0.3 + system / 200, system))
        for system in range(50)
    }
    for name in ready:
        write_results(tmp_path / "r" / name, model=name, docs=docs[:20], samples=False,
                      prediction=np.ones((20, 20), dtype=bool))  # fmt: skip
    table = table_of(tmp_path / "r")
    monkeypatch.setattr(
        "valueeval.leaderboard.inference.analysis.read_checked", lambda run: ready[run.model]
    )
    board = analyse(table, "m0").boards[0]
    assert len(board.compared) == 50


def test_prompted_rows_stand_beside_predicting_every_value(tmp_path: Path) -> None:
    docs = documents()
    write_results(tmp_path / "half", docs=docs, template="bca", limit=5)
    write_results(tmp_path / "full", docs=docs, template="bca")
    table = analyse(table_of(tmp_path))
    lines = [(board.status, line.macro_f1, line.official_f1) for board in table.boards
             for line in board.listed if line.kind == "computed"]  # fmt: skip
    # The published main set has a line of its own, of the shared task's baseline.
    ((status, macro, official),) = lines
    truth = np.array([doc["labels"] for doc in docs])
    share = truth.mean(0)  # precision, with recall 1
    assert status == LIMITED
    assert macro == pytest.approx((2 * share / (share + 1)).mean())
    assert official == pytest.approx(2 * share.mean() / (share.mean() + 1))


def test_the_share_of_predictions_is_known_where_samples_are(tmp_path: Path) -> None:
    docs = documents()
    decided = predictions(docs, 0.5)
    write_results(tmp_path, docs=docs, prediction=decided, metrics={"predicted_rate": None})
    row = only_row(analyse(table_of(tmp_path)))
    assert row.mean("predicted_rate") == pytest.approx(decided.mean())
