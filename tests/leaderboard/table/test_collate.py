"""Collation of results into a table: what is read, what is ranked with what, what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leaderboard_results import (
    SAMPLE_SHA,
    documents,
    manifest,
    predictions,
    write_results,
)

from valueeval.leaderboard.commands.leaderboard import main
from valueeval.leaderboard.formats import to_csv as format_csv
from valueeval.leaderboard.formats import to_json as format_json
from valueeval.leaderboard.formats import to_latex as format_latex
from valueeval.leaderboard.formats import to_markdown as format_markdown
from valueeval.leaderboard.page import to_html as format_html
from valueeval.leaderboard.published.systems import published
from valueeval.leaderboard.reading.results_files import (
    Problem,
    find_results,
    merged,
    read_manifests,
    read_results,
)
from valueeval.leaderboard.table.collate import collate
from valueeval.leaderboard.table.table import (
    LIMITED,
    OTHER_VERSION,
    OWN_DATA,
    RANKED,
    SAMPLE,
    SEEN,
    WORDING,
    Table,
)
from valueeval.tasks.errors import ValueEvalError

DOCS = documents()


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valueeval.leaderboard.inference.analysis.RESAMPLES", 200)


def table_of(*places: Path, adapters: tuple[Path, ...] = ()) -> Table:
    return collate(*read_results(find_results(places), read_manifests(adapters)))


def statuses(table: Table) -> list[tuple[str, str, int]]:
    return [(b.status, b.dataset, len(b.rows)) for b in table.boards if b.rows]


def only_row(table: Table) -> Any:
    (row,) = [row for board in table.boards for row in board.rows]
    return row


# ------------------------------------------------------------------------------- reading


def test_a_row_knows_what_the_results_and_the_manifest_say(tmp_path: Path) -> None:
    write_results(
        tmp_path / "minilm", kind="valueeval", adapter=manifest(), model="runs/minilm",
        model_args={"adapter": "runs/minilm"},
    )  # fmt: skip
    row = only_row(table_of(tmp_path))
    run = row.run
    assert (row.name, run.base, run.method) == ("minilm", "minilm", "full")
    assert (run.parameters, run.trainable, run.training_size) == (22_720_916, 22_720_916, 5393)
    assert (run.template, run.paraphrase, run.dataset, run.seed) == ("cls", 1, "main", 1)
    assert (run.arguments, run.date) == (60, "2026-11-01T09:30:00")
    assert run.versions == {"lm_eval": "0.4.13", "transformers": "5.23.0",
                            "training: torch": "2.13.0"}  # fmt: skip
    assert run.samples is not None
    low, high = row.macro_interval
    assert low < row.macro_f1 < high


def test_a_manifest_beside_the_results_fills_in_for_stock_hf_with_peft(tmp_path: Path) -> None:
    adapter = tmp_path / "adapters" / "lora-1"
    adapter.mkdir(parents=True)
    (adapter / "valueeval.json").write_text(json.dumps(manifest(method="lora", seed=5)))
    write_results(
        tmp_path / "results", template="bca", model_args="pretrained=gpt2,peft=runs/lora-1"
    )
    assert only_row(table_of(tmp_path / "results")).run.method == "adapter"
    run = only_row(table_of(tmp_path / "results", adapters=(tmp_path / "adapters",))).run
    assert (run.method, run.seed, run.trainable) == ("lora", 5, 22_720_916)


@pytest.mark.parametrize(
    ("arguments", "shots", "method", "trainable"),
    [
        ("pretrained=gpt2,dtype=float32", 0, "zero-shot", 0),
        ({"pretrained": "gpt2"}, 5, "few-shot", 0),
        ("pretrained=gpt2,peft=x/y", 0, "adapter", None),
    ],
)
def test_method_of_a_stock_model(
    tmp_path: Path, arguments: Any, shots: int, method: str, trainable: int | None
) -> None:
    write_results(tmp_path, model_args=arguments, shots=shots)
    run = only_row(table_of(tmp_path)).run
    assert (run.method, run.trainable, run.base) == (method, trainable, "gpt2")


def test_results_as_lm_eval_0_4_9_wrote_them(tmp_path: Path) -> None:
    def older(content: dict[str, Any]) -> None:
        for scores in content["results"].values():
            del scores["name"], scores["sample_len"]
            scores |= {"macro_f1_stderr_stderr,none": "N/A", "unparsed_stderr,none": "N/A"}
        content["config"]["model_args"] = "pretrained=gpt2,dtype=float32"
        content["groups"], content["task_hashes"] = {}, {}
        content["lm_eval_version"] = "0.4.9"

    write_results(tmp_path, change=older)
    row = only_row(table_of(tmp_path))
    assert (row.run.base, row.run.versions["lm_eval"]) == ("gpt2", "0.4.9")


def test_unknown_is_missing_not_zero(tmp_path: Path) -> None:
    def strip(content: dict[str, Any]) -> None:
        for key in ("n-samples", "n-shot", "date", "lm_eval_version", "model_name"):
            del content[key]
        content["config"] = {"model": "hf", "model_args": None, "model_num_parameters": -1}

    write_results(tmp_path, metrics={"f1_face": None, "unparsed": "N/A"}, change=strip)
    row = only_row(table_of(tmp_path))
    assert (row.run.parameters, row.run.arguments, row.run.base) == (None, None, None)
    assert (row.mean("f1_face"), row.mean("unparsed")) == (None, None)
    assert row.run.date == "2026-11-01T10:30:00"  # from the file's name


# ------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b'{"results": {"valueeval_cls"', "cut off?"),
        (b"\x80\x81PK\x03\x04", "no UTF-8 text"),
        (b"[1, 2]", "holds a list"),
        (b'{"a": 1}', "no results of lm-eval"),
        (b'{"results": 5, "configs": {}}', "no results of lm-eval"),
        (b'{"results": {"mmlu": {"acc,none": 1}}, "configs": {"mmlu": {}}}', "no ValueEval task"),
        (b"[" * 100_000, "no JSON"),
        (b'{"results": {"valueeval_cls": 3}, "configs": {"valueeval_cls": []}}', "no template"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_the_rest_goes_on(
    tmp_path: Path, content: bytes, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_results(tmp_path / "good")
    (tmp_path / "results_bad.json").write_bytes(content)
    assert main([str(tmp_path), "-o", str(tmp_path / "out.md")]) == 0
    page = (tmp_path / "out.md").read_text(encoding="utf-8")
    error = capsys.readouterr().err
    assert f"not used: {tmp_path.name}/results_bad.json" in error
    assert reason in error
    assert "results\\_bad.json" in page
    assert "| runs/minilm |" in page


@pytest.mark.parametrize(
    ("metrics", "reason"),
    [
        ({"macro_f1": float("nan")}, "no macro_f1"),
        ({"macro_f1": None}, "no macro_f1"),
        ({"macro_f1": "0.5"}, "no macro_f1"),
        ({"macro_f1": True}, "no macro_f1"),
        ({"macro_f1": 43.2}, "macro_f1 is 43.2, not between 0 and 1"),
        ({"official_f1": -0.1}, "official_f1 is -0.1"),
        ({"macro_f1": None, "bypass": 999}, "--predict_only"),
    ],
)
def test_a_run_without_usable_scores_is_refused(
    tmp_path: Path, metrics: dict[str, Any], reason: str
) -> None:
    write_results(tmp_path, metrics=metrics)
    table = table_of(tmp_path)
    assert not any(board.rows for board in table.boards)
    assert reason in table.problems[0].reason


@pytest.mark.parametrize("make", ["fifo", "link", "folder"])
def test_what_is_no_file_is_named_and_does_not_block(tmp_path: Path, make: str) -> None:
    write_results(tmp_path / "good")
    path = tmp_path / "results_odd.json"
    if make == "fifo":
        os.mkfifo(path)
    elif make == "link":
        path.symlink_to(tmp_path / "nowhere")
    else:
        path.mkdir()
    table = table_of(tmp_path)
    assert len(table.boards[0].rows) == 1
    assert [problem.reason for problem in table.problems] == (
        [] if make == "folder" else ["no file, or a link to nowhere"]
    )


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_no_content_whatever_crashes_the_reader(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any part of a results file may be anything: it is read, or named as a problem."""
    folder = tmp_path_factory.mktemp("any")
    path = write_results(folder, kind="valueeval", adapter=manifest(), samples=False)
    content = json.loads(path.read_text(encoding="utf-8"))
    place = content
    while data.draw(st.booleans() if place is not content else st.just(True)):
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or not place[key]:
            break
        place = place[key]
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(_JSON)
    path.write_text(json.dumps(content), encoding="utf-8")
    table = table_of(folder)
    assert sum(len(board.rows) for board in table.boards) + len(table.problems) == 1
    for render in (format_csv, format_html, format_json, format_latex, format_markdown):
        render.render(table).encode("utf-8")


