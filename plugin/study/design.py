"""The design of a study: a YAML file with blocks of factors, expanded into cells.

::

    name: size
    description: Does size help?             # for the report; blocks can have one too
    version: "0.1.0"                         # of this package; default: the one that is installed
    bases:                                   # short names for folders or hub ids
      mpnet: models/mpnet
      small: {path: models/small, sha256: 78c0…}  # of its weights, which are checked
    options: {data: touche23}                # of valueeval train, for every cell
    sets: [main]                             # evaluated on; default main; [] for nothing
    blocks:
      size:
        description: One recipe, three seeds.
        factors: {base: [minilm, mpnet], method: [full, lora], seed: [0, 1, 2]}
        options: {epochs: 5}                 # for every cell of the block
        rules:                               # in order; `when` names factors
          - {when: {base: mpnet, method: full}, options: {learning_rate: 2.0e-4}}
        exclude:
          - {base: mpnet, method: lora}
      average:
        factors: {method: [average], of: [{block: size, base: minilm, method: full}]}
    hypotheses:
      - name: a larger encoder is better
        family: size
        better: {block: size, base: mpnet, method: full}
        than: {block: size, base: minilm, method: full}
        metric: macro_f1
        added: after the first results       # if it was not there before them

Where ``version`` and the SHA-256 of the bases are given, cells keep their addresses in newer
versions and without the models, so that a report can be made of published results. Nothing is run
with another version than that.

A factor is an option of ``valueeval train``, or one of an evaluation: ``num_fewshot``, ``chat``,
``dtype``, and ``per_conclusion: N`` (the first N arguments of each conclusion) or ``limit: N`` (of
each set) where evaluating on all arguments takes too long. Cells that are evaluated on a part are
reported apart, and never compared with others. ``processes: 4`` trains by ``accelerate launch`` on
four GPUs.

Three methods train nothing: ``none`` asks the base model itself (``template`` says what),
``average`` takes several adapters as one (from their results, where these are about the same
arguments; else it runs them together), and ``selected`` chooses among configurations. What
``none`` answers to cls and bca can be decided by ``calibration`` (``none``, ``content-free``,
``batch``) and ``thresholds`` (``raw``, or ``tuned`` on validation by the rule of trained models):
cells that differ in nothing else share the answers. A ``teacher``, and ``of``, name cells.

Cross-validation over all labelled arguments is two blocks: five trainings, ``factors: {fold: [0, 1,
2, 3, 4]}`` with ``options: {protocol: cv}`` and ``sets: []``, and their ``average`` with ``sets:
[cv]``, where each argument is answered by the one that has not seen it.

A configuration is chosen by cross-validation over training and validation, before a test set is
read, from a block of trainings, ``factors: {learning_rate: [1.0e-4, 2.0e-4], fold: [0, 1, 2, 3,
4]}`` with ``options: {folds: 5}`` and ``sets: []``, by a cell ``factors: {method: [selected], of:
[{block: candidates}]}``. It is evaluated as the average of the chosen one's folds. Where
``teacher`` or another ``of`` names it, it stands for these adapters.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from valueeval import __version__
from valueeval.tasks.commands import generate_configs
from valueeval.tasks.data.dataset import CV
from valueeval.tasks.display import did_you_mean
from valueeval.tasks.errors import ValueEvalError

PARTS = ("limit", "per_conclusion")
"""Options that leave out some arguments of an evaluation."""

EVALUATION = ("num_fewshot", "chat", "dtype", *PARTS)
"""Factors and options of an evaluation."""

CONTENT_FREE_PRIOR = "content-free"
DECISIONS = {
    "calibration": ("none", CONTENT_FREE_PRIOR, "batch"),
    "thresholds": ("raw", "tuned"),
}
"""How the answers of an untrained model are decided, by factor; the first is the default."""

PROCESSES = "processes"
"""Option of a training: how many processes (GPUs) it takes, by ``accelerate launch``.

