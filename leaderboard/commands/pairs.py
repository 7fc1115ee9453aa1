"""``valueeval compare RESULTS --pairs``: base models against what alignment made of them.

A registry names the pairs. Each pair of results on the same arguments is tested, and the tests are
corrected for the number of pairs (Holm, 1979). By value it is shown what alignment changes:
precision, recall, and how often the value is predicted, beside how often it is held.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from valueeval.leaderboard import text
from valueeval.leaderboard.commands.compared_runs import Pair, pair_of_rows, read_rows
from valueeval.leaderboard.inference.comparison import (
    Compared,
    family,
    leave_conclusions_out,
)
from valueeval.leaderboard.reading.predictions import Predictions
from valueeval.leaderboard.table.table import Row
from valueeval.tasks.commands.progress import tracked
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.jackknife import LeaveOneOut, count_by_conclusion, group
from valueeval.tasks.values import VALUE_NAMES

REGISTRY = Path(__file__).resolve().parents[1] / "pairs.yaml"
"""The pairs that come with the package."""

_WORDINGS = frozenset({"chat", "chat wording", "plain wording"})
_SHARES = ("predicted", "precision", "recall")


@dataclass(frozen=True)
class Aligned:
    """A model that was made of a base model.

    Attributes:
        base, model: Names of the two.
        parameters: Their size, as the maker states it; empty if we do not know.
        alignment: The method, likewise.
        sources: Pages where the maker states them.
    """

    base: str
    model: str
    parameters: str
    alignment: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class ValueChange:
    """What alignment changes for one value.

    Attributes:
        name: The value.
        held: Share of arguments that have it.
        changes: ``predicted`` (share of arguments that it is predicted for), ``precision`` and
            ``recall``, each of base and aligned model; p is corrected over all values and these
            three.
    """

    name: str
    held: float
    changes: dict[str, Compared]


def read_registry(path: Path) -> list[Aligned]:
    """Return the pairs that a file names.

    Raises:
        ValueEvalError: It cannot be read, or is malformed; the message says where.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError) as error:
        raise ValueEvalError(f"{path}: cannot be read ({text.clean(error)[:100]})") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueEvalError(f"{path}: no YAML ({text.clean(error)[:100]})") from error
    entries = content.get("pairs") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ValueEvalError(f"{path}: 'pairs' (a list) is missing")
    found = []
    for number, entry in enumerate(entries, start=1):
        try:
            base, sources = entry["base"], entry.get("sources") or []
            for aligned in entry["aligned"]:
                names = (base, aligned["model"])
                if not all(isinstance(name, str) and name for name in (*names, *sources)):
                    raise TypeError("names and sources are texts")
                stated = (entry.get("parameters"), aligned.get("alignment"))
                size, method = (str(each or "") for each in stated)
                found.append(Aligned(*names, size, method, tuple(sources)))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueEvalError(
                f"{path}: pair {number} is not {{base: MODEL, aligned: [{{model: MODEL}}]}} "
                f"({type(error).__name__}: {text.clean(error)[:100]})"
            ) from error
    return found


def pairs(places: Sequence[str], registry: Path, task: str | None) -> str:
    """Return what alignment changes in all pairs that have results, in markdown.

    Args:
        places: Folders or files of results with samples.
        registry: The file of pairs.
        task: The only task to take.

    Raises:
        ValueEvalError: Results or samples cannot be read, or no pair is among them.
    """
    rows = [row for name, found in read_rows(places).items() for row in found]
    rows = [row for row in rows if task in (None, row.run.task) and row.run.prompted]
    matched = [
        (aligned, base, tuned)
        for aligned in read_registry(registry)
        for base, tuned in _matched(rows, aligned)
    ]
    if not matched:
        named = ", ".join(sorted({row.run.model for row in rows})) or "none"
        raise ValueEvalError(
            f"{' '.join(places)}: no base model and its aligned one are both among the prompted "
            f"models ({named}), with the same task, set and number of examples; pairs are named "
            f"in {registry}"
        )
    sides = [
        pair_of_rows(base.run.task, base, tuned, (_named(base), _named(tuned)))
        for _, base, tuned in matched
    ]
    for note in dict.fromkeys(note for side in sides for note in side.notes):
        print(f"note: {note}", file=sys.stderr)
    tested = family([("macro_f1", _macro_f1(side), len(side.a)) for side in sides])
    parts = [_overview(sides, tested)]
    both = zip([aligned for aligned, *_ in matched], sides, strict=True)
    for aligned, side in tracked(list(both), "comparing by value"):
        parts.append(_details(aligned, side, changes_by_value(side.a, side.b)))
    return "\n\n".join(parts)


