"""`valueeval compare`, and run files of the shared task as rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from leaderboard_results import (
    OFFICIAL_SHA,
    documents,
    likely,
    manifest,
    predictions,
    write_results,
)

from valueeval.leaderboard.commands import compare as cli_compare
from valueeval.leaderboard.commands import leaderboard as cli
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.runfile import write_run
from valueeval.tasks.values import VALUE_NAMES

DOCS = documents()


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def compare(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert cli_compare.main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def line_of(page: str, name: str) -> list[str]:
    (line,) = [line for line in page.splitlines() if line.strip().startswith(name + " ")]
    return line.split()


def test_two_results_are_compared_in_both_scores_per_value_and_argument(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = np.array([doc["labels"] for doc in DOCS], dtype=bool)
    wrong = truth.copy()
    wrong[3] = ~wrong[3]  # one argument with all twenty decisions wrong
    a = write_results(tmp_path / "a", prediction=truth, model="right")
    b = write_results(tmp_path / "b", prediction=wrong, model="wrong")
    page = compare(capsys, a, b)
    assert "60 arguments on 12 conclusions" in page
    score = line_of(page, "macro_f1")
    assert float(score[1]) == 1
    assert float(score[3]) == pytest.approx(float(score[2]) - 1, abs=1e-4)
    assert all(name in page for name in VALUE_NAMES)
    assert "No macro_ap: it needs the 20 scores of each argument" in page
    most = page[page.index("Where they differ most") :]
    assert most.count("Premise") == 1, "they differ on one argument only"
    assert line_of(most, DOCS[3]["id"])[:3] == [DOCS[3]["id"], "0", "20"]
    assert "right: Self-direction: thought" in most
    assert "only A is right: Self-direction: thought" in most


def test_the_verdict_comes_first_and_then_what_moves_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = write_results(tmp_path / "a", scores=likely(DOCS, 0.2, 1), model="blind")
    b = write_results(tmp_path / "b", scores=likely(DOCS, 3.0, 2), model="seeing")
    lines = compare(capsys, a, b, "--show", "0").splitlines()
    assert lines[0] == "valueeval_cls: A = blind, B = seeing"
    assert lines[1].startswith("macro_f1: seeing is better by 0.")
    assert "One run of each" in lines[2]
    page = "\n".join(lines)
    assert line_of(page, "macro_ap")[3].startswith("+0.")
    assert "No macro_ap" not in page
    assert "When any one conclusion is left out, B - A in macro_f1 lies between +0." in page
    assert page.count("Conclusion ") == 5, "five conclusions by their text"
    same = compare(capsys, a, a, "--show", "0").splitlines()
    assert same[1] == "macro_f1: cannot be told apart: differences B - A from 0.000 to 0.000 fit"


def test_a_value_whose_positives_share_few_conclusions_has_no_interval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = DOCS[0]["conclusion"]
    docs = [
        {**doc, "labels": [int(doc["conclusion"] == first), *doc["labels"][1:]]} for doc in DOCS
    ]
    a = write_results(tmp_path / "a", docs=docs, prediction=predictions(docs, 0.8), model="a")
    b = write_results(tmp_path / "b", docs=docs, prediction=predictions(docs, 0.2, 3), model="b")
    page = compare(capsys, a, b, "--show", "0")
    assert "[" not in " ".join(line_of(page, VALUE_NAMES[0]))
    assert "No interval: the value's positives are in too few conclusions." in page


def test_in_a_narrow_terminal_numbers_and_values_are_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    long = "an-organisation/a-model-whose-name-is-longer-than-a-column-of-any-table-should-be"
    a = write_results(tmp_path / "a", prediction=predictions(DOCS, 0.8), model=long)
    b = write_results(tmp_path / "b", prediction=predictions(DOCS, 0.2, 3), model="gpt2")
    page = compare(capsys, a, b)
    assert max(map(len, page.splitlines())) <= 80
    assert "…" not in page
    tables = page[page.index("score  ") : page.index("Where they differ most")]
    assert all(name in tables for name in VALUE_NAMES)
    assert len(line_of(tables, "official_f1")) == 7


def test_folders_and_seeds_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (1, 2):
        write_results(tmp_path / "a" / str(seed), prediction=predictions(DOCS, 0.8, seed),
                      kind="valueeval", adapter=manifest(seed=seed),
                      model=f"m-s{seed}")  # fmt: skip
    write_results(tmp_path / "b", prediction=predictions(DOCS, 0.2, 3), model="gpt2")
    page = compare(capsys, tmp_path / "a", tmp_path / "b", "--show", "0")
    assert "A = m, B = gpt2" in page
    assert (
        "over conclusions and the seeds of A; they say nothing about other trainings of B" in page
    )
    assert "differ most" not in page


def test_seeds_in_folders_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the files of the archive; the same as both seeds in one folder."""
    sides: dict[str, list[Path]] = {"m": [], "n": []}
    for name, places in sides.items():
        for seed in (1, 2):
            prediction = predictions(DOCS, 0.8 if name == "m" else 0.4, seed)
            place = tmp_path / name / f"{name}-s{seed}"
            write_results(place, prediction=prediction, kind="valueeval",
                          adapter=manifest(seed=seed), model=f"{name}-s{seed}")  # fmt: skip
            places.append(place)
    page = compare(capsys, *sides["m"], "--to", *sides["n"], "--show", "0")
    assert page == compare(capsys, tmp_path / "m", tmp_path / "n", "--show", "0")
    assert "A = m, B = n" in page
    (line,) = [line for line in page.splitlines() if line.startswith("macro_f1 of each seed: A: ")]
    scores = [side.split(", ") for side in line.removeprefix("macro_f1 of each seed: ").split("; ")]
    a, b = ([float(one.removeprefix("A: ").removeprefix("B: ")) for one in side] for side in scores)
    means = [float(cell) for cell in line_of(page.replace(line, ""), "macro_f1")[1:3]]
    assert [sum(a) / 2, sum(b) / 2] == pytest.approx(means, abs=1e-4)


