"""The commands of ``valueeval`` that a cell consists of, and the files that they read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from valueeval.study.cells import Calibrated, Cell
from valueeval.study.design import AVERAGE
from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError

ANSWERS = "answers"
"""Name of lm-eval's ``--use_cache`` in a cell's folder; it adds the number of the process."""

ANSWERS_FILE = f"{ANSWERS}_rank0.db"
CELL_FILE = "cell.json"
SELECTION_FILE = "selection.json"
_SAMPLES, _CALIBRATION = "samples.json", "calibration.json"


def cell_folder(folder: Path, key: str) -> Path:
    """Return the folder of a cell.

    Args:
        folder: The study's folder.
        key: The cell's address.
    """
    return folder / "cells" / key


def adapters(folder: Path, keys: Sequence[str]) -> str:
    """Return the adapters of some cells as one name: ``A+B+C``.

    A cell that has chosen a configuration stands for the adapters of that.
    """
    return "+".join(
        str(cell_folder(folder, each) / "adapter")
        for key in keys
        for each in (chosen_keys(folder, key) or [key])
    )


def chosen_keys(folder: Path, key: str) -> list[str]:
    """Return the cells of the configuration that a cell has chosen; empty if it chooses none."""
    own = cell_folder(folder, key)
    if not (own / SELECTION_FILE).is_file():
        return []
    chosen = json.loads((own / SELECTION_FILE).read_text(encoding="utf-8"))["chosen"]
    candidates = json.loads((own / CELL_FILE).read_text(encoding="utf-8"))["candidates"]
    return [each for seed in candidates[chosen] for each in seed]


def select_command(cell: Cell, folder: Path) -> list[str]:
    """Return the words after ``valueeval`` that choose among a cell's configurations."""
    words = ["select", "--output", str(cell_folder(folder, cell.key) / SELECTION_FILE)]
    if "data_dir" in cell.design.options:
        words += ["--data_dir", str(cell.design.options["data_dir"])]
    given = [
        f"{name}={adapters(folder, keys)}"
        for name, seeds in cell.candidates.items()
        for keys in seeds
    ]
    return [*words, *given]


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


def calibrate_command(cell: Cell, calibrated: Calibrated, folder: Path) -> list[str]:
    """Return the words after ``valueeval`` that fit a cell's calibration to answers that are there.

    Raises:
        ValueEvalError: The cell that the answers are of has written no samples.
    """
    words = ["calibrate", "-o", str(cell_folder(folder, cell.key) / _CALIBRATION)]
    prior: str = calibrated.prior
    if calibrated.content_free is not None:
        prior = str(_samples_of(folder, calibrated.content_free))
    words += ["--prior", prior, "--thresholds", "shrunk" if calibrated.tuned else "none"]
    if calibrated.validation is not None:
        words.append(str(_samples_of(folder, calibrated.validation)))
    return words


def average_command(cell: Cell, folder: Path, results: Path) -> list[str]:
    """Return the words after ``valueeval`` that average the results of a cell's members."""
    words = ["average", *(str(cell_folder(folder, key) / "results") for key in cell.needs)]
    words += ["-o", str(results), "--tasks", ",".join(cell.tasks)]
    if "data_dir" in cell.design.options:
        words += ["--data_dir", str(cell.design.options["data_dir"])]
    return words


def evaluate_command(cell: Cell, folder: Path, results: Path) -> list[str]:
    """Return the words after ``valueeval`` that evaluate a cell by lm_eval."""
    options, own = cell.design.options, cell_folder(folder, cell.key)
    if cell.train is not None:
        model = f"adapter={own / 'adapter'}"
    elif options.get("method") == AVERAGE:
        model = f"adapter={adapters(folder, cell.needs)}"
    elif cell.candidates:
        model = f"adapter={adapters(folder, [cell.key])}"
    else:
        model = f"pretrained={options['base']}"
        if options.get("revision"):
            model += f",revision={options['revision']}"
    if "dtype" in options:
        model += f",dtype={options['dtype']}"
    if cell.calibrated is not None:
        model += f",calibration={own / _CALIBRATION}"
    words = ["run", "--model", "valueeval", "--model_args", model, "--tasks", ",".join(cell.tasks)]
    words += ["--batch_size", "auto", "--output_path", str(results), "--log_samples"]
    if options.get("method") == "none":
        # A calibrated cell finds the answers of the raw one here, a stopped one its own.
        words += ["--use_cache", str(own / ANSWERS)]
    for name in ("num_fewshot", "limit"):
        if name in options:
            words += [f"--{name}", str(options[name])]
    if "per_conclusion" in options:
        words += ["--samples", str(own / _SAMPLES)]
    if options.get("chat"):
        words.append("--apply_chat_template")
    if "data_dir" in options:
        words += ["--metadata", json.dumps({"data_dir": options["data_dir"]})]
    return words


def sample_places(cell: Cell) -> Mapping[str, list[int]] | None:
    """Return the places of the arguments that a cell is evaluated on, by task; None for all.

    The file ``samples.json`` of a cell holds them, for lm-eval's ``--samples``.
    """
    options = cell.design.options
    if "per_conclusion" not in options:
        return None
    most, where = int(options["per_conclusion"]), options.get("data_dir")
    return {
        task: list(_first_of_each_conclusion(name, where, most))
        for task, name in zip(cell.tasks, cell.sets, strict=True)
    }


@cache
def _first_of_each_conclusion(name: str, where: str | None, most: int) -> tuple[int, ...]:
    """Return the places of the first arguments of each conclusion, in order, from 0."""
    places, seen = [], Counter[str]()
    for place, conclusion in enumerate(load_set(name, where).conclusions):
        key = conclusion_key(conclusion)
        seen[key] += 1
        if seen[key] <= most:
            places.append(place)
    return tuple(places)


def _samples_of(folder: Path, key: str) -> Path:
    """Return the one file of samples that a cell has written."""
    found = sorted(cell_folder(folder, key).glob("results/**/samples_*.jsonl"))
    if len(found) != 1:
        raise ValueEvalError(
            f"{cell_folder(folder, key)}: {len(found)} files of samples, expected one: remove its "
            "results, so that it is evaluated again"
        )
    return found[0]
