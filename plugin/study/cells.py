"""Cells as work to be done: what is trained, what is evaluated, and the address of the result.

A cell's address is a hash of everything that its result depends on: the options of training with
their defaults filled in, the evaluation, the weights of the base model, the data, the cells that
it needs and the version of this package. So nothing runs twice, whatever a study file calls it.

A calibrated cell is made from the answers of raw ones: about its own sets, and about what it is
fitted on. Where the study does not list these they are added, as supporting cells.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from valueeval.study.design import (
    AVERAGE,
    CONTENT_FREE_PRIOR,
    DECISIONS,
    EVALUATION,
    PARTS,
    PROCESSES,
    SELECTED,
    UNTRAINED,
    CellDesign,
    DesignError,
    Study,
    configurations,
    references,
)
from valueeval.tasks.data.content_free import CONTENT_FREE, content_free_set
from valueeval.tasks.data.dataset import CV, CV_PARTS, load_set
from valueeval.tasks.display import did_you_mean
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.templates.decide import TEMPLATES

if TYPE_CHECKING:
    from valueeval.train.config.config import TrainConfig

_PLACE = "ADAPTERS-OF-OTHER-CELLS"
_SCORED = ("cls", "bca")


@dataclass(frozen=True)
class Calibrated:
    """How the answers of a base model are decided, otherwise than by their sign.

    Attributes:
        prior: What is subtracted from the scores: ``none``, ``batch`` (their mean over validation,
            without its labels) or ``content-free``.
        tuned: Whether thresholds are then tuned on the labels of validation.
        answers: Key of the cell that holds the answers about the cell's own sets.
        validation, content_free: Keys of those that hold the answers which it is fitted on; None
            where they are not needed.
    """

    prior: str
    tuned: bool
    answers: str
    validation: str | None
    content_free: str | None


@dataclass(frozen=True)
class Cell:
    """A cell whose options have been checked.

    Attributes:
        design: The cell in the study file.
        key: Its address, 16 hexadecimal digits.
        train: Options of ``valueeval train`` as they stand in the file; None trains nothing.
        recipe: The same with their defaults; None likewise.
        processes: How many processes train it.
        needs: Keys of the cells whose adapters or answers it reads.
        sets: The sets of the dataset that it is evaluated on.
        tasks: Tasks of lm-eval, one for each set.
        calibrated: How the answers of a base model are decided; None by their sign, or by what was
            trained.
        candidates: The configurations that one is chosen of: by name, for each of its seeds the
            keys of its folds; empty where nothing is chosen.
        supporting: Whether it has no result of its own: others read its adapter or its answers.
        from_results: Whether the study averages its members' results and runs no model. All
            members must be evaluated on the same arguments.
    """

    design: CellDesign
    key: str
    train: Mapping[str, Any] | None
    recipe: Mapping[str, Any] | None
    processes: int
    needs: tuple[str, ...]
    sets: tuple[str, ...]
    tasks: tuple[str, ...]
    calibrated: Calibrated | None = None
    candidates: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    supporting: bool = False
    from_results: bool = False


def resolve(study: Study, folder: Path) -> list[Cell]:
    """Check every cell's options and address it, in the order of the file.

    Cells come after those that they need.

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
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        around = ", ".join(study.cells[n].label for n in error.args[1])
        raise DesignError(f"{study.name}: cells need each other: {around}") from error
    order: list[int] = []

    def place(n: int) -> None:
        for needed in graph[n]:
            place(needed)
        if n not in order:
            order.append(n)

    for n in graph:
        place(n)
    cells: dict[int, Cell] = {}
    supporting: dict[str, Cell] = {}
    for n in order:
        try:
            cells[n], *others = _resolve(study.cells[n], [cells[m] for m in graph[n]], folder)
        except ValueEvalError as error:
            raise DesignError(f"{study.cells[n].label}: {error}") from error
        supporting.update({cell.key: cell for cell in others})
    listed = [cells[n] for n in order]
    for cell in listed:
        supporting.pop(cell.key, None)
    # Each before the first cell that reads it.
    return [
        each
        for cell in listed
        for each in (*(supporting.pop(key) for key in cell.needs if key in supporting), cell)
    ]