def test_how_many_systems_are_given(tmp_path: Path) -> None:
    place = str(write_results(tmp_path / "a"))
    for places in ([place], [place] * 3):
        with pytest.raises(ValueEvalError, match=f"and {len(places)} places were given"):
            cli_compare.main(places)
    with pytest.raises(ValueEvalError, match="run files have no seeds"):
        cli_compare.main([place, place, "--to", place, "--labels", "labels.tsv"])


def test_two_tasks_on_the_same_arguments_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = write_results(tmp_path / "a", template="cls", prediction=predictions(DOCS, 0.8))
    b = write_results(tmp_path / "b", template="bca", prediction=predictions(DOCS, 0.3))
    assert "valueeval_cls against valueeval_bca" in compare(capsys, a, b)


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    other = documents(seed=8)
    a = write_results(tmp_path / "a")
    on_other = write_results(tmp_path / "b", docs=other, prediction=predictions(other, 0.5))
    without = write_results(tmp_path / "c", samples=False)
    write_results(tmp_path / "d" / "1", model="one")
    write_results(tmp_path / "d" / "2", model="two")
    for one, two, message in (
        (a, on_other, "not scored on the same arguments"),
        (a, without, "no samples beside the results"),
        (a, tmp_path / "d", "2 systems have results of valueeval_cls"),
        (a, tmp_path / "nowhere", "no such file"),
    ):
        with pytest.raises(ValueEvalError, match=message):
            cli_compare.main([str(one), str(two)])
    with pytest.raises(ValueEvalError, match="no task in common called valueeval_oa"):
        cli_compare.main([str(a), str(a), "--task", "valueeval_oa"])
    with pytest.raises(ValueEvalError, match=r"; did you mean valueeval_cls\?"):
        cli_compare.main([str(a), str(a), "--task", "valueeval_cl"])


def test_markup_in_a_name_is_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write_results(tmp_path / "a", model="[red]x[/red]", prediction=predictions(DOCS, 0.9))
    b = write_results(tmp_path / "b", model="[/bold]y", prediction=predictions(DOCS, 0.1))
    page = compare(capsys, a, b)
    assert "[/bold]y" in page


def test_escape_sequences_in_samples_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = [dict(doc) for doc in DOCS]
    for doc in odd[:20]:
        doc |= {"id": f"{doc['id']}\x1b]0;owned\x07", "premise": "\x1b[31mred\u202e",
                "conclusion": "\x9b2Jgone\x1b[2J"}  # fmt: skip
    a = write_results(tmp_path / "a", docs=odd, prediction=predictions(odd, 0.9))
    b = write_results(tmp_path / "b", docs=odd, prediction=predictions(odd, 0.1), model="\x1b[5mb")
    page = compare(capsys, a, b, "--show", "60")
    assert "]0;owned" in page
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(page)


# ------------------------------------------------------------------------------- run files


