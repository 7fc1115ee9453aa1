"""Hypotheses of a study: like beside like, families, and nothing said before all is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import made_up_study
import numpy as np
import pytest

from valueeval.study.design import DesignError
from valueeval.study.reporting.findings import Finding, Verdict, check_hypotheses
from valueeval.study.reporting.measured import groups_of, read_cells
from valueeval.tasks.scores.scoring import score


def findings(folder: Path, only: Any = lambda factors: True, **changes: Any) -> list[Finding]:
    study, cells, store = made_up_study.read(folder, **changes)
    made_up_study.finish(cells, store, only=only)
    measured, problems = read_cells(cells, store, "sample")
    assert problems == []
    return check_hypotheses(study, cells, measured)


def test_verdicts(tmp_path: Path) -> None:
    size, method = findings(tmp_path)
    assert size.verdict is Verdict.SUPPORTED
    assert method.verdict is Verdict.OPEN
    assert size.p is not None
    assert method.p is not None
    assert size.p < 0.001 < 0.05 < method.p
    assert size.low is not None
    assert size.low > 0
    assert (size.cells, size.done, size.strata) == (12, 12, 2)


def test_the_other_side_is_better(tmp_path: Path) -> None:
    claim = {**made_up_study.HYPOTHESES[0]}
    claim["better"], claim["than"] = claim["than"], claim["better"]
    (found,) = findings(tmp_path, hypotheses=[claim])
    assert found.verdict is Verdict.CONTRADICTED


def test_the_difference_is_the_mean_over_pairs_of_configurations(tmp_path: Path) -> None:
    """Checked against scores of whole predictions, mean by mean."""
    (size, _) = findings(tmp_path)
    _, cells, store = made_up_study.read(tmp_path)
    measured, _ = read_cells(cells, store, "sample")

    def mean(base: str, method: str) -> float:
        found = [
            score(each.predictions.truth, each.predictions.prediction)["macro_f1"]
            for each in measured.values()
            if each.cell.design.matches({"block": "size", "base": base, "method": method})
        ]
        assert len(found) == 3
        return float(np.mean([value for value in found if value is not None]))

    large, small = (np.mean([mean(base, method) for method in ("full", "lora")])
                    for base in ("large", "small"))  # fmt: skip
    assert size.better == pytest.approx(large)
    assert size.than == pytest.approx(small)
    assert size.difference == pytest.approx(large - small)


def test_nothing_is_said_before_all_cells_are_measured(tmp_path: Path) -> None:
    size, method = findings(tmp_path, only=lambda of: of["base"] == "small" or of["seed"] < 2)
    assert {size.verdict, method.verdict} == {Verdict.NOT_MEASURED}
    assert (size.done, size.cells) == (10, 12)
    assert size.difference is None


def test_a_cell_of_two_blocks_is_one_run(tmp_path: Path) -> None:
    claim = {"name": "large", "family": "size", "better": {"base": "large"},
             "than": {"base": "small", "method": ["full", "lora"]}}  # fmt: skip
    size = made_up_study.BLOCKS["size"]
    for name in ("once", "twice"):
        (tmp_path / name).mkdir()
    (once,) = findings(tmp_path / "once", hypotheses=[claim], blocks={"size": size})
    (twice,) = findings(
        tmp_path / "twice", hypotheses=[claim], blocks={"size": size, "again": size}
    )
    assert (twice.cells, twice.done) == (once.cells, once.done) == (12, 12)
    assert (twice.low, twice.high, twice.p) == (once.low, once.high, once.p)
    assert once.low is not None


def test_what_is_not_measured_counts_in_its_family(tmp_path: Path) -> None:
    """A study read half-way corrects for as many hypotheses as the finished one."""
    claims = [
        {**made_up_study.HYPOTHESES[1], "name": "within large", "better": {"block": "size",
         "base": "large", "method": "lora"}, "than": {"block": "size", "base": "large",
         "method": "full"}},
        {**made_up_study.HYPOTHESES[1], "name": "sizes", "better": {"block": "few",
         "train_size": 16}, "than": {"block": "few", "train_size": 8}},
    ]  # fmt: skip
    alone = tmp_path / "alone"
    both = tmp_path / "both"
    for folder in (alone, both):
        folder.mkdir()
    (single,) = findings(alone, hypotheses=claims[:1])
    first, second = findings(both, only=lambda of: of["block"] == "size", hypotheses=claims)
    assert second.verdict is Verdict.NOT_MEASURED
    assert single.p is not None
    assert first.p == pytest.approx(min(1.0, 2 * single.p))
    assert single.low is not None
    assert first.low is not None
    assert first.low < single.low


def test_sides_with_other_configurations_are_refused(tmp_path: Path) -> None:
    claim = {"name": "size of data", "family": "f", "better": {"block": "size", "base": "large"},
             "than": {"block": "few", "base": "small"}}  # fmt: skip
    made_up_study.read(tmp_path, hypotheses=[claim])  # no factor in common but seed: fine
    other = {"factors": {"base": ["large"], "method": ["head"], "seed": [0]}}
    blocks = {**made_up_study.BLOCKS, "other": other}
    claim = {**claim, "than": {"block": "other"}}
    with pytest.raises(DesignError, match="method full, the other has none"):
        made_up_study.read(tmp_path, hypotheses=[claim], blocks=blocks)


def test_a_score_that_a_cell_does_not_have(tmp_path: Path) -> None:
    claim = {**made_up_study.HYPOTHESES[0], "metric": "macro_ap"}
    (found,) = findings(tmp_path, hypotheses=[claim])
    assert found.verdict is Verdict.NOT_MEASURED
    assert found.reason == "not every cell has scores, which macro_ap needs"


def test_seeds_of_what_is_not_trained_are_no_repetitions(tmp_path: Path) -> None:
    factors = {"method": ["none"], "base": ["small"], "seed": [0, 1, 2]}
    block = {"factors": factors, "options": {"template": "cls"}}
    _, cells, store = made_up_study.read(tmp_path, blocks={"asked": block}, hypotheses=[])
    assert len(cells) == 3
    made_up_study.finish(cells, store)
    (group,) = groups_of(cells, read_cells(cells, store, "sample")[0])
    assert (len(group.measured), len(group.cells)) == (1, 1)


def test_groups_hold_the_seeds(tmp_path: Path) -> None:
    _, cells, store = made_up_study.read(tmp_path)
    made_up_study.finish(cells, store, only=lambda of: of["seed"] < 2)
    groups = groups_of(cells, read_cells(cells, store, "sample")[0])
    assert [group.label for group in groups][:2] == ["small, full", "small, lora"]
    assert [(len(group.measured), len(group.cells)) for group in groups] == [(2, 3)] * 4 + [
        (2, 2)
    ] * 2