def _resolve(design: CellDesign, needed: Sequence[Cell], folder: Path) -> list[Cell]:
    """Return a cell, and the raw cells that it is calibrated with."""
    if design.options.get("method") == "none":
        prior, tuned = _decisions(design)
        if prior != "none" or tuned:
            return _calibrated(design, prior, tuned, folder)
        raw = replace(design, options=_without_decisions(design.options))
        return [replace(_single(raw, needed, folder), design=design)]
    return [_single(design, needed, folder)]


def _decisions(design: CellDesign) -> tuple[str, bool]:
    """Return the prior of a cell that trains nothing, and whether thresholds are tuned."""
    chosen = []
    for name, allowed in DECISIONS.items():
        value = design.options.get(name, allowed[0])
        if value not in allowed:
            raise DesignError(f"{name}: {value!r}; allowed: {', '.join(allowed)}")
        chosen.append(value)
    return chosen[0], chosen[1] != DECISIONS["thresholds"][0]


def _without_decisions(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in DECISIONS}


def _calibrated(design: CellDesign, prior: str, tuned: bool, folder: Path) -> list[Cell]:
    """Return a calibrated cell and the raw ones whose answers it is made of."""
    options = _without_decisions(design.options)
    template = options.get("template")
    if template in TEMPLATES and template not in _SCORED:
        raise DesignError(
            f"template {template}: its answers have no scores, so they cannot be calibrated or "
            f"tuned; those of {' and '.join(_SCORED)} can"
        )
    if options.get("data") == "sample":
        raise DesignError("the sample data have no validation task to calibrate or tune on")

    def raw(sets: tuple[str, ...]) -> Cell:
        given, factors = dict(options), _without_decisions(design.factors)
        if sets == (CONTENT_FREE,):  # a handful of arguments, all on one conclusion
            given = {k: v for k, v in given.items() if k not in PARTS}
        factors["answers"] = "+".join(sets)
        about = replace(design, factors=factors, options=given, sets=sets)
        return replace(_single(about, (), folder), supporting=True)

    answers = raw(design.sets)
    validation = raw(("validation",)) if tuned or prior == "batch" else None
    content_free = raw((CONTENT_FREE,)) if prior == CONTENT_FREE_PRIOR else None
    fitted_on = [cell for cell in (validation, content_free) if cell is not None]
    keys = (answers.key, *(cell.key for cell in fitted_on))
    identity = json.dumps([design.version, prior, tuned, keys])
    cell = replace(
        answers,
        design=design,
        key=hashlib.sha256(identity.encode()).hexdigest()[:16],
        needs=keys,
        calibrated=Calibrated(
            prior,
            tuned,
            answers.key,
            None if validation is None else validation.key,
            None if content_free is None else content_free.key,
        ),
        supporting=False,
    )
    return [cell, answers, *fitted_on]


def _single(design: CellDesign, needed: Sequence[Cell], folder: Path) -> Cell:
    options = dict(design.options)
    method = options.get("method")
    for name in ("of", *EVALUATION):
        options.pop(name, None)
    if _takes_all_training(options):  # the same training as without the number
        del options["train_size"]
    processes = options.pop(PROCESSES, 1)
    needs = tuple(sorted(cell.key for cell in needed))
    identity: dict[str, Any] = {
        "version": design.version,
        "needs": needs,
        "evaluation": {k: design.options[k] for k in EVALUATION if k in design.options},
    }
    train = recipe = None
    if method in UNTRAINED:
        _check_untrained(design)
        identity["method"] = method
    else:
        if needs:
            options["teacher"] = _PLACE
        config = _config(options, folder)
        identity["recipe"] = recipe = _recipe(config)
        if tables := _table_hashes(config):
            identity["tables"] = tables
        if processes > 1:  # sums of gradients are rounded otherwise
            identity[PROCESSES] = processes
        train = {k: v for k, v in options.items() if k != "teacher" or not needs}
    data, where = str(options.get("data", "touche23")), options.get("data_dir")
    sets = ("sample",) if data == "sample" and design.sets else design.sets
    _refuse_seen(sets, recipe, needed if method in (AVERAGE, SELECTED) else ())
    identity["tasks"] = tasks = _tasks(design, sets)
    identity["data"] = _data_hash(data, where)
    if others := [name for name in sets if name not in (*sets_of(data), CV, CONTENT_FREE)]:
        identity["sets"] = [_set_hash(name, where) for name in others]
    if options.get("protocol") == CV or CV in sets:
        identity["cv"] = load_set(CV, where).sha256
    if method not in (AVERAGE, SELECTED):
        identity["base"] = _base_identity(
            str(options.get("base", "minilm")), options.get("revision"), design.base_sha256
        )
    text = json.dumps(identity, sort_keys=True, default=str)
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    if not sets and train is None:
        raise DesignError("sets: []: nothing is trained, so name a set to evaluate on")
    return Cell(
        design, key, train, recipe, processes, needs, sets, tasks,
        candidates=_candidates(needed) if method == SELECTED else {}, supporting=not sets,
        from_results=method == AVERAGE and _has_results_of(needed, design.part, sets),
    )  # fmt: skip


