"""The line that follows lm-eval's table: the two F1 scores, the interval, its conclusions.

The table has 40 rows for each task; this line says what to read first. The
aggregations of a task note their results here, and the ``lm_eval`` command prints the lines when it
ends (`valueeval.registration`). In programs that use lm-eval as a library nothing is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from valueeval.tasks.data.conclusions import conclusion_key

Aggregation = Callable[[list[Any]], Any]

_NOTED = ("macro_f1", "macro_f1_ci_low", "macro_f1_ci_high", "official_f1", "unparsed")
_results: dict[str, dict[str, Any]] = {}


def noting(
    task: str, aggregations: Mapping[str, Aggregation], conclusions: Mapping[str, str]
) -> dict[str, Aggregation]:
    """Return aggregations that also note what they give.

    Args:
        task: The task that they belong to.
        aggregations: By metric.
        conclusions: The conclusion of each argument of the task, by the argument's id.
    """
    noted = {name: partial(_note, task, name, aggregations[name], conclusions) for name in _NOTED}
    return {**aggregations, **noted}


def closing_lines() -> list[str]:
    """Return a line for each task that was scored since the last call."""
    found = [(task, _line(result)) for task, result in _results.items() if "macro_f1" in result]
    _results.clear()
    if len(found) == 1:
        return [found[0][1]]
    return [f"{task}: {line}" for task, line in found]


def _note(
    task: str,
    name: str,
    aggregate: Aggregation,
    conclusions: Mapping[str, str],
    entries: Sequence[Any],
) -> Any:
    value = aggregate(list(entries))
    result = _results.setdefault(task, {})
    result[name] = value
    if name == "macro_f1":
        result["arguments"] = len(entries)
        result["conclusions"] = len({conclusion_key(conclusions[e["id"]]) for e in entries})
    return value


def _line(result: Mapping[str, Any]) -> str:
    low, high = result.get("macro_f1_ci_low"), result.get("macro_f1_ci_high")
    interval = "" if low is None or high is None else f" ({low:.2f} to {high:.2f})"
    number = result["conclusions"]
    parts = [
        f"macro_f1 {_number(result['macro_f1'])}{interval}",
        f"official_f1 {_number(result.get('official_f1'))}",
        f"{number} conclusion{'s' * (number != 1)}",
    ]
    if result.get("unparsed"):
        parts.append(f"{result['unparsed']:.0%} of answers unparsed")
    return ", ".join(parts)


def _number(score: float | None) -> str:
    return "undefined" if score is None else f"{score:.3f}"
