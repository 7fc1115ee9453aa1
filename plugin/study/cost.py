"""How long the cells of a study take on this machine: from finished cells, or from a short probe.

Cells of one kind (base model, method, template …) take a time that grows with the number of
arguments: those trained on, in each epoch, those of validation after it, and those evaluated. What
one argument takes is known from a finished cell of that kind, or measured on a handful
(:mod:`valueeval.study.probe`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from valueeval.study.cells import Cell, set_size, sets_of
from valueeval.study.commands import sample_places
from valueeval.study.store import State, Store
from valueeval.tasks.data.dataset import CV

FORWARD = 1 / 3
"""What an argument takes without a backward pass, of what it takes with one."""

_VALUES = 20
_CHOSEN_BY = ("training", "validation")
_TRAINING = ("method", "template", "heads", "contrastive")
_ASKING = ("template", "num_fewshot", "chat", "dtype")

Kind = tuple[object, ...]


@dataclass(frozen=True)
class Rate:
    """The time that something takes, in seconds.

    Attributes:
        start: Once: imports, loading.
        each: For each argument (of a training: in each epoch).
    """

    start: float
    each: float

    def seconds(self, arguments: float) -> float:
        """Return the time for some arguments."""
        return self.start + self.each * arguments


@dataclass(frozen=True)
class Rates:
    """Rates by kind, and why some kinds have none.

    Attributes:
        training: By `training_kind`.
        evaluation: By `evaluation_kind`.
        failures: Why a kind could not be measured.
    """

    training: Mapping[Kind, Rate]
    evaluation: Mapping[Kind, Rate]
    failures: Mapping[Kind, str]


@dataclass(frozen=True)
class Estimate:
    """The time of a cell.

    Attributes:
        seconds: Of training and evaluation; None where it is not known.
        reason: Why it is not known.
    """

    seconds: float | None
    reason: str = ""


def training_kind(cell: Cell) -> Kind | None:
    """Return what the time of an argument in training depends on; None where nothing is trained."""
    if cell.train is None:
        return None
    options = {"method": "full", **cell.design.options}
    return ("train", _base(cell), *(options.get(name) for name in _TRAINING), cell.processes)


def evaluation_kind(cell: Cell) -> Kind | None:
    """Return what the time of an argument in an evaluation depends on; None for an average."""
    options = cell.design.options
    if cell.train is not None:
        return ("evaluate", training_kind(cell))
    if options.get("method") != "none":
        return None
    return ("evaluate", _base(cell), *(options.get(name) for name in _ASKING))


def estimates(cells: Sequence[Cell], rates: Rates) -> dict[str, Estimate]:
    """Return the time of each cell, by key."""
    by_key = {cell.key: cell for cell in cells}
    return {key: _estimate(cell, by_key, rates) for key, cell in by_key.items()}


def rates_of_finished(cells: Sequence[Cell], store: Store) -> Rates:
    """Return what the finished cells took, an argument; they record their seconds."""
    training: dict[Kind, Rate] = {}
    evaluation: dict[Kind, Rate] = {}
    for cell in cells:
        if store.state(cell) is not State.DONE:
            continue
        kind = training_kind(cell)
        took = number_in(store.manifest(cell), "seconds")
        if kind is not None and took is not None:
            training[kind] = Rate(0.0, took / trained_arguments(cell))
        kind = evaluation_kind(cell)
        took = _evaluation_seconds(store.results(cell))
        if kind is not None and took is not None and cell.calibrated is None:
            evaluation[kind] = Rate(0.0, took / evaluated_arguments(cell))
    return Rates(training, evaluation, {})


def trained_arguments(cell: Cell) -> float:
    """Return the arguments that are trained on, over all epochs; one of validation is a third."""
    recipe = cell.recipe or {}
    where = cell.design.options.get("data_dir")
    named = sets_of(str(recipe.get("data")))
    training, validation = (set_size(name, where) for name in named[:2])
    if recipe.get("protocol") == CV:
        validation = set_size(CV, where) // 5
        training = 3 * validation
    elif (folds := recipe.get("folds")) is not None:
        both = training + validation
        out = recipe.get("fold") is None  # a student is trained on all
        training, validation = (both, both) if out else (both - both // folds, both // folds)
    if (shots := recipe.get("shots_per_value")) is not None:
        training = min(training, shots * _VALUES)
    training = min(training, recipe.get("train_size") or training)
    validation = min(validation, recipe.get("validation_size") or validation)
    epochs = int(recipe.get("epochs", 1))
    if recipe.get("method") == "head":  # the frozen model reads each argument once, forwards
        return (training + validation) * FORWARD
    pretrained = recipe.get("contrastive") == "pretrain"  # a template has none
    before = int(recipe.get("contrastive_epochs", 1)) if pretrained else 0
    return epochs * (training + validation * FORWARD) + before * training


def evaluated_arguments(cell: Cell) -> int:
    """Return the number of arguments that a cell is evaluated on, over all of its sets."""
    if (places := sample_places(cell)) is not None:
        return sum(map(len, places.values()))
    sizes = [set_size(name, cell.design.options.get("data_dir")) for name in cell.sets]
    limit = cell.design.options.get("limit")
    return sum(min(size, limit or size) for size in sizes)


def _readers(cell: Cell, by_key: Mapping[str, Cell]) -> list[Cell]:
    """Return the cells whose model reads what a cell is evaluated on: itself, or its members."""
    if evaluation_kind(cell):
        return [cell]
    if cell.from_results:
        return []
    keys: Sequence[str] = cell.needs
    if cell.candidates:  # whichever is chosen
        keys = [key for seed in next(iter(cell.candidates.values())) for key in seed]
    return [each for key in keys if key in by_key for each in _readers(by_key[key], by_key)]


def _estimate(cell: Cell, by_key: Mapping[str, Cell], rates: Rates) -> Estimate:
    seconds, missing = 0.0, []
    if (kind := training_kind(cell)) is not None:
        if kind in rates.training:
            seconds += rates.training[kind].seconds(trained_arguments(cell))
        else:
            missing.append(kind)
    arguments: float = evaluated_arguments(cell)
    read = [(each, arguments) for each in _readers(cell, by_key)]
    if cell.sets == (CV,):  # each is answered by the one that has not seen it
        read = [(each, number / len(read)) for each, number in read]
    if not cell.tasks:
        read = []
    if cell.candidates:  # every fold that was left out is read by its training, before the choice
        folds = [by_key[key] for key in cell.needs if key in by_key]
        both = sum(set_size(name, cell.design.options.get("data_dir")) for name in _CHOSEN_BY)
        read += [(each, both / int((each.recipe or {})["folds"])) for each in folds]
    for each, number in read:
        kind = evaluation_kind(each)
        if kind is None or kind not in rates.evaluation:
            missing.append(kind or ("evaluate",))
        elif cell.calibrated is not None:  # the model is loaded, and has answered already
            seconds += rates.evaluation[kind].start
        else:
            seconds += rates.evaluation[kind].seconds(number)
    if missing:
        return Estimate(None, next((rates.failures[k] for k in missing if k in rates.failures), ""))
    return Estimate(seconds)


def _base(cell: Cell) -> str:
    return str(cell.design.options.get("base", "minilm"))


def _evaluation_seconds(results: Path) -> float | None:
    found = sorted(results.rglob("results_*.json"))
    return number_in(found[0], "total_evaluation_time_seconds") if found else None


def number_in(file: Path, key: str) -> float | None:
    """Return a number of a JSON file, which lm-eval writes as text; None if there is none."""
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
        return float(content[key])
    except (OSError, ValueError, KeyError, TypeError):
        return None