def test_no_results_at_all_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueEvalError, match=r"looked for results_\*\.json; run lm_eval"):
        main([str(tmp_path), "-o", str(tmp_path / "out.md")])
    with pytest.raises(ValueEvalError, match="no such file or folder"):
        main([str(tmp_path / "nowhere"), "-o", str(tmp_path / "out.md")])
    assert not (tmp_path / "out.md").exists()


# ------------------------------------------------------------------------------- collation


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


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"thresholds": {"split": "test"}}, "thresholds tuned on test"),
        ({"thresholds": {"split": "main"}}, "epoch and thresholds chosen on this very set"),
        ({"data": {"sha256": "0" * 63 + "1", "size": 60}}, "trained on the very data"),
    ],
)
def test_tuning_on_the_test_set_is_called_out(
    tmp_path: Path, change: dict[str, Any], warning: str
) -> None:
    write_results(tmp_path, kind="valueeval", adapter=manifest(**change))
    assert warning in only_row(table_of(tmp_path)).run.warnings[0]


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


def test_thresholds_that_nobody_tuned_need_no_warning(tmp_path: Path) -> None:
    half = {"values": [0.5] * 20, "split": "none", "metric": "none"}
    write_results(tmp_path, kind="valueeval", adapter=manifest(thresholds=half))
    assert only_row(table_of(tmp_path)).run.warnings == ()


