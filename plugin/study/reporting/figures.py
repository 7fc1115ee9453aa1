"""Figures of a study's report, as SVG: the same measurements give the same bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from valueeval.leaderboard import text
from valueeval.study.design import level_text
from valueeval.study.reporting.measured import Group

METRIC = "macro_f1"
_SIZE = "train_size"
_TWO_DECADES = 100
_COLOURS = ("#1f5fa8", "#b8540f", "#1f7a54", "#8a3b91", "#8f6b00", "#b3264c", "#3d7580", "#5d5d66")
_MARKERS = "os^Dv*PX"
_STYLE: dict[Any, Any] = {
    "font.size": 9, "axes.grid": True, "axes.axisbelow": True, "grid.color": "#e3e0d8",
    "axes.edgecolor": "#e3e0d8", "axes.spines.top": False, "axes.spines.right": False,
    "legend.frameon": False, "svg.hashsalt": "valueeval", "svg.fonttype": "none",
    "text.parse_math": False, "figure.constrained_layout.use": True,
}  # fmt: skip


def draw(groups: Sequence[Group]) -> dict[str, str]:
    """Return the figures that have something to show, as SVG, by name.

    - ``parameters``: macro F1 on all arguments against parameters in all, and against those that
      were trained, of groups that learnt from all training arguments or from none;
    - ``learning-curves-BLOCK``: macro F1 against the number of training arguments;
    - ``spread-BLOCK``: every score of a block by the levels of each of its factors.

    Groups that are evaluated on a part of the arguments have figures of their own.
    """
    measured = [group for group in groups if group.measured]
    figures: dict[str, Figure] = {}
    with matplotlib.rc_context(_STYLE):
        whole = [group for group in measured if not group.part and not _has_few(group)]
        if figure := _parameters(whole):
            figures["parameters"] = figure
        for block, part in dict.fromkeys((group.block, group.part) for group in measured):
            alike = [group for group in measured if (group.block, group.part) == (block, part)]
            name = file_name(block, part)
            if figure := _learning_curves(alike):
                figures[f"learning-curves-{name}"] = figure
            if figure := _spread(alike):
                figures[f"spread-{name}"] = figure
        return {name: _svg(figure) for name, figure in figures.items()}


def file_name(block: str, part: str) -> str:
    """Return the ending of the names of a block's figures: ``templates-at-most-2-arguments``."""
    return re.sub(r"[^\w.-]+", "-", f"{block} {part}".strip())


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def _parameters(groups: Sequence[Group]) -> Figure | None:
    sized = [group for group in groups if group.measured[0].run.parameters]
    if not sized:
        return None
    figure = Figure(figsize=(8, 3.6))
    panes = figure.subplots(1, 2, sharey=True)
    kinds = list(dict.fromkeys(map(_kind, sized)))
    for axes, name, label in zip(
        panes, ("parameters", "trainable"), ("parameters", "parameters trained"), strict=True
    ):
        for kind in kinds:
            points = [
                (size, group) for group in sized
                if _kind(group) == kind
                and (size := getattr(group.measured[0].run, name))
            ]  # fmt: skip
            style = kinds.index(kind)
            _points(axes, points, _COLOURS[style % 8], _MARKERS[style % 8], kind)
        axes.set_xscale("log")
        low, high = axes.get_xlim()
        axes.xaxis.set_major_locator(
            LogLocator(subs=(1, 2, 5) if high < _TWO_DECADES * low else (1,))
        )
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: text.count(round(value))))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(label)
        _every_value_line(axes, sized)
    panes[0].set_ylabel("macro F1")
    figure.legend(*panes[0].get_legend_handles_labels(), loc="outside right upper")
    return figure


def _has_few(group: Group) -> bool:
    """Return True for cells that learn from a part of the training arguments."""
    recipe = group.cells[0].recipe or {}
    return any(recipe.get(name) is not None for name in (_SIZE, "shots_per_value"))


