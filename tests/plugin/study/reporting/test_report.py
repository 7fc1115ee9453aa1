"""The report of a study: what it says, that it is the same each time, and what it escapes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import made_up_study
import numpy as np
import pytest

from valueeval.study.cli import main
from valueeval.study.design import DesignError
from valueeval.study.reporting.figures import draw
from valueeval.study.reporting.measured import groups_of, read_cells
from valueeval.study.reporting.report import make_report, write_report


def reported(folder: Path, out: Path) -> dict[str, str]:
    study, cells, store = made_up_study.read(folder)
    written = write_report(make_report(study, cells, store, "sample"), out)
    return {str(path.relative_to(out)): path.read_text(encoding="utf-8") for path in written}


def test_a_finished_study(tmp_path: Path) -> None:
    _, cells, store = made_up_study.read(tmp_path)
    made_up_study.finish(cells, store)
    files = reported(tmp_path, tmp_path / "report")
    assert sorted(files) == [
        "figures/learning-curves-few.svg", "figures/parameters.svg", "figures/spread-few.svg",
        "figures/spread-size.svg", "report.html", "report.md",
    ]  # fmt: skip
    text = files["report.md"]
    assert "16 of 16 cells are measured, on the sample set (" in text
    assert "its numbers say nothing about models" in text
    share = np.array([doc["labels"] for doc in made_up_study.DOCS]).mean(0)
    every_value = float((2 * share / (1 + share)).mean())  # precision is the share, recall 1
    assert f"has macro_f1 {every_value:.3f} there" in text
    assert "| large is better | **supported** | +0." in text
    assert re.search(
        r"\| macro_f1 \| 0\.\d{3}: size, large \| 0\.\d{3}: size, small \|$", text, re.M
    )
    assert "They were written down before the runs. " in text
    assert "**open**" in text
    assert "| base | 2 | 0." in text
    assert "Not measured" not in text
    assert files["report.html"].count("<svg") == 4


def test_a_cell_of_two_blocks_has_the_factors_of_each(tmp_path: Path) -> None:
    """Else the second block would have no components of variance."""
    options = {"base": "large", "method": "full"}
    first = {"factors": {"seed": [0, 1, 2]}, "options": options}
    blocks = {"first": first, **made_up_study.BLOCKS}
    study, cells, store = made_up_study.read(tmp_path, blocks=blocks)
    made_up_study.finish(cells, store, only=lambda of: of["block"] == "size")
    report = make_report(study, cells, store, "sample")
    first_block, size, _ = report.blocks
    assert [len(group.measured) for group in first_block.groups] == [3]
    assert size.components is not None
    assert [each.factor for each in size.components] == ["base", "method", ""]


def test_an_unfinished_study_says_what_is_missing(tmp_path: Path) -> None:
    _, cells, store = made_up_study.read(tmp_path)
    made_up_study.finish(cells, store, only=lambda of: of["seed"] == 0)
    failing = next(cell for cell in cells if cell.design.factors["seed"] == 1)
    store.path(failing).mkdir(parents=True)
    store.fail(failing, "train: exit status 1: out of luck | <b>")
    text = reported(tmp_path, tmp_path / "report")["report.md"]
    assert "6 of 16 cells are measured" in text
    assert "2 not measured." in text
    assert "- large is better: 4 of 12 cells are finished" in text
    assert "- size: 8 of 12 cells" in text
    assert "small, full, seed 1: train: exit status 1: out of luck \\| &lt;b&gt;" in text
    assert "1 of 3 |" in text
    assert "| with |" not in text  # components of variance wait for all cells


def test_what_the_study_file_says_stands_beside_the_numbers(tmp_path: Path) -> None:
    """Questions and cuts, claims that came later, and configurations that have no result."""
    blocks = {**made_up_study.BLOCKS}
    blocks["size"] = {**blocks["size"], "description": "Does <size>\nhelp?"}
    late = {**made_up_study.HYPOTHESES[0], "added": "after a look at lora"}
    study, cells, store = made_up_study.read(
        tmp_path, blocks=blocks, description="Two bases.", hypotheses=[late]
    )
    made_up_study.finish(cells, store, only=lambda of: of.get("method") == "full")
    write_report(make_report(study, cells, store, "sample"), tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert text.startswith("# made &lt;up&gt;\n\nTwo bases.\n\n6 of 16 cells")
    assert "## size\n\nDoes &lt;size&gt; help?\n\n| configuration" in text
    assert "before the runs, but for those that say when they were added." in text
    assert "- large is better (added after a look at lora): 6 of 12 cells" in text
    assert "\n\nNot measured: small, lora; large, lora.\n" in text
    assert "<p>Does &lt;size&gt; help?</p>" in page
    assert "<summary>2 not measured</summary>\n<ul>\n<li>small, lora</li>\n" in page


def test_a_study_of_which_nothing_is_measured(tmp_path: Path) -> None:
    files = reported(tmp_path, tmp_path / "report")
    assert sorted(files) == ["report.html", "report.md"]
    assert "0 of 16 cells are measured." in files["report.md"]


def test_a_part_of_the_arguments_stands_apart(tmp_path: Path) -> None:
    """Cells on a part have a table and figures of their own, and are in no figure of all."""
    blocks = {**made_up_study.BLOCKS}
    rule = {"when": {"train_size": 16}, "options": {"per_conclusion": 2}}
    factors = {**blocks["few"]["factors"], "seed": [0, 1, 2]}
    blocks["few"] = {**blocks["few"], "factors": factors, "rules": [rule]}
    study, cells, store = made_up_study.read(tmp_path, blocks=blocks)
    few = [cell for cell in cells if cell.design.factors.get("train_size") == 16]
    made_up_study.finish(few, store, docs=made_up_study.DOCS[:90])
    made_up_study.finish(cells, store)
    written = write_report(make_report(study, cells, store, "sample"), tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    whole, part = text.split("## few, on at most 2 arguments a conclusion")
    assert f"on the sample set ({len(made_up_study.DOCS)} arguments, " in whole
    assert "These are scores on 90 arguments, not to be compared" in part
    assert "train_size 16, small |" in part.replace("\\_", "_")
    assert "train_size 16, small |" not in whole.replace("\\_", "_")
    assert "Results that could not be used" not in text
    names = [path.name for path in written]
    assert "spread-few-at-most-2-arguments-a-conclusion.svg" in names
    assert "learning-curves-few.svg" not in names


def test_few_training_arguments_are_in_no_figure_of_sizes(tmp_path: Path) -> None:
    """Beside models that learnt from all arguments they would look like the method's score."""
    study, cells, store = made_up_study.read(tmp_path)
    made_up_study.finish([cell for cell in cells if cell.design.factors["block"] == "few"], store)
    written = write_report(make_report(study, cells, store, "sample"), tmp_path / "report")
    names = [path.name for path in written]
    assert "learning-curves-few.svg" in names
    assert "parameters.svg" not in names