def test_run_files_are_compared_with_the_labels_at_hand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load_set("sample")
    labels = data.directory / "labels-sample-test.tsv"
    rng = np.random.default_rng(0)
    write_run(tmp_path / "good.tsv", data.ids, data.labels)
    write_run(tmp_path / "bad.tsv", data.ids, data.labels ^ (rng.random(data.labels.shape) < 0.2))
    page = compare(capsys, tmp_path / "good.tsv", tmp_path / "bad.tsv", "--labels", labels)
    conclusions = len(set(data.conclusions))
    assert f"{len(data.ids)} arguments on {conclusions} conclusions" in page
    assert "A = good, B = bad" in page


def test_without_arguments_a_run_file_has_no_conclusions_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load_set("sample")
    write_run(tmp_path / "gold.tsv", data.ids, data.labels)
    cli_compare.main([*[str(tmp_path / "gold.tsv")] * 2, "--labels", str(tmp_path / "gold.tsv")])
    said = capsys.readouterr()
    assert "taken as independent" in said.err
    assert f"{len(data.ids)} arguments, whose conclusions are unknown" in said.out
    assert "conclusion is left out" not in said.out


def test_reasons_to_doubt_a_side_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = manifest(data={"set": "training", "size": 9, "sha256": OFFICIAL_SHA})
    write_results(tmp_path / "a", model="a", adapter=seen, version=1.0)
    for day in (1, 2, 3):
        write_results(tmp_path / f"b/{day}", model="b", day=day, version=1.1)
    cli_compare.main([str(tmp_path / "a"), str(tmp_path / "b"), "--show", "0"])
    said = capsys.readouterr()
    assert "note: b, valueeval_cls: kept the newest of 3 runs" in said.err
    notes = [line for line in said.out.splitlines() if line.startswith("Note: ")]
    assert notes == [
        "Note: a: trained on the very data that it is tested on",
        "Note: two versions of the task, 1.0 and 1.1",
    ]


def test_one_model_asked_in_two_ways_has_two_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_results(tmp_path / "a", model="gpt2")
    write_results(tmp_path / "b", model="gpt2", shots=4, prediction=predictions(DOCS, 0.9))
    page = compare(capsys, tmp_path / "a", tmp_path / "b", "--show", "0")
    assert "A = gpt2 (zero-shot), B = gpt2 (4-shot)" in page
    write_results(tmp_path / "c", model="gpt2", template="bca", prediction=predictions(DOCS, 0.9))
    page = compare(capsys, tmp_path / "a", tmp_path / "c", "--show", "0")
    assert "A = gpt2 (cls), B = gpt2 (bca)" in page
    for seed in (1, 2):
        write_results(tmp_path / f"s{seed}", model="full", adapter=manifest(seed=seed),
                      prediction=predictions(DOCS, 0.5, seed))  # fmt: skip
    page = compare(capsys, tmp_path / "s1", tmp_path / "s2", "--show", "0")
    assert "A = full (seed 1), B = full (seed 2)" in page


def test_a_teams_run_file_becomes_a_row(
    tmp_path: Path, real_data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VALUEEVAL_DATA", str(real_data_dir))
    data = load_set("main")
    run = tmp_path / "team.tsv"
    write_run(run, data.ids, np.ones_like(data.labels))
    short = tmp_path / "short.tsv"
    write_run(short, data.ids[:10], data.labels[:10])
    out = tmp_path / "board.json"
    assert cli.main([str(run), str(short), "-o", str(out)]) == 0
    page = json.loads(out.read_text(encoding="utf-8"))
    row = page["rows"][0]
    assert (row["system"], row["status"], row["rank"], row["conclusions"]) == (
        "team", "ranked", 1, 103,
    )  # fmt: skip
    assert row["macro_f1"] == pytest.approx(0.24842634517, abs=1e-10)
    assert row["official_f1"] == pytest.approx(0.26293020308, abs=1e-10)
    assert row["parameters"] is None
    assert page["not_used"][0]["source"] == "short.tsv"
    assert "10 of its 1576 arguments" in page["not_used"][0]["reason"]


def test_a_malformed_run_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.tsv").write_text("Argument ID\tFace\nA1\t2\n")
    write_results(tmp_path / "results")
    out = tmp_path / "board.md"
    assert cli.main([str(tmp_path / "results"), str(tmp_path / "bad.tsv"), "-o", str(out)]) == 0
    assert "not used: bad.tsv" in capsys.readouterr().err