All other options are those of ``valueeval train``.
"""

AVERAGE, SELECTED = "average", "selected"
UNTRAINED = ("none", AVERAGE, SELECTED)
"""Methods that train nothing."""

_NAMES = ("base", "revision", "template", "data", "data_dir")
"""Options that are text, or left open."""

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")

SETS = ("main", *generate_configs.SETS)
"""Sets of the dataset that cells can be evaluated on: those that have tasks."""

METRICS = ("macro_f1", "official_f1", "macro_ap")

REPEATED = ("seed",)
"""Factors whose levels are repetitions of one configuration."""

Selection = Mapping[str, Any]
"""Values of factors, or lists of values; the cells that have them. ``block`` is a factor."""


class DesignError(ValueEvalError):
    """A study file with a mistake; the message names the place and what is allowed."""


@dataclass(frozen=True)
class CellDesign:
    """One combination of factors.

    Attributes:
        factors: The block's name (``block``) and what the block varies, by factor.
        options: All options, the factors among them, with short names of bases replaced.
        sets: The sets of the dataset to evaluate on.
        base_sha256: SHA-256 (hex) that the file states of the base's weights; empty if none.
        version: Version of this package that runs the cell, or has run it.
    """

    factors: Mapping[str, Any]
    options: Mapping[str, Any]
    sets: tuple[str, ...]
    base_sha256: str = ""
    version: str = __version__

    @property
    def part(self) -> str:
        """The part of each set that it is evaluated on, in words; empty for all of it.

        All labelled arguments, set `CV`, are other arguments than those of the set of a report.
        """
        if self.sets == (CV,):
            return "all labelled arguments by cross-validation"
        if most := self.options.get("per_conclusion"):
            return f"at most {most} argument{'s' if most > 1 else ''} a conclusion"
        limit = self.options.get("limit")
        return f"the first {limit} arguments" if limit else ""

    @property
    def configuration(self) -> dict[str, Any]:
        """Its factors without block, fold and seed."""
        apart = ("block", "fold", *REPEATED)
        return {name: value for name, value in self.factors.items() if name not in apart}

    @property
    def label(self) -> str:
        """A name for people: ``size: mpnet, full, seed 0``."""
        return f"{self.factors['block']}: {self.label_without(())}"

    def label_without(self, names: Sequence[str]) -> str:
        """Return the name without the block's, and without the factors that are named."""
        return ", ".join(
            level_name(name, value)
            for name, value in self.factors.items()
            if name != "block" and name not in names
        )

    def matches(self, selection: Selection) -> bool:
        """Return True if the cell has the selected value, or one of them, of every factor."""
        return all(
            name in self.factors
            and self.factors[name] in (wanted if isinstance(wanted, list) else [wanted])
            for name, wanted in selection.items()
        )


@dataclass(frozen=True)
class Hypothesis:
    """A claim that is written down before the study runs, or says that it was added.

    Attributes:
        name: The claim, in words.
        family: Hypotheses of one family are corrected together (Holm, 1979).
        better: The cells that are claimed to be better …
        than: … than these.
        metric: One of `METRICS`.
        added: When or why it was added, in words; empty if it was there before the first run.
    """

    name: str
    family: str
    better: Selection
    than: Selection
    metric: str = "macro_f1"
    added: str = ""

    @property
    def claim(self) -> str:
        """The claim, and that it was added if it was."""
        return f"{self.name} (added {self.added})" if self.added else self.name


@dataclass(frozen=True)
class Study:
    """A study file, expanded.

    Attributes:
        name: Its name.
        cells: The cells, in the order of the file; no two have the same factors.
        hypotheses: In the order of the file.
        version: Version of this package that its cells are of.
        description: Its question, for the report; may be empty.
        block_descriptions: The question of each block that states one, by name.
    """

    name: str
    cells: tuple[CellDesign, ...]
    hypotheses: tuple[Hypothesis, ...]
    version: str = __version__
    description: str = ""
    block_descriptions: Mapping[str, str] = field(default_factory=dict)

    def selected(self, selection: Selection) -> list[CellDesign]:
        """Return the cells that a selection names, in order."""
        return [cell for cell in self.cells if cell.matches(selection)]

    def strata(self, hypothesis: Hypothesis) -> list[tuple[list[CellDesign], list[CellDesign]]]:
        """Return the cells of both sides, like beside like.

        Two cells are alike that have the same levels of every factor which all cells of both sides
        have, other than those that the hypothesis names and the seed.

        Raises:
            DesignError: One side has a configuration that the other lacks.
        """
        sides = [self.selected(hypothesis.better), self.selected(hypothesis.than)]
        named = {"block", *hypothesis.better, *hypothesis.than, *REPEATED}
        factors = set.intersection(*(set(cell.factors) for side in sides for cell in side)) - named
        better, than = (_by_levels(side, sorted(factors)) for side in sides)
        if alone := sorted(better.keys() ^ than.keys()):
            raise DesignError(
                f"{hypothesis.name}: one side has cells with {alone[0]}, the other has none; name "
                f"the factors in which the sides may differ ({', '.join(sorted(factors))}) in both"
            )
        return [(better[key], than[key]) for key in better]