def _kind(group: Group) -> str:
    """Return the method of a group; «zero-shot» for all ways to ask and to decide.

    Averages stand apart: they have the parameters of all members.
    """
    run = group.measured[0].run
    method = run.method.partition(",")[0]
    return f"{method}, mean of {run.members}" if run.members else method


def _points(
    axes: Axes, points: Sequence[tuple[float, Group]], colour: str, marker: str, label: str
) -> None:
    """Draw score and 95 % interval of some groups."""
    for n, (x, group) in enumerate(points):
        found = group.intervals[METRIC]
        if found is None or found.estimate is None:
            continue
        ends = (found.ci_low, found.ci_high)
        if ends[0] is not None and ends[1] is not None:
            axes.vlines(x, ends[0], ends[1], color=colour, alpha=0.3, linewidth=2)
        axes.plot(x, found.estimate, marker, color=colour, label="" if n else label, markersize=5)


def _learning_curves(groups: Sequence[Group]) -> Figure | None:
    if len({group.factors.get(_SIZE) for group in groups} - {None}) < 2:
        return None
    figure = Figure(figsize=(7, 3.6))
    axes = figure.add_subplot()
    curves: dict[str, list[tuple[float, Group]]] = {}
    for group in groups:
        if size := group.factors.get(_SIZE):
            name = group.cells[0].design.label_without(("seed", _SIZE))
            curves.setdefault(name, []).append((float(size), group))
    for n, (name, points) in enumerate(curves.items()):
        points.sort(key=lambda point: point[0])
        colour, marker = _COLOURS[n % 8], _MARKERS[n % 8]
        _points(axes, points, colour, marker, name)
        scores = [(x, found.estimate) for x, group in points
                  if (found := group.intervals[METRIC]) and found.estimate is not None]  # fmt: skip
        axes.plot(*zip(*scores, strict=True), color=colour, linewidth=1)
    sizes = sorted({x for points in curves.values() for x, _ in points})
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:.0f}" for size in sizes])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("training arguments")
    axes.set_ylabel("macro F1")
    _every_value_line(axes, groups)
    figure.legend(loc="outside right upper")
    return figure


def _spread(groups: Sequence[Group]) -> Figure | None:
    """Draw every score of a block once a factor, beside the level that it has of it."""
    scores = [
        ({**group.factors, "seed": each.cell.design.factors.get("seed")}, each.scores[METRIC])
        for group in groups for each in group.measured
    ]  # fmt: skip
    factors = [
        name for name in dict.fromkeys(name for levels, _ in scores for name in levels)
        if len({str(levels.get(name)) for levels, _ in scores}) > 1
    ]  # fmt: skip
    if not factors or len(scores) < 3:
        return None
    figure = Figure(figsize=(max(3.5, 2.2 * len(factors)), 3.2))
    panes = figure.subplots(1, len(factors), sharey=True, squeeze=False)[0]
    for axes, name in zip(panes, factors, strict=True):
        levels = list(dict.fromkeys(level_text(of.get(name)) for of, _ in scores))
        for of, score in scores:
            if score is not None:
                axes.plot(levels.index(level_text(of.get(name))), score, "o", color=_COLOURS[0],
                          alpha=0.5, markersize=4)  # fmt: skip
        _every_value_line(axes, groups)
        _level_names(axes, levels)
        axes.set_xlabel(name)
    panes[0].set_ylabel("macro F1")
    return figure


def _every_value_line(axes: Axes, groups: Sequence[Group]) -> None:
    """Draw the score that needs no model, as a line across."""
    level = groups[0].measured[0].every_value
    if level is not None:
        axes.axhline(level, color="#5d5d66", linestyle="--", linewidth=1, zorder=0)


def _level_names(axes: Axes, levels: Sequence[str]) -> None:
    short = [level if len(level) <= 24 else level[:23] + "…" for level in levels]
    tilted: Mapping[str, Any] = {"rotation": 30, "ha": "right"} if max(map(len, short)) > 5 else {}
    axes.set_xticks(range(len(levels)), short, **tilted)
    axes.set_xlim(-0.5, len(levels) - 0.5)