def _has_results_of(members: Sequence[Cell], part: str, sets: Sequence[str]) -> bool:
    """Return whether all members of an average are evaluated on what the average is about."""
    if CV in sets:  # each argument is answered by the one that has not seen it
        return False
    return all(set(sets) <= set(each.sets) and each.design.part == part for each in members)


def _candidates(needed: Sequence[Cell]) -> dict[str, list[list[str]]]:
    """Return the keys of the folds of each configuration, for each of its seeds."""
    keys = {id(cell.design): cell.key for cell in needed}
    found: dict[str, list[list[str]]] = {}
    for name, cells in configurations([cell.design for cell in needed]).items():
        by_seed: dict[Any, list[CellDesign]] = {}
        for cell in cells:
            by_seed.setdefault(cell.options.get("seed", 0), []).append(cell)
        found[name] = [
            [keys[id(cell)] for cell in sorted(of_one, key=lambda cell: cell.factors["fold"])]
            for of_one in by_seed.values()
        ]
    return found


def _check_untrained(design: CellDesign) -> None:
    _refuse_misspelt(design.options)
    allowed = {"method", "base", "template", "paraphrase", "data", "data_dir", "of", *EVALUATION}
    if design.options["method"] == "none":
        allowed |= {"revision", *DECISIONS}
    ignored = sorted(set(design.factors) - allowed - {"block", "seed", "answers"})
    if ignored:
        raise DesignError(f"{', '.join(ignored)}: nothing is trained, so this has no effect")
    if design.options["method"] == "none" and "template" not in design.options:
        raise DesignError(f"method none: name a template: {', '.join(TEMPLATES)}")
    if design.options["method"] == "none" and not design.options.get("base"):
        raise DesignError("method none: name a base: the model that is asked")


def _refuse_misspelt(options: Mapping[str, Any]) -> None:
    """Refuse names that are no option of anything; those of a training may stand for all cells."""
    from valueeval.train.config import renamed
    from valueeval.train.options import all_options

    known = {*all_options(), *renamed.NAMES, *EVALUATION, *DECISIONS, PROCESSES, "of"}
    for name in options:
        if name.replace("-", "_") not in known:
            raise DesignError(f"no option {name}{did_you_mean(name, sorted(known))}")


def _config(options: Mapping[str, Any], folder: Path) -> TrainConfig:
    """Return the configuration of a training, checked as ``valueeval train`` does."""
    from valueeval.train.command_line import config_of

    return config_of(options, str(folder / "adapter"))


def _recipe(config: TrainConfig) -> dict[str, Any]:
    """Return what training depends on, but for the base and the teachers that are cells.

    The base is told by its weights, the teacher by the cells that it is made of.
    """
    recipe = config.recipe()
    return {k: v for k, v in recipe.items() if k != "base" and v != _PLACE}