class _Base(NamedTuple):
    """A base model of a study file."""

    path: str
    sha256: str = ""


@dataclass(frozen=True)
class _Rule:
    when: Selection
    options: Mapping[str, Any] = field(default_factory=dict)


def level_text(value: Any) -> str:
    """Return a level without its factor: ``4``, or ``cv of minilm+full`` for a selection."""
    if isinstance(value, Mapping):
        return "+".join(
            "+".join(map(str, each)) if isinstance(each, list) else str(each)
            for each in value.values()
        )
    return str(value)


def level_name(factor: str, level: Any) -> str:
    """Return a factor's level for people: ``mpnet``, ``num_fewshot 4``, ``chat``, ``no chat``."""
    if isinstance(level, bool):
        return factor if level else f"no {factor}"
    if isinstance(level, (int, float)) or factor == "of" or level == "none":
        return f"{factor} {level_text(level)}"
    return level_text(level)


def read_study(file: Path) -> Study:
    """Read a study file and expand its blocks.

    Raises:
        DesignError: It cannot be read, a key or factor is unknown, an exclusion, rule, selection or
            hypothesis matches no cell, or two cells of a block are the same.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise DesignError(f"{file}: cannot be read as YAML in UTF-8: {reason}") from error
    keys = (
        "name", "description", "version", "bases", "options", "sets", "blocks", "hypotheses",
    )  # fmt: skip
    top = _mapping(content, str(file), keys)
    blocks = _mapping(top.get("blocks"), f"{file}: blocks")
    if not blocks:
        raise DesignError(f"{file}: blocks: name at least one")
    bases = _bases(top.get("bases", {}), f"{file}: bases")
    shared = _mapping(top.get("options", {}), f"{file}: options")
    sets = _sets(top.get("sets", ["main"]), f"{file}: sets")
    version = top.get("version", __version__)
    if not isinstance(version, str):
        raise DesignError(f"{file}: version: write it in quotes: '0.1.0'")
    cells = tuple(
        replace(cell, version=version)
        for name, block in blocks.items()
        for cell in _expand(str(name), block, f"{file}: blocks: {name}", bases, shared, sets)
    )
    study = Study(
        name=str(top.get("name", file.stem)),
        cells=cells,
        hypotheses=tuple(
            _hypothesis(item, f"{file}: hypotheses: number {n}")
            for n, item in enumerate(_list(top.get("hypotheses", []), f"{file}: hypotheses"), 1)
        ),
        version=version,
        description=_text(top.get("description", ""), f"{file}: description"),
        block_descriptions={
            str(name): _text(block["description"], f"{file}: blocks: {name}: description")
            for name, block in blocks.items()
            if "description" in block
        },
    )
    _check_selections(study, str(file))
    return study


def _bases(content: Any, where: str) -> dict[str, _Base]:
    bases = {}
    for name, value in _mapping(content, where).items():
        if isinstance(value, str):
            bases[name] = _Base(value)
            continue
        given = _mapping(value, f"{where}: {name}", ("path", "sha256"))
        sha256 = given.get("sha256", "")
        if not isinstance(given.get("path"), str):
            raise DesignError(f"{where}: {name}: path: name a folder or an id of the hub")
        if not isinstance(sha256, str) or (sha256 and not _SHA256.fullmatch(sha256)):
            raise DesignError(f"{where}: {name}: sha256: expected 64 hexadecimal digits")
        bases[name] = _Base(given["path"], sha256.lower())
    return bases


def _by_levels(cells: Iterable[CellDesign], factors: Sequence[str]) -> dict[str, list[CellDesign]]:
    grouped: dict[str, list[CellDesign]] = {}
    for cell in cells:
        levels = ", ".join(f"{name} {level_text(cell.factors[name])}" for name in factors)
        grouped.setdefault(levels, []).append(cell)
    return grouped


def references(cell: CellDesign) -> Selection | None:
    """Return the selection of the cells that a cell needs: its teacher's, or those it averages."""
    needed = cell.options.get("of") or cell.options.get("teacher")
    return needed if isinstance(needed, Mapping) else None


