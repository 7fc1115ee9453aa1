"""Names of rows: given ones, else what tells a system from the others; and which rows are variants.

A folder's name says little (``db``, ``full-s0+full-s1+full-s2``). A system is called by its base
model, by its method where several methods share a base, and by the settings in which it differs
from what most systems of that base and method have: ``minilm, full, loss distribution-balanced``.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from valueeval.leaderboard.reading.fields import count, mapping, string
from valueeval.leaderboard.reading.runs import Run
from valueeval.leaderboard.reading.system import link
from valueeval.leaderboard.table.table import Board, Row, Table
from valueeval.leaderboard.text import clean
from valueeval.tasks.errors import ValueEvalError

_SETTINGS_SHOWN = 3  # in a name
# Settings that come first in a name. Those beside them are parts of the choice, and are not named
# where the choice itself is.
_CHOICES = {
    "heads": ("values_per_step", "pooling", "segments", "separator", "epochs"),
    "loss": ("pos_weight_power", "focal_gamma"),
    "contrastive": (
        "contrastive_positives", "contrastive_epochs", "contrastive_weight",
        "contrastive_temperature", "contrastive_queue",
    ),
    "thresholds": (), "members": (), "training data": (), "teacher": ("teacher_weight",),
}  # fmt: skip
# What changes how a training runs, not what comes of it; and what a name has already.
_UNNAMED = frozenset(
    {"base", "method", "data", "folds", "fold", "revision", "compile", "precision", "pretrained",
     "protocol", "cross_validation",
     "max_tokens_per_microbatch", "gradient_checkpointing", "log_with", "teacher_sha256", "dtype"}
)  # fmt: skip
_TODAYS_NAMES = {"positive_weight": "pos_weight_power", "per_value": "shots_per_value",
                 "tokens_at_once": "max_tokens_per_microbatch",
                 "warmup": "warmup_ratio"}  # fmt: skip
_ALWAYS_NAMED = (
    "train_size",
    "shots_per_value",
)  # a part of the labelled data is no usual training
_NO_ABLATION = {"members", "training data"}  # other systems, not one with a setting changed


@dataclass(frozen=True)
class Given:
    """A name that somebody gave, and where to read more; either may be ``None``."""

    name: str | None
    link: str | None


def read_names(path: Path) -> dict[str, Given]:
    """Return given names by the name that a row has without (its folder's, or the one shown).

    Raises:
        ValueEvalError: The file cannot be read, or is not such a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueEvalError(f"{path}: cannot be read as YAML ({clean(error)})") from error
    if not isinstance(content, dict):
        raise ValueEvalError(f"{path}: not a mapping of rows to names, such as «full: My system»")
    return {str(key): _given(path, str(key), value) for key, value in content.items()}


def _given(path: Path, row: str, value: object) -> Given:
    fields = {"name": value} if isinstance(value, str) else value
    if not isinstance(fields, dict) or not fields or not set(fields) <= {"name", "link"}:
        raise ValueEvalError(f"{path}, {clean(row)}: give a name, or a mapping of name and link")
    if fields.get("link") is not None and link(fields["link"]) is None:
        raise ValueEvalError(f"{path}, {clean(row)}: link must be an address (https://…)")
    return Given(string(fields.get("name")), link(fields.get("link")))


def name_rows(table: Table, given: Mapping[str, Given] | None = None) -> Table:
    """Return `table` with names, links and variants in its rows.

    Names of `given` go before those that results hold themselves (``valueeval train --name``,
    ``--metadata '{"name": …, "link": …}'``), and these before those that are made up here. Names
    of `given` that no row has become notes.
    """
    given = given or {}
    rows: dict[str, Row] = {}
    for board in table.boards:
        for row in board.rows:
            rows.setdefault(row.run.system, row)
    systems = {key: _System.of(row) for key, row in rows.items()}
    made_up = _made_up(systems)
    unused = set(given)
    found: dict[str, Given] = {}
    for key, row in rows.items():
        own = next((name for name in (row.folder, made_up[key]) if name in given), None)
        unused -= {own}
        told = given[own] if own is not None else Given(None, None)
        run = row.run
        found[key] = Given(
            told.name or run.given_name or made_up[key], told.link or run.link
        )  # fmt: skip
    names = _unique({key: each.name or "" for key, each in found.items()}, rows)
    parents = _parents(systems)

    def named(board: Board) -> Board:
        shown = {(row.run.system, row.run.task) for row in board.rows}
        return replace(
            board,
            rows=tuple(
                replace(
                    row, name=names[row.run.system],
                    link=found[row.run.system].link,
                    variant_of=names[parent]
                    if (parent := parents.get(row.run.system)) is not None
                    and (parent, row.run.task) in shown
                    else None,
                )
                for row in board.rows
            ),
        )  # fmt: skip

    notes = [f"--names: no row is called {clean(name)}" for name in sorted(unused)]
    return replace(
        table, boards=tuple(map(named, table.boards)), notes=(*table.notes, *notes)
    )  # fmt: skip


# ------------------------------------------------------------------------------- settings


@dataclass(frozen=True)
class _System:
    """What names are made of.

    Attributes:
        base: Name of the base model, or all of the name where nothing else is known.
        method: How it came about.
        settings: Value by setting, as text, of those that are named; an ensemble has few.
        folds: Number of folds, if it was trained on some.
        left_out: How many of them were left out by one of its members at least.
        trained: Whether its manifest tells the settings of its training.
        ensemble: Whether its answers are the mean of several adapters'.
    """

    base: str
    method: str
    settings: Mapping[str, str]
    folds: int | None
    left_out: int
    trained: bool
    ensemble: bool = False

    @classmethod
    def of(cls, row: Row) -> _System:
        run = row.run
        identity = _identity(run)
        trained = bool(run.manifest.get("config"))
        if not trained:
            return cls(row.folder, run.method, _texts(identity.get("arguments")), None, 0, False)
        settings = _texts(identity.get("settings"))
        if pooling := string(mapping(identity.get("head")).get("pooling")):
            settings["pooling"] = pooling  # what it was where the option was left open
        data = mapping(run.manifest.get("data"))
        left_out = data.get("left_out")
        left = len(left_out) if isinstance(left_out, list) else 0
        ensemble = run.members is not None
        if ensemble:
            settings = {} if left > 1 else {"members": f"mean of {run.members}"}
        settings["training data"] = run.training_data or ""
        folds = count(data.get("folds"))
        return cls(run.base or row.folder, run.method, settings, folds, left, True, ensemble)


def _identity(run: Run) -> Mapping[str, Any]:
    try:
        return mapping(json.loads(run.system))
    except ValueError:  # a run file
        return {}


def _texts(settings: object) -> dict[str, str]:
    named = {_TODAYS_NAMES.get(key, key): value for key, value in mapping(settings).items()}
    if named.get("thresholds") == "halfway":
        named["thresholds"] = "shrunk"
    return {key: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            for key, value in named.items() if key not in _UNNAMED}  # fmt: skip


def _deviations(systems: Sequence[_System]) -> list[list[str]]:
    """Return for each system, all of one base and method, the settings in which it is unusual.

    Usual is what most have; where there is no such value, every value is unusual. To learn from a
    part of the training data never is usual. An ensemble is compared by its members and data alone.
    """
    singles = [system for system in systems if not system.ensemble] or list(systems)
    keys = sorted({key for system in systems for key in system.settings})
    usual: dict[str, str | None] = {}
    for key in keys:
        values = Counter(system.settings.get(key) for system in singles).most_common(2)
        tie = len(values) > 1 and values[0][1] == values[1][1]
        usual[key] = _NO_VALUE if tie else values[0][0]
    usual.update(dict.fromkeys(_ALWAYS_NAMED))
    return [
        _without_parts(
            [key for key in keys
             if (own := system.settings.get(key)) is not None and own != usual[key]
             and not (usual[key] is None and own in _OFF)
             and not (key == "training data" and own == _USUAL_DATA)]
        )
        for system in systems
    ]  # fmt: skip


_NO_VALUE = "\0"
_OFF = ("0", "0.0", "false", "none", "")
_USUAL_DATA = "training"


def _without_parts(keys: Iterable[str]) -> list[str]:
    """Return settings in the order of a name, without the parts of choices that are there."""
    found = set(keys)
    parts = {part for choice, of in _CHOICES.items() if choice in found for part in of}
    return [*(key for key in _CHOICES if key in found), *sorted(found - parts - set(_CHOICES))]


def _phrase(key: str, value: str) -> str:
    if key in ("members", "training data"):
        return value
    if key == "teacher":
        return "distilled"
    return f"other {key}" if value[:1] in "[{" else f"{key} {value.removesuffix('.0')}"


# ------------------------------------------------------------------------------- names


def _grouped(systems: Mapping[str, _System]) -> dict[str, dict[str, list[str]]]:
    """Return keys of systems by base and method."""
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for key, system in systems.items():
        groups[system.base][system.method].append(key)
    return groups


def _made_up(systems: Mapping[str, _System]) -> dict[str, str]:
    names: dict[str, str] = {}
    for base, by_method in _grouped(systems).items():
        for method, keys in by_method.items():
            deviations = _deviations([systems[key] for key in keys])
            for key, unusual in zip(keys, deviations, strict=True):
                told = [_phrase(each, systems[key].settings[each]) for each in unusual]
                parts = [base, *([method] if len(by_method) > 1 else []), *told[:_SETTINGS_SHOWN]]
                names[key] = clean(", ".join(part for part in parts if part))
    return names


def _unique(names: Mapping[str, str], rows: Mapping[str, Row]) -> dict[str, str]:
    """Return `names`, those that several systems have with their method or their folder."""
    methods = {key: f", {rows[key].run.method}" for key in names}  # one model asked in many ways
    folders = {key: f" [{rows[key].folder}]" for key in names}
    for marks in (methods, folders):
        shared = Counter(names.values())
        marked = {key: name + marks[key] for key, name in names.items() if shared[name] > 1}
        # A mark that tells none apart from another says nothing.
        tells = {key for key in marked if Counter(marked.values())[marked[key]] == 1}
        names = {key: marked[key] if key in tells else name for key, name in names.items()}
    still = Counter(names.values())
    return {key: name if still[name] == 1 else f"{name} {number}"
            for number, (key, name) in enumerate(names.items(), start=1)}  # fmt: skip


# ------------------------------------------------------------------------------- variants


def _parents(systems: Mapping[str, _System]) -> dict[str, str]:
    """Return the parent of each variant: of a fold the mean of all, of an ablation the usual one.

    An ablation differs from the usual system of its base and method in one setting.
    """
    parents: dict[str, str] = {}
    for by_method in _grouped(systems).values():
        for keys in by_method.values():
            of_method = [systems[key] for key in keys]
            unusual = dict(zip(keys, _deviations(of_method), strict=True))
            usual = [key for key in keys if systems[key].trained and not unusual[key]]
            means = {systems[key].folds: key for key in keys
                     if systems[key].ensemble and systems[key].left_out > 1}  # fmt: skip
            for key in keys:
                system = systems[key]
                if system.left_out == 1 and system.folds in means:
                    parents[key] = means[system.folds]
                elif (
                    system.trained
                    and len(usual) == 1
                    and len(unusual[key]) == 1
                    and unusual[key][0] not in _NO_ABLATION
                ):
                    parents[key] = usual[0]
    return parents
