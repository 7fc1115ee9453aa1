"""Families of comparisons: every hypothesis of a section is tested with the others of it.

A page that tests k hypotheses finds more that is not there than one that tests one. So a file names
the hypotheses of each section, and all p-values of a section are corrected for their number (Holm,
1979). What is not told apart then is open, whatever its own p says.

    results: results                  # a folder; relative to this file
    task: valueeval_cls
    families:
      Methods:
        - {a: "runs__head-s?", b: "runs__full-s?"}
        - {a: "runs__full-s?", b: "runs__lora-s?", metric: official_f1}
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from valueeval.leaderboard import text
from valueeval.leaderboard.commands.compared_runs import Pair, pairs_of_results
from valueeval.leaderboard.inference.comparison import (
    METRICS,
    Compared,
    family,
    leave_conclusions_out,
)
from valueeval.tasks.commands.progress import tracked
from valueeval.tasks.errors import ValueEvalError


def families(file: Path) -> str:
    """Return the comparisons that `file` names as tables in markdown, one for each family.

    Reasons to doubt them are told on standard error.

    Raises:
        ValueEvalError: The file is malformed, or what it names cannot be read or compared.
    """
    content = _read(file)
    folder = file.parent / str(content.get("results", "."))
    tables = []
    notes: dict[str, None] = {}
    for title, hypotheses in content["families"].items():
        pairs: list[Pair] = []
        members = []
        for hypothesis in tracked(hypotheses, f"comparing: {text.clean(title)}"):
            pair = _pair(file, folder, hypothesis, str(content["task"]))
            metric = hypothesis.get("metric", "macro_f1")
            left = leave_conclusions_out(pair.a, pair.b, metric)
            if left is None:
                raise ValueEvalError(
                    f"{file}: {' and '.join(pair.names)}: not all runs have scores for {metric}"
                )
            pairs.append(pair)
            members.append((metric, left, len(pair.a)))
        tables.append(_table(text.clean(title), pairs, family(members)))
        notes |= dict.fromkeys(note for pair in pairs for note in pair.notes)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    return "\n\n".join(tables)


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueEvalError(f"{file}: cannot be read ({error.strerror})") from error
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueEvalError(f"{file}{line}: no YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueEvalError(f"{file}: no YAML ({type(error).__name__})") from error
    if not isinstance(content, dict) or not isinstance(content.get("families"), dict):
        raise ValueEvalError(f"{file}: 'families' (titles, each with a list) is missing")
    if not isinstance(content.get("task"), str):
        raise ValueEvalError(f"{file}: 'task' is missing, e.g. task: valueeval_cls")
    for title, hypotheses in content["families"].items():
        if not isinstance(hypotheses, list) or not hypotheses:
            raise ValueEvalError(f"{file}: family {title!r} is no list of hypotheses")
        for hypothesis in hypotheses:
            _check(file, title, hypothesis)
    return content


def _check(file: Path, title: object, hypothesis: object) -> None:
    where = f"{file}: family {title!r}"
    if not isinstance(hypothesis, dict) or not {"a", "b"} <= set(hypothesis):
        raise ValueEvalError(f"{where}: a hypothesis is {{a: FOLDER, b: FOLDER}}")
    unknown = set(hypothesis) - {"a", "b", "metric"}
    if unknown:
        raise ValueEvalError(f"{where}: unknown key {sorted(map(str, unknown))[0]!r}")
    if hypothesis.get("metric", "macro_f1") not in METRICS:
        raise ValueEvalError(f"{where}: metric is one of {', '.join(METRICS)}")


def _pair(file: Path, folder: Path, hypothesis: Mapping[str, Any], task: str) -> Pair:
    sides = []
    for side in ("a", "b"):
        pattern = Path(str(hypothesis[side]))
        # `Path.glob` takes no absolute pattern.
        start = Path(pattern.anchor) if pattern.is_absolute() else folder
        try:
            found = sorted(map(str, start.glob(str(pattern.relative_to(pattern.anchor)))))
        except (ValueError, IndexError, NotImplementedError) as error:  # "**x"; "." is no pattern
            raise ValueEvalError(
                f"{file}: {side}: {hypothesis[side]!r} is no pattern of folders ({error})"
            ) from error
        if not found:
            raise ValueEvalError(f"{file}: nothing in {folder} is called {hypothesis[side]}")
        sides.append(found)
    (pair,) = pairs_of_results(sides[0], sides[1], task)
    return pair


def _table(title: str, pairs: list[Pair], compared: list[Compared]) -> str:
    lines = [
        f"**{text.markdown(title)}**: {len(pairs)} comparison{'s' * (len(pairs) > 1)}",
        "",
        "| A (seeds) | B (seeds) | score | of A | of B | B - A | 95 %, all together | p (Holm) "
        "| verdict |",
        "| --- | --- | --- | --: | --: | --: | --- | --: | --- |",
    ]
    for pair, each in zip(pairs, compared, strict=True):
        low, high = each.together or (None, None)
        cells = [
            *(f"{text.markdown(name)} ({len(side)})"
              for name, side in zip(pair.names, (pair.a, pair.b), strict=True)),
            each.metric, f"{each.mean_a:.3f}", f"{each.mean_b:.3f}",
            "" if each.difference.value is None else f"{each.difference.value:+.3f}",
            "" if low is None or high is None else f"{low:+.3f} to {high:+.3f}",
            "" if each.p_holm is None else text.p_value(each.p_holm),
            _verdict(pair, each),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _verdict(pair: Pair, each: Compared) -> str:
    if not each.told_apart or each.difference.value is None:
        return "open"
    return f"{text.markdown(pair.called[each.difference.value > 0])} is better"