def _expand(
    name: str,
    content: Any,
    where: str,
    bases: Mapping[str, _Base],
    shared: Mapping[str, Any],
    sets: tuple[str, ...],
) -> Iterable[CellDesign]:
    block = _mapping(
        content, where, ("description", "factors", "options", "rules", "exclude", "sets")
    )  # fmt: skip
    factors = _mapping(block.get("factors"), f"{where}: factors")
    levels = {f: _list(values, f"{where}: factors: {f}") for f, values in factors.items()}
    rules = [
        _rule(rule, f"{where}: rules: number {n}")
        for n, rule in enumerate(_list(block.get("rules", []), f"{where}: rules"), 1)
    ]
    excluded = _list(block.get("exclude", []), f"{where}: exclude")
    options = {**shared, **_mapping(block.get("options", {}), f"{where}: options")}
    own_sets = _sets(block.get("sets", list(sets)), f"{where}: sets")

    combinations = [
        CellDesign({"block": name, **dict(zip(levels, combination, strict=True))}, {}, own_sets)
        for combination in itertools.product(*levels.values())
    ]
    for kind, selections in (("exclude", excluded), ("rules", [rule.when for rule in rules])):
        for n, selection in enumerate(selections, 1):
            _mapping(selection, f"{where}: {kind}: number {n}", ("block", *levels))
            if not any(cell.matches(selection) for cell in combinations):
                raise DesignError(f"{where}: {kind}: number {n} matches no cell of the block")
    seen: set[str] = set()
    for cell in combinations:
        if any(cell.matches(selection) for selection in excluded):
            continue
        if repr(cell.factors) in seen:
            raise DesignError(f"{where}: there are two cells {cell.label}")
        seen.add(repr(cell.factors))
        own = dict(options)
        for rule in rules:
            if cell.matches(rule.when):
                own.update(rule.options)
        own.update({f: value for f, value in cell.factors.items() if f != "block"})
        _check_types(own, f"{where}: {cell.label}")
        sha256 = ""
        if own.get("base") in bases:
            own["base"], sha256 = bases[own["base"]]
        yield CellDesign(cell.factors, own, own_sets, sha256)


def _rule(content: Any, where: str) -> _Rule:
    given = _mapping(content, where, ("when", "options"))
    if "when" not in given:
        raise DesignError(f"{where}: when is missing: name the factors of the cells that it is for")
    return _Rule(given["when"], _mapping(given.get("options", {}), f"{where}: options"))


