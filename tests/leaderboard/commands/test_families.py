"""`valueeval compare --family`: hypotheses of a section, corrected for their number."""

from __future__ import annotations

from pathlib import Path

import pytest
from leaderboard_results import documents, manifest, predictions, write_results

from valueeval.leaderboard.commands.compare import main
from valueeval.leaderboard.commands.families import families
from valueeval.tasks.errors import ValueEvalError

DOCS = documents([6] * 20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed in (1, 2):
        write_results(tmp_path / f"results/m-s{seed}", docs=DOCS, kind="valueeval",
                      prediction=predictions(DOCS, 0.8, seed), adapter=manifest(seed=seed),
                      model=f"m-s{seed}", model_args={"adapter": f"m-s{seed}"})  # fmt: skip
    for name, skill in (("bad", 0.1), ("like", 0.8)):
        write_results(tmp_path / "results" / name, docs=DOCS, model=name,
                      prediction=predictions(DOCS, skill, 7))  # fmt: skip
    return tmp_path


def written(folder: Path, families_of: str) -> Path:
    file = folder / "comparisons.yaml"
    file.write_text(f"results: results\ntask: valueeval_cls\nfamilies:\n{families_of}")
    return file


def test_every_family_is_a_table_with_verdicts(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(
        folder,
        '  First:\n    - {a: "m-s?", b: bad}\n    - {a: "m-s?", b: like}\n'
        "  Second | x:\n    - {a: bad, b: like, metric: official_f1}\n",
    )
    assert main(["--family", str(file)]) == 0
    page = capsys.readouterr().out
    assert "**First**: 2 comparisons" in page
    assert r"**Second \| x**: 1 comparison" in page
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith(("| m", "| b"))]
    assert [row[-1] for row in rows] == ["m is better |", "open |", "like is better |"]
    assert [row[:3] for row in rows] == [
        ["| m (2)", "bad (1)", "macro_f1"],
        ["| m (2)", "like (1)", "macro_f1"],
        ["| bad (1)", "like (1)", "official_f1"],
    ]


def test_the_same_model_twice_is_called_a_and_b(folder: Path) -> None:
    write_results(folder / "results/again", docs=DOCS, model="bad",
                  prediction=predictions(DOCS, 0.8, 7))  # fmt: skip
    page = families(written(folder, "  X:\n    - {a: bad, b: again}\n"))
    assert "B is better" in page


@pytest.mark.parametrize("pattern", [".", "/", "**x"])
def test_what_is_no_pattern_is_named(folder: Path, pattern: str) -> None:
    file = written(folder, f'  X:\n    - {{a: "{pattern}", b: bad}}\n')
    with pytest.raises(ValueEvalError, match=r"comparisons\.yaml"):
        families(file)


def test_the_correction_is_for_the_members_of_the_family(folder: Path) -> None:
    alone = families(written(folder, "  X:\n    - {a: bad, b: like}\n"))
    line = next(line for line in alone.splitlines() if line.startswith("| bad"))
    repeated = families(written(folder, "  X:\n" + "    - {a: bad, b: like}\n" * 20))
    lines = [line for line in repeated.splitlines() if line.startswith("| bad")]
    ends = [tuple(map(float, each.split(" | ")[6].split(" to "))) for each in (line, lines[0])]
    assert ends[1][0] < ends[0][0]
    assert ends[1][1] > ends[0][1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("families: [", "line 1: no YAML"),
        ("a: b", "'families'"),
        ("families: {}", "'task' is missing"),
        ("task: t\nfamilies: {x: []}", "no list of hypotheses"),
        ("task: t\nfamilies: {x: [a]}", "a hypothesis is"),
        ("task: t\nfamilies: {x: [{a: b, b: c, p: d}]}", "unknown key 'p'"),
        ("task: t\nfamilies: {x: [{a: b, b: c, metric: f1}]}", "metric is one of macro_f1"),
        ("task: t\nfamilies: {x: [{a: none, b: c}]}", "nothing in .* is called none"),
        ("!!python/object/apply:os.system [x]", "no YAML"),
    ],
)
def test_a_malformed_file_is_named_with_what_is_wrong(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ValueEvalError, match=message):
        families(tmp_path / "x.yaml")


def test_macro_ap_needs_scores_of_all(folder: Path) -> None:
    file = written(folder, "  X:\n    - {a: bad, b: like, metric: macro_ap}\n")
    with pytest.raises(ValueEvalError, match="not all runs have scores"):
        families(file)


def test_results_may_be_named_by_absolute_paths(folder: Path) -> None:
    named = families(written(folder, "  X:\n    - {a: bad, b: like}\n"))
    results = folder / "results"
    absolute = f'  X:\n    - {{a: "{results}/ba?", b: "{results}/like"}}\n'
    assert families(written(folder, absolute)) == named


def test_a_family_is_given_alone(folder: Path) -> None:
    with pytest.raises(ValueEvalError, match="give nothing beside it"):
        main(["x", "y", "--family", str(folder / "comparisons.yaml")])
