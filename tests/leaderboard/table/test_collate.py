"""Collation of results into a table: what is read, what is ranked with what, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from leaderboard_results import (
    SAMPLE_SHA,
    documents,
    manifest,
    only_row,
    predictions,
    statuses,
    table_of,
    write_results,
)

from valueeval.leaderboard.formats import to_csv as format_csv
from valueeval.leaderboard.formats import to_latex as format_latex
from valueeval.leaderboard.formats import to_markdown as format_markdown
from valueeval.leaderboard.page import to_html as format_html
from valueeval.leaderboard.table.table import (
    LIMITED,
    OTHER_VERSION,
    OWN_DATA,
    RANKED,
    SAMPLE,
    SEEN,
    WORDING,
)

DOCS = documents()


def test_only_runs_that_answer_the_same_question_are_ranked_together(tmp_path: Path) -> None:
    write_results(tmp_path / "a", model="a")
    write_results(tmp_path / "b", model="b", version="1.0")
    write_results(tmp_path / "old", model="old", version=0.9)
    write_results(tmp_path / "ten", model="ten", docs=DOCS[:10], limit=10,
                  prediction=predictions(DOCS[:10], 0.9))  # fmt: skip
    write_results(tmp_path / "mine", model="mine", official=False, sha="f" * 64)
    write_results(tmp_path / "sample", model="s", dataset="sample", sample=True,
                  official=False, sha=SAMPLE_SHA)  # fmt: skip
    write_results(tmp_path / "zhihu", model="a", dataset="zhihu", sha="e" * 64)
    write_results(tmp_path / "p2", model="a", paraphrase=2)
    table = table_of(tmp_path)
    assert statuses(table) == [
        (RANKED, "main", 2), (RANKED, "zhihu", 1), (WORDING, "main", 1),
        (OTHER_VERSION, "main", 1), (OWN_DATA, "main", 1), (LIMITED, "main", 1),
        (SAMPLE, "sample", 1),
    ]  # fmt: skip
    for board in table.boards:
        assert all((row.rank is not None) == (board.status == RANKED) for row in board.rows)


def test_two_data_hashes_of_one_set_are_two_rankings_with_titles_of_their_own(
    tmp_path: Path,
) -> None:
    write_results(tmp_path / "a", model="a")
    write_results(tmp_path / "b", model="b", sha="9" * 64)
    boards = [board for board in table_of(tmp_path).boards if board.rows]
    assert [len(board.rows) for board in boards] == [1, 1]
    assert len({board.title for board in boards}) == 2


def test_versions_are_compared_as_numbers(tmp_path: Path) -> None:
    write_results(tmp_path / "a", model="a", version="1.10")
    write_results(tmp_path / "b", model="b", version="1.9")
    table = table_of(tmp_path)
    assert [board.version for board in table.boards] == ["1.10", "1.9"]


def test_each_template_has_a_version_of_its_own(tmp_path: Path) -> None:
    """A newer version of bca says nothing of cls: both are ranked, and an older bca is not."""
    write_results(tmp_path / "a", model="a", template="cls", version="1.0")
    write_results(tmp_path / "b", model="b", template="bca", version="1.1")
    write_results(tmp_path / "c", model="c", template="bca", version="1.0")
    ranked, older = (board for board in table_of(tmp_path).boards if board.rows)
    assert (ranked.status, ranked.version, len(ranked.rows)) == (RANKED, "1.0, 1.1", 2)
    assert (older.status, older.version, len(older.rows)) == (OTHER_VERSION, "1.0", 1)


def test_fewer_samples_than_arguments_is_a_limited_run_even_without_limit(tmp_path: Path) -> None:
    def by_samples_option(content: dict[str, Any]) -> None:
        content["n-samples"]["valueeval_cls"]["original"] = 1576

    write_results(tmp_path, change=by_samples_option)
    assert statuses(table_of(tmp_path)) == [(LIMITED, "main", 1)]


def test_ranks_follow_macro_f1_and_equal_scores_share_one(tmp_path: Path) -> None:
    for name, macro, official in (("a", 0.4, 0.4), ("b", 0.5, 0.6), ("c", 0.4, 0.41)):
        write_results(
            tmp_path / name, model=name, metrics={"macro_f1": macro, "official_f1": official}
        )
    rows = table_of(tmp_path).boards[0].rows
    assert [(row.name, row.rank) for row in rows] == [("b", 1), ("a", 2), ("c", 2)]
    assert [row.gamed for row in rows] == [True, False, False]


def test_seeds_of_one_configuration_become_one_row(tmp_path: Path) -> None:
    for seed, macro in ((1, 0.40), (2, 0.44), (3, 0.42)):
        adapter = manifest(seed=seed, config={"seed": seed, "epochs": 3, "output": f"runs/{seed}"})
        write_results(tmp_path / f"s{seed}", kind="valueeval", model=f"minilm-seed{seed}",
                      model_args={"adapter": f"runs/minilm-seed{seed}"}, adapter=adapter,
                      metrics={"macro_f1": macro})  # fmt: skip
    other = manifest(seed=1, config={"seed": 1, "epochs": 9})
    write_results(tmp_path / "other", kind="valueeval", model="minilm-long", adapter=other,
                  model_args={"adapter": "runs/minilm-long"},
                  metrics={"macro_f1": 0.3})  # fmt: skip
    rows = table_of(tmp_path).boards[0].rows
    assert [row.name for row in rows] == ["minilm", "minilm-long"]
    score = rows[0].scores["macro_f1"]
    assert (score.n, score.mean, score.sd) == (3, pytest.approx(0.42), pytest.approx(0.02))
    assert [run.seed for run in rows[0].runs] == [1, 2, 3]
    # The interval of one seed would be too narrow for their mean.
    assert rows[0].macro_interval is None
    assert rows[1].scores["macro_f1"].sd is None


def test_an_option_left_open_is_one_that_was_not_there_yet(tmp_path: Path) -> None:
    for seed, settings_of in ((1, {}), (2, {"folds": None})):
        adapter = manifest(seed=seed, config={"seed": seed, "epochs": 3, **settings_of})
        write_results(tmp_path / str(seed), kind="valueeval", adapter=adapter)
    assert len(only_row(table_of(tmp_path)).runs) == 2


def test_seeds_of_a_baseline_become_one_row(tmp_path: Path) -> None:
    for seed in (1, 2):
        name = f"baseline-training_frequency-seed{seed}"
        arguments = {"strategy": "training_frequency", "seed": str(seed), "path": name}
        write_results(tmp_path / str(seed), kind="valueeval_baseline", model_args=arguments,
                      model=name, parameters=0)  # fmt: skip
    row = only_row(table_of(tmp_path))
    assert (row.name, [run.seed for run in row.runs]) == ("baseline training frequency", [1, 2])


def test_the_newest_of_repeated_runs_is_kept_and_said(tmp_path: Path) -> None:
    for day, macro in ((3, 0.41), (7, 0.43), (5, 0.99)):
        write_results(tmp_path, day=day, metrics={"macro_f1": macro})
    table = table_of(tmp_path)
    assert only_row(table).macro_f1 == 0.43
    assert "kept the newest of 3 runs" in table.notes[0]
    assert "results_2026-11-07" in table.notes[0].split("left out")[0]
    assert "results_2026-11-05" in table.notes[0].split("left out")[1]


def test_batch_size_makes_no_new_system_but_a_revision_does(tmp_path: Path) -> None:
    write_results(tmp_path / "a", model_args="pretrained=gpt2,batch_size=4")
    write_results(tmp_path / "b", model_args="pretrained=gpt2,batch_size=8", day=2)
    write_results(tmp_path / "c", model_args="pretrained=gpt2,revision=abc", day=3)
    table = table_of(tmp_path)
    assert statuses(table) == [(RANKED, "main", 2)]
    names = [row.name for row in table.boards[0].rows]
    assert len(set(names)) == 2, "two systems of one name get a mark that tells them apart"


def test_results_given_twice_count_once(tmp_path: Path) -> None:
    path = write_results(tmp_path / "a")
    table = table_of(tmp_path, tmp_path / "a", path)
    assert (statuses(table), table.notes) == ([(RANKED, "main", 1)], ())


FOLDS = {"name": "touche23", "set": "training+validation", "size": 5800, "folds": 5,
         "sha256": f"{'b' * 64}+{'c' * 64}"}  # fmt: skip


@pytest.mark.parametrize(
    ("left_out", "shown"),
    [
        ([], "training+validation"),
        ([2], "training+validation without fold 2 of 5"),
        ([0, 3], "training+validation, each without fold 0 or 3 of 5"),
        ([0, 1, 2, 3, 4], "5 folds of training+validation"),
    ],
)
def test_a_row_says_of_what_folds_it_is(tmp_path: Path, left_out: list[int], shown: str) -> None:
    fold = {"values": [0.5] * 20, "split": "fold", "metric": "macro_f1"}
    adapter = manifest(data={**FOLDS, "left_out": left_out}, thresholds=fold)
    write_results(tmp_path, kind="valueeval", adapter=adapter, model="runs/cv",
                  model_args={"adapter": "runs/cv"})  # fmt: skip
    table = table_of(tmp_path)
    row = only_row(table)
    assert (row.rank, row.run.training_data, row.run.warnings) == (1, shown, ())
    assert f"| cv ({shown}) |" in format_markdown.render(table)
    assert f"cv ({shown})" in format_latex.render(table)
    assert f"minilm, {shown}" in format_html.render(table)
    assert shown in format_csv.render(table)


def test_folds_of_validation_are_not_ranked_on_validation(tmp_path: Path) -> None:
    adapter = manifest(data={**FOLDS, "left_out": [2]})
    write_results(tmp_path / "cv", kind="valueeval", model="cv", adapter=adapter,
                  dataset="validation", sha="c" * 64)  # fmt: skip
    write_results(tmp_path / "other", model="other", dataset="validation", sha="c" * 64)
    table = table_of(tmp_path)
    assert statuses(table) == [(RANKED, "validation", 1), (SEEN, "validation", 1)]
    seen = next(board for board in table.boards if board.status == SEEN)
    assert seen.title == "Validation set: seen in training"
    assert seen.rows[0].rank is None
    assert "trained on the very data" in seen.rows[0].run.warnings[-1]
