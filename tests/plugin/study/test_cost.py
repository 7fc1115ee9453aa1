"""The time of a study: from finished cells by hand, and from a probe with tiny models."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from valueeval.study.cells import Cell, resolve
from valueeval.study.cli import duration, main
from valueeval.study.cost import (
    Rate,
    Rates,
    estimates,
    evaluated_arguments,
    evaluation_kind,
    rates_of_finished,
    trained_arguments,
    training_kind,
)
from valueeval.study.design import read_study
from valueeval.study.probe import probe
from valueeval.study.store import Store
from valueeval.tasks.data.dataset import load_set

NOTHING = Rates({}, {}, {})


def study_of(folder: Path, blocks: dict[str, Any], **options: Any) -> Path:
    (folder / "base").mkdir(exist_ok=True)
    (folder / "base" / "model.safetensors").write_bytes(b"weights")
    file = folder / "study.yaml"
    content = {"options": {"data": "sample", "base": str(folder / "base"), **options}}
    file.write_text(yaml.safe_dump({**content, "blocks": blocks}, sort_keys=False))
    return file


def cells_of(folder: Path, **options: Any) -> list[Cell]:
    file = study_of(folder, {"a": {"factors": {"seed": [0, 1]}}}, **options)
    return resolve(read_study(file), folder / "out")


def finish(cell: Cell, folder: Path, trained: float, evaluated: float) -> None:
    own = Store(folder / "out").path(cell)
    for file, content in (
        (own / "adapter" / "valueeval.json", {"seconds": trained}),
        (own / "results" / "m" / "results_1.json",
         {"total_evaluation_time_seconds": str(evaluated)}),
    ):  # fmt: skip
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(content))


def test_arguments_by_hand(tmp_path: Path) -> None:
    """Validation reads forwards alone, so an argument of it counts as a third."""
    small = {"train_size": 8, "validation_size": 6}
    (first, _) = cells_of(tmp_path, **small, epochs=3)
    assert trained_arguments(first) == pytest.approx(3 * (8 + 2))
    (pretrained, _) = cells_of(tmp_path, **small, epochs=3, contrastive="pretrain")
    assert trained_arguments(pretrained) == pytest.approx(3 * (8 + 2) + 8)
    (template, _) = cells_of(tmp_path, **small, epochs=3, method="lora", template="cls")
    assert trained_arguments(template) == pytest.approx(3 * (8 + 2))
    (head, _) = cells_of(tmp_path, **small, method="head")
    assert trained_arguments(head) == pytest.approx((8 + 6) / 3)
    assert evaluated_arguments(first) == len(load_set("sample").ids)
    (limited, _) = cells_of(tmp_path, limit=5)
    assert evaluated_arguments(limited) == 5


def test_finished_cells_tell_what_others_take(tmp_path: Path) -> None:
    first, second = cells_of(tmp_path, train_size=8, validation_size=6, epochs=3)
    finish(first, tmp_path, 60.0, 10.0)
    rates = rates_of_finished([first, second], Store(tmp_path / "out"))
    assert estimates([second], rates)[second.key].seconds == pytest.approx(70)
    longer, _ = cells_of(tmp_path, train_size=8, validation_size=6, epochs=6)
    assert estimates([longer], rates)[longer.key].seconds == pytest.approx(130)
    other, _ = cells_of(tmp_path, method="lora")
    assert estimates([other], rates)[other.key].seconds is None


def test_a_calibrated_cell_takes_no_answers(tmp_path: Path, real_data_dir: Path) -> None:
    options = {"method": "none", "template": "bca", "data": "touche23"}
    options["data_dir"] = str(real_data_dir)
    factors = {"calibration": ["none", "content-free"], "thresholds": ["raw", "tuned"]}
    file = study_of(tmp_path, {"a": {"factors": factors}}, **options)
    cells = resolve(read_study(file), tmp_path / "out")
    kind = evaluation_kind(cells[0])
    assert kind is not None
    found = estimates(cells, Rates({}, {kind: Rate(5, 2)}, {}))
    raw, *calibrated = (found[c.key].seconds for c in cells if not c.supporting)
    assert raw == 5 + 2 * evaluated_arguments(cells[0])
    assert calibrated == [5, 5, 5]
    content_free = next(c for c in cells if c.sets == ("contentfree",))
    assert found[content_free.key].seconds == 5 + 2 * 6


def test_cross_validation_reads_each_argument_once(tmp_path: Path, real_data_dir: Path) -> None:
    blocks = {
        "folds": {"factors": {"fold": [0, 1, 2, 3, 4]}, "options": {"protocol": "cv"}, "sets": []},
        "all": {
            "factors": {"method": ["average"], "of": [{"block": "folds"}]},
            "sets": ["cv"],
        },
    }
    file = study_of(tmp_path, blocks, data="touche23", data_dir=str(real_data_dir))
    *folds, together = resolve(read_study(file), tmp_path / "out")
    trained, asked = training_kind(folds[0]), evaluation_kind(folds[0])
    assert trained is not None
    assert asked is not None
    found = estimates([*folds, together], Rates({trained: Rate(1, 0)}, {asked: Rate(2, 0.5)}, {}))
    assert [found[cell.key].seconds for cell in folds] == [1] * 5
    assert found[together.key].seconds == pytest.approx(5 * 2 + 0.5 * 8965)


def test_the_plan_says_how_long(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = study_of(tmp_path, {"a": {"factors": {"seed": [0, 1, 2]}}}, train_size=8, epochs=2)
    words = [str(file), "--plan", "-o", str(tmp_path / "out"), "--workers", "2"]
    assert main(words) == 0
    assert "3 cells: time not known: --probe measures them" in capsys.readouterr().out
    finish(resolve(read_study(file), tmp_path / "out")[0], tmp_path, 5400, 1800)
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "a: 2 cells: 4.0 h, the longest cell 2.0 h" in shown
    assert "2 cells to run: 4.0 h; 2.0 h with 2 workers" in shown


def test_an_average_reads_members_that_are_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = {
        "members": {"factors": {"seed": [0, 1]}},
        "average": {"factors": {"method": ["average"], "of": [{"block": "members"}]}},
        "together": {
            "factors": {"method": ["average"], "of": [{"block": "members"}]},
            "options": {"limit": 10_000},  # of which the members have no results
        },
    }
    file = study_of(tmp_path, blocks, train_size=8)
    for cell in resolve(read_study(file), tmp_path / "out")[:2]:
        finish(cell, tmp_path, 60, 1200)
    assert main([str(file), "--plan", "-o", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "average the results of other cells, evaluate on valueeval_cls_sample" in shown
    assert "average: 1 cells: 0 s, the longest cell 0 s" in shown
    assert "together: 1 cells: 40 min, the longest cell 40 min" in shown


def test_durations() -> None:
    assert [duration(s) for s in (40, 600, 7200)] == ["40 s", "10 min", "2.0 h"]


@pytest.mark.slow
def test_a_probe(tmp_path: Path, tiny_bert: Path) -> None:
    """What can be loaded is measured, whatever cannot; finished cells need no probe."""
    factors = {"base": [str(tiny_bert), str(tmp_path / "base")]}
    file = study_of(tmp_path, {"a": {"factors": factors}}, precision="float32")
    cells = resolve(read_study(file), tmp_path / "out")
    told: list[str] = []
    rates = probe(cells, NOTHING, os.environ, told.append)
    assert len(told) == 2
    good, bad = cells
    kind = training_kind(good)
    assert kind is not None
    assert rates.training[kind].each >= 0
    assert rates.training[kind].start > 0
    found = estimates(cells, rates)
    assert found[good.key].seconds is not None
    assert found[bad.key].seconds is None
    assert str(tmp_path / "base") in found[bad.key].reason
    assert not (tmp_path / "out").exists()
    told.clear()
    probe([good], rates, os.environ, told.append)
    assert told == []