def _refuse_seen(
    sets: Sequence[str], recipe: Mapping[str, Any] | None, members: Sequence[Cell]
) -> None:
    """Refuse sets whose labels a cell has seen: its evaluation would, after the training.

    Args:
        sets: The sets that it is to be evaluated on.
        recipe: The recipe of its training; None if nothing is trained.
        members: The cells that it averages or chooses among.
    """
    if members and all((each.recipe or {}).get("protocol") == CV for each in members):
        if set(sets) != {CV}:
            raise DesignError(
                f"an average of trainings with protocol: {CV} is evaluated on `sets: [{CV}]` alone"
            )
        return
    recipes = [recipe] if recipe is not None else [each.recipe or {} for each in members]
    for each in recipes:
        seen = {CV} if "touche23" in str(each.get("data")).split("+") else set()
        if each.get("protocol") == CV:
            seen.update(CV_PARTS)
        if wrong := [name for name in sets if name in seen]:
            raise DesignError(
                f"sets: {', '.join(wrong)}: it has seen labels of these; a training with protocol: "
                f"{CV} has `sets: []`, and the average of all five folds `sets: [{CV}]`"
            )


def _tasks(design: CellDesign, sets: Sequence[str]) -> tuple[str, ...]:
    options = design.options
    template = options.get("template") or "cls"
    if template not in TEMPLATES:
        raise DesignError(f"template: {template!r}; allowed: {', '.join(TEMPLATES)}")
    wording = options.get("paraphrase") or 1
    name = f"valueeval_{template}" + (f"_p{wording}" if wording != 1 else "")
    return tuple(name if which == "main" else f"{name}_{which}" for which in sets)


def _takes_all_training(options: Mapping[str, Any]) -> bool:
    """Return whether ``train_size`` is the number of all training arguments.

    Folds and tables have training arguments of their own, so that there it never is.
    """
    from valueeval.train.config.config import DATA_SETS

    size, data = options.get("train_size"), options.get("data", "touche23")
    if size is None or {"folds", "fold", "protocol"} & options.keys() or data not in DATA_SETS:
        return False
    return bool(size == set_size(sets_of(data)[0], options.get("data_dir")))


def sets_of(data: str) -> tuple[str, str, str]:
    """Return the sets for training, validation and testing, as `load_set` names them."""
    if data == "sample":
        return "sample_training", "sample_validation", "sample"
    return "training", "validation", "main"


@cache
def set_size(name: str, where: str | None) -> int:
    """Return the number of arguments of a set; ``where`` is the folder of the dataset's files."""
    data = content_free_set() if name == CONTENT_FREE else load_set(name, where)
    return len(data.ids)


@cache
def _data_hash(data: str, where: str | None) -> tuple[str, ...]:
    return tuple(_set_hash(name, where) for name in sets_of(data))


@cache
def _set_hash(name: str, where: str | None) -> str:
    return load_set(name, where).sha256


def _table_hashes(config: TrainConfig) -> list[str]:
    """Return the hashes of the labelled tables among the data: a name says not what is in them."""
    from valueeval.train.config.config import DATA_SETS

    return [_file_hash(Path(part)) for part in config.data_parts if part not in DATA_SETS]


@cache
def _file_hash(table: Path) -> str:
    try:
        return hashlib.sha256(table.read_bytes()).hexdigest()
    except OSError as error:
        raise DesignError(f"data: {table}: cannot be read ({error.strerror})") from error


@cache
def _base_identity(name: str, revision: str | None, sha256: str) -> str:
    """Return the hash of a base's weights, or the name and revision of one that is not here.

    Args:
        name: The base.
        revision: The hub's revision.
        sha256: The hash that the study file states; empty if it states none.
    """
    from valueeval.adapters.directory.base import resolve_base, weight_hash

    place = Path(resolve_base(name))
    if files := list(place.glob("*.safetensors")):
        found = weight_hash(files)
        if sha256 and found != sha256:
            raise DesignError(
                f"base: {name}: its weights have SHA-256 {found}, not {sha256} as the study says"
            )
        return found
    if place.is_dir():
        raise DesignError(f"base: {name}: no .safetensors file there")
    return sha256 or f"{name}@{revision or 'main'}"
