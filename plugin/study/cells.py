"""Cells as work to be done: what is trained, what is evaluated, and the address of the result.

A cell's address is a hash of everything that its result depends on: the options of training with
their defaults filled in, the evaluation, the weights of the base model, the data, the cells that
it needs and the version of this package. So nothing runs twice, whatever a study file calls it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from valueeval import __version__
from valueeval.study.design import (
    EVALUATION,
    PROCESSES,
    UNTRAINED,
    CellDesign,
    DesignError,
    Study,
    references,
)
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.templates.decide import TEMPLATES

_PLACE = "ADAPTERS-OF-OTHER-CELLS"


@dataclass(frozen=True)
class Cell:
    """A cell whose options have been checked.

    Attributes:
        design: The cell in the study file.
        key: Its address, 16 hexadecimal digits.
        train: Options of ``valueeval train`` as they stand in the file; None trains nothing.
        processes: How many processes train it.
        needs: Keys of the cells whose adapters it reads.
        sets: The sets of the dataset that it is evaluated on.
        tasks: Tasks of lm-eval, one for each set.
    """

    design: CellDesign
    key: str
    train: Mapping[str, Any] | None
    processes: int
    needs: tuple[str, ...]
    sets: tuple[str, ...]
    tasks: tuple[str, ...]


def resolve(study: Study, folder: Path) -> list[Cell]:
    """Check every cell's options and address it; cells come after those that they need.

    Args:
        study: The study.
        folder: Where cells are kept: a cell that reads another's adapter finds it there.

    Raises:
        ValueEvalError: Options that do not go together, cells that need each other, data or a local
            base model that cannot be found.
    """
    wanted = {id(cell): references(cell) for cell in study.cells}
    graph = {
        n: [
            m
            for m, other in enumerate(study.cells)
            if wanted[id(cell)] is not None and m != n and other.matches(wanted[id(cell)] or {})
        ]
        for n, cell in enumerate(study.cells)
    }
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        around = ", ".join(study.cells[n].label for n in error.args[1])
        raise DesignError(f"{study.name}: cells need each other: {around}") from error
    cells: dict[int, Cell] = {}
    for n in order:
        try:
            cells[n] = _resolve(study.cells[n], [cells[m] for m in graph[n]], folder)
        except ValueEvalError as error:
            raise DesignError(f"{study.cells[n].label}: {error}") from error
    return [cells[n] for n in order]


def cell_folder(folder: Path, key: str) -> Path:
    """Return the folder of a cell."""
    return folder / "cells" / key


def adapters(folder: Path, keys: Sequence[str]) -> str:
    """Return the adapters of some cells as one name: ``A+B+C``."""
    return "+".join(str(cell_folder(folder, key) / "adapter") for key in keys)


def train_command(cell: Cell, folder: Path) -> list[str]:
    """Return the words after ``valueeval`` that train a cell, or go on where it was stopped."""
    own = cell_folder(folder, cell.key)
    return [
        "train",
        "--config",
        str(own / "train.yaml"),
        "--output",
        str(own / "adapter"),
        "--resume",
    ]


def train_options(cell: Cell, folder: Path) -> dict[str, Any]:
    """Return the content of a cell's ``train.yaml``."""
    options = dict(cell.train or {})
    if cell.needs:
        options["teacher"] = adapters(folder, cell.needs)
    return options


def evaluate_command(cell: Cell, folder: Path, results: Path) -> list[str]:
    """Return the words after ``valueeval`` that evaluate a cell by lm_eval."""
    options = cell.design.options
    if cell.train is not None:
        model = f"adapter={cell_folder(folder, cell.key) / 'adapter'}"
    elif cell.needs:
        model = f"adapter={adapters(folder, cell.needs)}"
    else:
        model = f"pretrained={options['base']}"
    if "dtype" in options:
        model += f",dtype={options['dtype']}"
    words = ["run", "--model", "valueeval", "--model_args", model, "--tasks", ",".join(cell.tasks)]
    words += ["--batch_size", "auto", "--output_path", str(results), "--log_samples"]
    for name in ("num_fewshot", "limit"):
        if name in options:
            words += [f"--{name}", str(options[name])]
    if options.get("chat"):
        words.append("--apply_chat_template")
    if "data_dir" in options:
        words += ["--metadata", json.dumps({"data_dir": options["data_dir"]})]
    return words