def test_averages_have_a_mark_of_their_own(tmp_path: Path) -> None:
    _, cells, store = made_up_study.read(tmp_path)
    made_up_study.finish(cells, store)
    measured, _ = read_cells(cells, store, "sample")
    assert "mean of" not in draw(groups_of(cells, measured))["parameters"]
    first = measured[cells[0].key]
    manifest = {**first.run.manifest, "config": {"members": [{}, {}, {}]}}
    measured[cells[0].key] = replace(first, run=replace(first.run, manifest=manifest))
    assert "full, mean of 3" in draw(groups_of(cells, measured))["parameters"]


def test_levels_that_select_cells_are_words_in_a_figure(tmp_path: Path) -> None:
    _, cells, store = made_up_study.read(tmp_path)
    made_up_study.finish(cells, store)
    measured, _ = read_cells(cells, store, "sample")
    size = [group for group in groups_of(cells, measured) if group.block == "size"]
    groups = [
        replace(group, factors={"of": {"block": "folds of", "base": group.factors["base"]}})
        for group in size
    ]
    figure = draw(groups)["spread-size"]
    assert "folds of+small" in figure
    assert "{&#x27;" not in figure
    assert "{'" not in figure


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    _, cells, store = made_up_study.read(tmp_path)
    made_up_study.finish(cells, store)
    assert reported(tmp_path, tmp_path / "a") == reported(tmp_path, tmp_path / "b")


def test_names_are_text_in_the_page(tmp_path: Path) -> None:
    _, cells, store = made_up_study.read(tmp_path)
    made_up_study.finish(cells, store)
    page = reported(tmp_path, tmp_path / "report")["report.html"]
    assert "made &lt;up&gt;" in page
    assert "<up>" not in page
    assert "default-src 'none'" in page


def test_a_report_needs_an_evaluation(tmp_path: Path) -> None:
    made_up_study.read(tmp_path, sets=[])
    words = [str(tmp_path / "study.yaml"), "-o", str(tmp_path / "out")]
    with pytest.raises(DesignError, match="no cell of the study is evaluated"):
        main([*words, "--report", str(tmp_path / "report")])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, cells, store = made_up_study.read(tmp_path)
    made_up_study.finish(cells, store, only=lambda of: of["block"] == "few")
    words = [str(tmp_path / "study.yaml"), "-o", str(tmp_path / "out")]
    assert main([*words, "--report", str(tmp_path / "report")]) == 0
    assert f"{tmp_path / 'report' / 'report.md'}" in capsys.readouterr().out
    assert main(["status", *words]) == 0
    assert "4 done" in capsys.readouterr().out