def _check_types(options: Mapping[str, Any], where: str) -> None:
    """Refuse what no study can be expanded with; `valueeval train` checks its other options."""
    for name in _NAMES:
        value = options.get(name)
        if not isinstance(value, str | None):
            raise DesignError(f"{where}: {name}: {value!r}; allowed: one name, in quotes")
    for name in (PROCESSES, *PARTS):
        value = options.get(name, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise DesignError(f"{where}: {name}: {value!r}; allowed: a whole number above 0")
    if options.keys() >= set(PARTS):
        raise DesignError(f"{where}: {' and '.join(PARTS)}: give one of them")


def _hypothesis(content: Any, where: str) -> Hypothesis:
    keys = ("name", "family", "better", "than", "metric", "added")
    values = _mapping(content, where, keys)
    for key in keys[:4]:
        if key not in values:
            raise DesignError(f"{where}: {key} is missing")
    if values.get("metric", METRICS[0]) not in METRICS:
        raise DesignError(f"{where}: metric: {values['metric']!r}; allowed: {', '.join(METRICS)}")
    return Hypothesis(**{**values, "added": _text(values.get("added", ""), f"{where}: added")})


def _check_selections(study: Study, where: str) -> None:
    """Refuse hypotheses and references that select nothing: a slip would go unseen."""
    for hypothesis in study.hypotheses:
        for side in ("better", "than"):
            selection = _mapping(getattr(hypothesis, side), f"{where}: {hypothesis.name}: {side}")
            if not study.selected(selection):
                raise DesignError(f"{where}: {hypothesis.name}: {side} selects no cell")
        sides = (*study.selected(hypothesis.better), *study.selected(hypothesis.than))
        parts = sorted({cell.part or "all arguments" for cell in sides})
        if len(parts) > 1:
            raise DesignError(
                f"{where}: {hypothesis.name}: its cells are evaluated on different arguments "
                f"({', '.join(parts)}): compare cells with the same per_conclusion or limit"
            )
        try:
            study.strata(hypothesis)
        except DesignError as error:
            raise DesignError(f"{where}: {error}") from error
    for cell in study.cells:
        method, needed = cell.options.get("method"), references(cell)
        if method in (AVERAGE, SELECTED) and needed is None:
            what = "average" if method == AVERAGE else "choose among"
            raise DesignError(f"{where}: {cell.label}: name the cells to {what} with `of`")
        if needed is None:
            continue
        named = [c for c in study.selected(needed) if c is not cell]
        if not named:
            raise DesignError(f"{where}: {cell.label}: {dict(needed)} selects no cell")
        if method == SELECTED:
            _check_candidates(named, f"{where}: {cell.label}")


def configurations(cells: Sequence[CellDesign]) -> dict[str, list[CellDesign]]:
    """Return the cells of each configuration, by what tells it from the others.

    Args:
        cells: Trainings of one fold each.
    """
    levels = [cell.configuration for cell in cells]
    differ = [
        name for name in dict.fromkeys(name for of in levels for name in of)
        if len({repr(of.get(name)) for of in levels}) > 1
    ]  # fmt: skip
    found: dict[str, list[CellDesign]] = {}
    for cell, of in zip(cells, levels, strict=True):
        name = ", ".join(level_name(name, of[name]) for name in differ if name in of)
        found.setdefault(name, []).append(cell)
    return found


def _check_candidates(cells: Sequence[CellDesign], where: str) -> None:
    """Refuse cells that are not each fold of two configurations or more, without an evaluation."""
    folds = {cell.options.get("folds") for cell in cells}
    for cell in cells:
        if "fold" not in cell.factors or cell.options.get("protocol", "main") != "main":
            raise DesignError(
                f"{where}: {cell.label}: only trainings of a fold can be chosen among, with "
                "options: {folds: 5} and the factor fold: [0, 1, 2, 3, 4]"
            )
        if cell.options.get("data", "touche23") != "touche23":
            raise DesignError(
                f"{where}: {cell.label}: a choice needs the real data, not the sample"
            )
        if cell.sets:
            raise DesignError(
                f"{where}: {cell.label}: is evaluated on {', '.join(map(str, cell.sets))} before "
                "the choice; give the block of the candidates `sets: []`"
            )
    (number, *others) = folds
    if others or not isinstance(number, int):
        raise DesignError(f"{where}: its cells need the same number of `folds`")
    found = configurations(cells)
    if len(found) < 2:
        raise DesignError(f"{where}: one configuration leaves no choice")
    for name, of_one in found.items():
        if "=" in name:  # which `valueeval select` takes for the end of the name
            raise DesignError(f"{where}: {name}: a candidate's levels cannot hold `=`")
        for seed in {cell.options.get("seed", 0) for cell in of_one}:
            there = sorted(c.factors["fold"] for c in of_one if c.options.get("seed", 0) == seed)
            if there != list(range(number)):
                raise DesignError(
                    f"{where}: {name}: folds {', '.join(map(str, there))} with seed {seed}; needed "
                    f"is each of 0 to {number - 1} once"
                )


def _mapping(content: Any, where: str, known: Sequence[str] = ()) -> dict[str, Any]:
    if not isinstance(content, Mapping):
        raise DesignError(f"{where}: expected lines of `key: value`")
    for key in content:
        if known and key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"
            raise DesignError(f"{where}: unknown key {key}{hint}")
    return {str(key): value for key, value in content.items()}


def _list(content: Any, where: str) -> list[Any]:
    if not isinstance(content, list):
        raise DesignError(f"{where}: expected a list")
    return content


def _sets(content: Any, where: str) -> tuple[str, ...]:
    names = _list(content, where)
    for name in names:
        if name not in SETS:
            raise DesignError(
                f"{where}: {name!r}; allowed: {', '.join(SETS)}{did_you_mean(name, SETS)}"
            )
    return tuple(names)


def _text(content: Any, where: str) -> str:
    if not isinstance(content, str):
        raise DesignError(f"{where}: expected words, not {content!r}; write them in quotes")
    return " ".join(content.split())