def changes_by_value(
    base: Sequence[Predictions], aligned: Sequence[Predictions]
) -> list[ValueChange]:
    """Return what changes for each value that has a positive.

    Args:
        base: The runs (seeds) of the base model.
        aligned: Those of the aligned one.
    """
    first = base[0]
    runs = np.stack([run.prediction for run in (*base, *aligned)])
    keys, index, sizes = group(first.clusters, len(first.ids))
    tp, predicted, actual = count_by_conclusion(first.truth, runs, index, sizes)
    everything = np.broadcast_to(sizes[:, None], actual.shape)
    of = {"predicted": (predicted, everything), "precision": (tp, predicted),
          "recall": (tp, actual)}  # fmt: skip
    values = np.flatnonzero(first.truth.any(axis=0)).tolist()
    members = []
    for value in values:
        for share in _SHARES:
            part, whole = (np.broadcast_to(each, tp.shape)[..., value] for each in of[share])
            weights = actual[:, value] if share == "recall" else sizes
            left = LeaveOneOut(
                _ratio(part.sum(1), whole.sum(1)),
                _ratio(
                    part.sum(1, keepdims=True) - part, whole.sum(1, keepdims=True) - whole
                ),
                keys, sizes, weights.astype(np.float64),
            )  # fmt: skip
            members.append((share, left, len(base)))
    compared = iter(family(members))
    return [
        ValueChange(
            VALUE_NAMES[value],
            float(first.truth[:, value].mean()),
            {share: next(compared) for share in _SHARES},
        )
        for value in values
    ]


def _ratio(part: Any, whole: Any) -> Any:
    """Return part / whole; 0 where the whole is: precision of a value that is never predicted."""
    return np.divide(part, whole, out=np.zeros(np.shape(part)), where=np.asarray(whole) > 0)


def _macro_f1(side: Pair) -> LeaveOneOut:
    left = leave_conclusions_out(side.a, side.b, "macro_f1")
    if left is None:  # only macro_ap may be
        raise ValueEvalError(f"{side.title}: {' and '.join(side.names)} have no macro_f1")
    return left


def _matched(rows: Sequence[Row], aligned: Aligned) -> list[tuple[Row, Row]]:
    """Return the rows of base and aligned model that were asked the same, in whatever wording."""
    by_key: dict[tuple[object, ...], tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
    for row in rows:
        for side, name in enumerate((aligned.base, aligned.model)):
            if row.run.model in (name, name.rpartition("/")[2]):
                by_key[_asked(row)][side].append(row)
    return [(a, b) for bases, tuned in by_key.values() for a in bases for b in tuned]


def _asked(row: Row) -> tuple[object, ...]:
    run = row.run
    forms = tuple(part for part in run.method.split(", ") if part not in _WORDINGS)
    return (run.task, run.data_sha256, run.version, run.limited, run.arguments, forms)


def _named(row: Row) -> str:
    return f"{row.run.model} ({row.run.method})"


def _overview(sides: Sequence[Pair], tested: Sequence[Compared]) -> str:
    lines = [
        f"**Base against aligned**: {len(sides)} pair{'s' * (len(sides) > 1)}",
        "",
        "| task | base | aligned | macro_f1 of base | of aligned | aligned - base "
        "| 95 %, all together | p (Holm) | verdict |",
        "| --- | --- | --- | --: | --: | --: | --- | --: | --- |",
    ]
    for side, each in zip(sides, tested, strict=True):
        low, high = each.together or (None, None)
        value = each.difference.value
        better = "open"
        if each.told_apart and value is not None:
            better = "alignment helps" if value > 0 else "alignment harms"
        cells = [
            text.markdown(side.title), *map(text.markdown, side.names),
            f"{each.mean_a:.3f}", f"{each.mean_b:.3f}",
            "" if value is None else f"{value:+.3f}",
            "" if low is None or high is None else f"{low:+.3f} to {high:+.3f}",
            "" if each.p_holm is None else text.p_value(each.p_holm), better,
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _details(aligned: Aligned, side: Pair, changes: Sequence[ValueChange]) -> str:
    stated = ", ".join(
        part
        for part in (
            f"{aligned.parameters} parameters" if aligned.parameters else "",
            f"aligned by {aligned.alignment}" if aligned.alignment else "",
        )
        if part
    )
    lines = [
        f"**{text.markdown(side.names[0])} → {text.markdown(side.names[1])}**, "
        f"{text.markdown(side.title)}"
        + (f": {text.markdown(stated)}" if stated else "")
        + (f" (as stated: {', '.join(aligned.sources)})" if stated and aligned.sources else ""),
        "",
        "| value | held | predicted | precision | recall |",
        "| --- | --: | --- | --- | --- |",
    ]
    for change in changes:
        cells = [_change(change.changes[share]) for share in _SHARES]
        lines.append(f"| {change.name} | {change.held:.2f} | {' | '.join(cells)} |")
    means = [
        f"{np.mean([change.changes[share].mean_a for change in changes]):.2f} → "
        f"{np.mean([change.changes[share].mean_b for change in changes]):.2f}"
        for share in _SHARES
    ]
    held = np.mean([change.held for change in changes])
    lines.append(f"| *mean* | {held:.2f} | {' | '.join(means)} |")
    lines += ["", "\\* a change at 5 %, corrected over all values and the three columns (Holm)."]
    return "\n".join(lines)


def _change(each: Compared) -> str:
    return f"{each.mean_a:.2f} → {each.mean_b:.2f}{' *' * each.told_apart}".replace("*", "\\*")