def test_a_validation_score_after_tuning_on_validation_is_called_out(tmp_path: Path) -> None:
    write_results(tmp_path, kind="valueeval", dataset="validation", adapter=manifest())
    assert "this very set" in only_row(table_of(tmp_path)).run.warnings[0]


# ------------------------------------------------------------------------------- published


def test_published_systems_keep_the_two_f1_apart() -> None:
    by_name = {(p.system, p.dataset): p for p in published()}
    bert = by_name["BERT", "main"]
    assert (bert.macro_f1, bert.official_f1, bert.parameters) == (0.390, 0.42, 110_000_000)
    assert by_name["Adam Smith", "main"].macro_f1 == 0.551
    assert by_name["John Arthur", "main"].macro_f1 is None
    unclear = by_name["PAI ensemble", "main"]
    assert (unclear.macro_f1, unclear.official_f1) == (None, None)
    assert by_name["BERT", "nyt"].macro_f1 is None, "the table of values is of the main set"
    assert all(p.source for p in published())
    assert [p.system for p in published() if p.oracle and p.dataset == "main"] == [
        "Best per category (oracle over runs)"
    ]


# ------------------------------------------------------------------------------- markdown


def test_markdown_stands_between_markers_and_leaves_the_rest_alone(tmp_path: Path) -> None:
    write_results(tmp_path / "r")
    out = tmp_path / "new.md"
    main([str(tmp_path / "r"), "-o", str(out)])
    rendered = out.read_text(encoding="utf-8")
    readme = tmp_path / "README.md"
    readme.write_text("# Mine\n\n" + rendered + "\nThe end.\n", encoding="utf-8")
    write_results(tmp_path / "r", model="second")
    main([str(tmp_path / "r"), "-o", str(readme)])
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("# Mine\n\n<!--")
    assert text.endswith("-->\n\nThe end.\n")
    assert "second" in text


@pytest.mark.parametrize("existing", ["# My page\n", "only <!-- one marker", "\udcff"])
def test_a_page_without_markers_is_never_overwritten(tmp_path: Path, existing: str) -> None:
    write_results(tmp_path / "r")
    readme = tmp_path / "README.md"
    readme.write_bytes(existing.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueEvalError, match=r"README\.md"):
        main([str(tmp_path / "r"), "-o", str(readme)])
    assert readme.read_bytes() == existing.encode("utf-8", "surrogateescape")


def test_the_same_input_gives_the_same_bytes_wherever_it_lies(tmp_path: Path) -> None:
    pages = []
    for place in ("one", "two"):
        folder = tmp_path / place / "results"
        for skill in (0.2, 0.8):
            write_results(folder / f"m{skill}", model=f"m{skill}",
                          prediction=predictions(DOCS, skill))  # fmt: skip
        main([str(folder), "-o", str(tmp_path / place / "out.md")])
        pages.append((tmp_path / place / "out.md").read_bytes())
    assert pages[0] == pages[1]


def test_unknown_formats_and_folders_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    write_results(tmp_path / "r")
    (tmp_path / "dir.md").mkdir()
    for bad, message in (
        (tmp_path / "x.docx", "no output format"),
        (tmp_path / "dir.md", "folder"),
    ):
        with pytest.raises(ValueEvalError, match=message):
            main([str(tmp_path / "r"), "-o", str(tmp_path / "ok.md"), "-o", str(bad)])
    assert not (tmp_path / "ok.md").exists()


def test_hostile_names_are_text_in_markdown(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>|[x](javascript:alert(1))`\u202e*b*\ud800\x07"
    write_results(tmp_path / "r", model=name)
    main([str(tmp_path / "r"), "-o", str(tmp_path / "out.md")])
    page = (tmp_path / "out.md").read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if "onerror" in line]
    assert "<img" not in line
    assert "\\|\\[x\\](javascript" in line
    assert line.replace("\\|", "").count("|") == 15, "the name adds no column"
    assert not {"\u202e", "\x07"} & set(page)


def test_predictions_of_every_value_are_flagged_when_only_official_f1_likes_them(
    tmp_path: Path,
) -> None:
    write_results(tmp_path, prediction=np.ones((60, 20), dtype=bool), kind="valueeval_baseline",
                  model_args="strategy=every_value", parameters=0)  # fmt: skip
    row = only_row(table_of(tmp_path))
    assert (row.name, row.run.method, row.run.parameters) == (
        "baseline every value",
        "baseline",
        None,
    )


def test_files_with_the_same_problem_are_named_together() -> None:
    problems = [Problem("a", "cut off"), Problem("b", "empty file"), Problem("c", "cut off")]
    assert merged(problems) == [Problem("a, c", "cut off"), Problem("b", "empty file")]
    many = [Problem(str(number), "empty file") for number in range(24)]
    assert merged(many) == [Problem("0, 1, 2 and 21 more", "empty file")]
    assert merged([]) == []