def _resolve(design: CellDesign, needed: Sequence[Cell], folder: Path) -> Cell:
    options = dict(design.options)
    method = options.get("method")
    for name in ("of", *EVALUATION):
        options.pop(name, None)
    processes = options.pop(PROCESSES, 1)
    if not isinstance(processes, int) or processes < 1:
        raise DesignError(f"{PROCESSES}: {processes!r}; allowed: a whole number above 0")
    needs = tuple(sorted(cell.key for cell in needed))
    identity: dict[str, Any] = {
        "version": __version__,
        "needs": needs,
        "evaluation": {k: design.options[k] for k in EVALUATION if k in design.options},
    }
    train = None
    if method in UNTRAINED:
        _check_untrained(design)
        identity["method"] = method
    else:
        if needs:
            options["teacher"] = _PLACE
        identity["recipe"] = _recipe(options, folder)
        if processes > 1:  # sums of gradients are rounded otherwise
            identity[PROCESSES] = processes
        train = {k: v for k, v in options.items() if k != "teacher" or not needs}
    data, where = str(options.get("data", "touche23")), options.get("data_dir")
    sets = ("sample",) if data == "sample" else design.sets
    identity["tasks"] = tasks = _tasks(design, sets)
    identity["data"] = _data_hash(data, where)
    if method != "average":
        identity["base"] = _base_identity(
            str(options.get("base", "minilm")), options.get("revision")
        )
    text = json.dumps(identity, sort_keys=True, default=str)
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Cell(design, key, train, processes, needs, sets, tasks)


def _check_untrained(design: CellDesign) -> None:
    allowed = {"method", "base", "template", "paraphrase", "data", "data_dir", "of", *EVALUATION}
    ignored = sorted(set(design.factors) - allowed - {"block", "seed"})
    if ignored:
        raise DesignError(f"{', '.join(ignored)}: nothing is trained, so this has no effect")
    if design.options["method"] == "none" and "template" not in design.options:
        raise DesignError(f"method none: name a template: {', '.join(TEMPLATES)}")


def _recipe(options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return what training depends on, after checking the options as ``valueeval train`` does."""
    from valueeval.train.command_line import config_of

    config = config_of(options, str(folder / "adapter"))
    recipe = config.recipe()
    # The base is told by its weights, the teacher by the cells that it is made of.
    return {k: v for k, v in recipe.items() if k != "base" and v != _PLACE}


def _tasks(design: CellDesign, sets: Sequence[str]) -> tuple[str, ...]:
    options = design.options
    template = options.get("template") or "cls"
    if template not in TEMPLATES:
        raise DesignError(f"template: {template!r}; allowed: {', '.join(TEMPLATES)}")
    wording = options.get("paraphrase") or 1
    name = f"valueeval_{template}" + (f"_p{wording}" if wording != 1 else "")
    return tuple(name if which == "main" else f"{name}_{which}" for which in sets)


@cache
def _data_hash(data: str, where: str | None) -> tuple[str, ...]:
    names = {"sample": ("sample_training", "sample_validation", "sample")}
    return tuple(
        load_set(name, where).sha256 for name in names.get(data, ("training", "validation", "main"))
    )


@cache
def _base_identity(name: str, revision: str | None) -> str:
    """Return the hash of a local model's weights, or the name and revision of one on the hub."""
    from valueeval.adapters.directory.base import resolve_base, weight_hash

    place = Path(resolve_base(name))
    if files := list(place.glob("*.safetensors")):
        return weight_hash(files)
    if place.is_dir():
        raise DesignError(f"base: {name}: no .safetensors file there")
    return f"{name}@{revision or 'main'}"
