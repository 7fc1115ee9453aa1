"""A study chooses a configuration by cross-validation before it reads the test set."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from training import write_cv_data

from valueeval.study.cells import Cell, resolve
from valueeval.study.cli import main
from valueeval.study.commands import evaluate_command, train_options
from valueeval.study.cost import Rate, Rates, estimates, evaluation_kind, training_kind
from valueeval.study.design import DesignError, read_study
from valueeval.study.running import execute

CANDIDATES: dict[str, Any] = {
    "factors": {"learning_rate": [0.001, 0.1], "fold": [0, 1], "seed": [0]},
    "options": {"folds": 2},
    "sets": [],
}
BLOCKS: dict[str, Any] = {
    "candidates": CANDIDATES,
    "best": {"factors": {"method": ["selected"], "of": [{"block": "candidates"}]}},
    "student": {
        "factors": {"seed": [0]},
        "options": {"folds": 2, "teacher": {"block": "best"}},
        "sets": [],
    },
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cv_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def write(tiny_bert: Path, data_dir: Path, tmp_path: Path) -> Callable[..., Path]:
    def study(**blocks: Any) -> Path:
        file = tmp_path / "study.yaml"
        options = {"base": str(tiny_bert), "data_dir": str(data_dir), "epochs": 1}
        content = {"options": options, "blocks": blocks or BLOCKS}
        file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        return file

    return study


def cells_of(file: Path) -> dict[str, list[Cell]]:
    found: dict[str, list[Cell]] = {}
    for cell in resolve(read_study(file), file.parent / "out"):
        found.setdefault(cell.design.factors["block"], []).append(cell)
    return found


def test_the_candidates(write: Callable[..., Path]) -> None:
    """Named by what tells them apart; the folds of each in order, for each seed."""
    cells = cells_of(write())
    keys = [cell.key for cell in cells["candidates"]]
    (best,) = cells["best"]
    assert best.candidates == {"learning_rate 0.001": [keys[:2]], "learning_rate 0.1": [keys[2:]]}
    assert sorted(best.needs) == sorted(keys)
    assert list(cells["student"][0].needs) == [best.key]
    two_seeds = {**CANDIDATES, "factors": {**CANDIDATES["factors"], "seed": [0, 1]}}
    (best,) = cells_of(write(**{**BLOCKS, "candidates": two_seeds}))["best"]
    assert [len(seeds) for seeds in best.candidates.values()] == [2, 2]


def test_what_it_costs(write: Callable[..., Path]) -> None:
    """Each of four trainings reads half of 60 arguments; two read the 20 of the test set."""
    cells = cells_of(write())
    trained, asked = (f(cells["candidates"][0]) for f in (training_kind, evaluation_kind))
    assert trained is not None
    assert asked is not None
    rates = Rates({trained: Rate(0, 0)}, {asked: Rate(1, 1)}, {})
    found = estimates([cell for block in cells.values() for cell in block], rates)
    assert found[cells["best"][0].key].seconds == 2 * (1 + 20) + 4 * (1 + 30)


def in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Run the commands of cells without new processes; return them as they come."""
    from valueeval.cli import COMMANDS

    ran: list[list[str]] = []

    def call(self: execute.Runner, words: Sequence[str], log: Any, device: str | None) -> int:
        name, *rest = words[len(execute._VALUEEVAL) :]
        ran.append([name, *rest])
        return int(import_module(COMMANDS[name][0]).main(rest) or 0)

    monkeypatch.setattr(execute.Runner, "_call", call)
    return ran


@pytest.mark.slow
def test_from_training_to_report(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test set is read by the chosen folds alone, and the student learns from these."""
    ran = in_this_process(monkeypatch)
    file, out = write(), tmp_path / "out"
    assert main([str(file), "-o", str(out)]) == 0
    cells = cells_of(file)
    (best,), (student,) = cells["best"], cells["student"]
    choice = json.loads((out / "cells" / best.key / "selection.json").read_text())
    assert {each["name"] for each in choice["candidates"]} == set(best.candidates)
    ((chosen),) = best.candidates[choice["chosen"]]
    adapters = "+".join(str(out / "cells" / key / "adapter") for key in chosen)
    assert f"adapter={adapters}" in evaluate_command(best, out, out / "results")
    assert train_options(student, out)["teacher"] == adapters
    names = [words[0] for words in ran]
    assert names == ["train"] * 4 + ["select", "run", "train"]

    assert main([str(file), "-o", str(out), "--report", str(tmp_path / "report")]) == 0
    text = (tmp_path / "report" / "report.md").read_text()
    assert "## Chosen by cross-validation" in text
    rows = [line for line in text.splitlines() if line.startswith("| learning")]
    assert len(rows) == 2
    assert rows[0].startswith(f"| {choice['chosen']} ".replace("_", "\\_"))
    assert "+0.000" in rows[0] or "0.000" in rows[0]
    page = (tmp_path / "report" / "report.html").read_text()
    assert "chosen in resamples" in page

    assert main([str(file), "-o", str(out), "--archive", str(tmp_path / "copy")]) == 0
    assert main([str(file), "-o", str(tmp_path / "copy"), "--report", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "report.md").read_text() == text

    # The archive goes on: of the folds only those that were chosen are trained again.
    ran.clear()
    assert main([str(file), "-o", str(tmp_path / "copy")]) == 0
    trained = [Path(words[words.index("--output") + 1]).parent.name for words in ran]
    assert trained == [*chosen, student.key]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factors": {"fold": [0, 1]}}, "one configuration leaves no choice"),
        (
            {"factors": {"learning_rate": [0.1, 0.2], "fold": [0]}},
            "learning_rate 0.1: folds 0 with seed 0; needed is each of 0 to 1 once",
        ),
        (
            {"factors": {"learning_rate": [0.1, 0.2]}},
            "only trainings of a fold can be chosen",
        ),
        ({"options": {"folds": 2, "protocol": "cv"}}, "only trainings of a fold"),
        (
            {"options": {"folds": 2, "data": "sample"}},
            "a choice needs the real data",
        ),
        ({"options": {}}, "its cells need the same number of `folds`"),
        (
            {"sets": ["main"]},
            "learning_rate 0.001, fold 0, seed 0: is evaluated on main before the choice",
        ),
        (
            {"factors": {"loss": ["bce", "b=c"], "fold": [0, 1]}},
            "b=c: a candidate's levels cannot hold `=`",
        ),
    ],
)
def test_mistakes(write: Callable[..., Path], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DesignError, match=message):
        read_study(write(**{**BLOCKS, "candidates": {**CANDIDATES, **changes}}))


def test_a_choice_needs_candidates(write: Callable[..., Path]) -> None:
    best = {"factors": {"method": ["selected"]}}
    with pytest.raises(DesignError, match="name the cells to choose among with `of`"):
        read_study(write(candidates=CANDIDATES, best=best))
