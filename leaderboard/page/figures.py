"""Every figure of the leaderboard, drawn once: for papers as PNG and SVG, for the page as SVG.

The same table gives the same bytes: no date, no random ids. Variants are left out, as in the table.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from valueeval.leaderboard import text
from valueeval.leaderboard.published.systems import UPPER_REFERENCE
from valueeval.leaderboard.table.records import board_records, spreads
from valueeval.leaderboard.table.table import RANKED, Board, Table
from valueeval.tasks.values import VALUE_NAMES

_COLOURS = ("#1f5fa8", "#b8540f", "#1f7a54", "#8a3b91", "#8f6b00", "#b3264c", "#3d7580", "#5d5d66")
_INK, _MUTED, _LINE, _PAPER = "#1d2126", "#626a73", "#e3e0d8", "#ffffff"
_ON_LIGHT, _ON_DARK = "#1d2127", "#fefefe"  # text in cells, which keep their colours in the dark
# Colours as the page has them, light and dark.
_IN_PAGE = {
    _INK: "var(--ink)", _MUTED: "var(--muted)", _LINE: "var(--line)", _PAPER: "var(--card)",
    **{colour: f"var(--c{number})" for number, colour in enumerate(_COLOURS)},
    "'DejaVu Sans'": "system-ui",
}  # fmt: skip
_STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans", "sans-serif"], "font.size": 9, "axes.edgecolor": _LINE,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": _LINE, "grid.linewidth": 0.8,
    "text.color": _INK, "axes.labelcolor": _MUTED, "xtick.color": _MUTED, "ytick.color": _MUTED,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "figure.facecolor": _PAPER, "axes.facecolor": _PAPER, "svg.hashsalt": "valueeval",
    "svg.fonttype": "none", "text.parse_math": False, "figure.constrained_layout.use": True,
}  # fmt: skip
_SHAPES = {1: "o", 2: "s", 3: "^"}
_MAX_ROWS = 40  # rows of a heat map or a strip that can still be read on a page

Record = Mapping[str, Any]
Colours = Mapping[str, str]


def draw(table: Table) -> dict[str, bytes]:
    """Return each figure that has something to show as PNG and SVG, by file name."""
    files: dict[str, bytes] = {}
    with _style():
        for board in _drawn(table):
            prefix = f"{board.dataset}-{board.data_sha256[:8]}" if board.mark else board.dataset
            for name, figure in _figures(board, spreads(table)).items():
                files[f"{prefix}-{name}.png"] = _encode(figure, "png")
                files[f"{prefix}-{name}.svg"] = _encode(figure, "svg")
    return files


def draw_for_page(table: Table) -> list[tuple[Board, dict[str, str]]]:
    """Return the figures of each board as SVG elements in the colours of the page, by title."""
    with _style():
        return [
            (board, {name: _element(name, _encode(figure, "svg").decode())
                     for name, figure in _figures(board, spreads(table)).items()})
            for board in _drawn(table)
        ]  # fmt: skip


@contextmanager
def _style() -> Iterator[None]:
    with matplotlib.rc_context(_STYLE):
        yield


def _drawn(table: Table) -> list[Board]:
    return [board for board in table.boards if board.status == RANKED and board.rows]


def _figures(board: Board, all_groups: Sequence[Record]) -> dict[str, Figure]:
    rows = [record for record in board_records(board)
            if record["macro_f1"] is not None and record["variant_of"] is None]  # fmt: skip
    rows.sort(key=lambda row: -row["macro_f1"])
    ranked = [row for row in rows if row["status"] == RANKED]
    shown = {row["group"] for row in ranked}
    groups = [group for group in all_groups if group["group"] in shown]
    colour = _colours(ranked)
    drawn = {
        "intervals": _intervals(rows, colour),
        "f1-parameters": _against(rows, "parameters", "parameters", colour),
        "f1-trained-parameters": _against(
            rows, "trainable_parameters", "trained parameters", colour
        ),
        "f1-training-size": _against(rows, "training_size", "training arguments", colour),
        "f1-per-value": _heat_map(rows),
        "wordings-and-seeds": _spread(groups, colour),
        "precision-recall": _precision_recall(ranked),
    }
    found = {name: figure for name, figure in drawn.items() if figure is not None}
    for figure in found.values():
        figure.supxlabel(f"ValueEval, {board.title}", x=0.99, ha="right", fontsize=7, color=_MUTED)
    return found


def _encode(figure: Figure, ending: str) -> bytes:
    no_metadata = {"png": ("Software",), "svg": ("Date", "Creator", "Format", "Type")}[ending]
    out = io.BytesIO()
    figure.savefig(out, format=ending, dpi=200, metadata=dict.fromkeys(no_metadata))
    return out.getvalue()


def _element(name: str, drawn: str) -> str:
    """Return the element of an SVG file: no declarations, no size of its own, colours by name."""
    element = drawn[drawn.index("<svg") :]
    label = name.replace("-", " ")
    opening = f'<svg role="img" aria-label="{label}" viewBox'
    element = re.sub(r"<svg [^>]*?viewBox", opening, element, count=1)
    for colour, variable in _IN_PAGE.items():
        element = element.replace(colour, variable)
    return element.replace("xlink:href", "href")


def _axes(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    wrapped = "\n".join(textwrap.wrap(title, int(width * 11)))
    figure.suptitle(wrapped, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure, figure.add_subplot()


def _colours(rows: Sequence[Record]) -> Colours:
    """Return a colour for each method, the same in every figure of a set."""
    methods = sorted({row["method"] for row in rows})
    return {method: _COLOURS[i % len(_COLOURS)] for i, method in enumerate(methods)}


def _label(row: Record) -> str:
    return _named(row["system"], text.prompt(row["template"], row["paraphrase"]))


def _named(system: str, prompt: str) -> str:
    name = system if len(system) <= 48 else system[:47] + "…"
    return f"{name} · {prompt}" if prompt else name


# ------------------------------------------------------------------------------- figures


def _intervals(rows: Sequence[Record], colour: Colours) -> Figure | None:
    """Draw score and interval of each row, best first, and the scores of published systems."""
    rows = [row for row in rows if row["method"] != UPPER_REFERENCE][:_MAX_ROWS]
    if not any(row["status"] == RANKED for row in rows):
        return None
    title = "macro F1 with 95 % interval over conclusions"
    figure, axes = _axes(8, 1.1 + 0.24 * len(rows), title)
    for place, row in enumerate(rows):
        if row["status"] != RANKED:
            axes.plot(row["macro_f1"], place, "D", markersize=5, color=_PAPER,
                      markeredgecolor=_MUTED)  # fmt: skip
            continue
        if row["macro_f1_low"] is not None:
            axes.hlines(place, row["macro_f1_low"], row["macro_f1_high"], linewidth=4, alpha=0.3,
                        color=colour[row["method"]])  # fmt: skip
        axes.plot(row["macro_f1"], place, "o", markersize=5, color=colour[row["method"]])
    axes.set_yticks(range(len(rows)), [_label(row) for row in rows], color=_INK)
    for row, label in zip(rows, axes.get_yticklabels(), strict=True):
        if row["status"] != RANKED:
            label.set(fontstyle="italic", color=_MUTED)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("macro F1 (◇ published, without an interval)")
    return figure


def _against(rows: Sequence[Record], field: str, label: str, colour: Colours) -> Figure | None:
    """Draw scores against a size on a logarithmic axis; each point stands at its size.

    Rows with 0 stand at the left, before the axis begins. Means of several adapters are squares.
    """
    known = [row for row in rows if row[field] is not None and row["method"] != UPPER_REFERENCE]
    if not any(row["status"] == RANKED and row[field] > 0 for row in known):
        return None
    positive = [row[field] for row in known if row[field] > 0]
    low, high = min(positive) / 2, max(positive) * 2
    left = low / 2
    figure, axes = _axes(6, 4, f"macro F1 against {label}")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 200 else (1,)))
    axes.xaxis.set_minor_locator(NullLocator())
    # The place of 0 is left of the axis: no size is written there.
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda size, _: "" if size < low else text.count(round(size)))
    )
    for row in known:
        own = row["status"] == RANKED
        axes.plot(
            row[field] or left, row["macro_f1"], ("s" if row["ensemble"] else "o") if own else "D",
            color=colour[row["method"]] if own else _PAPER, alpha=0.75 if own else 1, markersize=6,
            markeredgecolor=_PAPER if own else _MUTED,
        )  # fmt: skip
    for method in sorted({row["method"] for row in known if row["status"] == RANKED}):
        axes.plot([], [], "o", color=colour[method], label=method)
    if any(row["ensemble"] for row in known):
        axes.plot([], [], "s", color=_MUTED, label="mean of several")
    if any(row["status"] != RANKED for row in known):
        axes.plot([], [], "D", color=_PAPER, markeredgecolor=_MUTED, label="published")
    if any(row[field] == 0 for row in known):
        axes.axvline(low * 0.8, color=_MUTED, linewidth=0.8, linestyle=":")
        axes.annotate("0", (left, 0), xycoords=("data", "axes fraction"), xytext=(0, -13),
                      textcoords="offset points", ha="center", color=_MUTED)  # fmt: skip
        axes.set_xlim(left / 1.5, high)
    else:
        axes.set_xlim(low, high)
    axes.set_xlabel(label)
    axes.set_ylabel("macro F1")
    figure.legend(fontsize=8, loc="outside right center")
    return figure


def _heat_map(rows: Sequence[Record]) -> Figure | None:
    """Draw the F1 of each value for each row; the best published per value stands last."""
    known = [row for row in rows if row["f1"] and any(score is not None for score in row["f1"])]
    systems = [row for row in known if row["method"] != UPPER_REFERENCE][:_MAX_ROWS]
    if not any(row["status"] == RANKED for row in systems):
        return None
    systems += [row for row in known if row["method"] == UPPER_REFERENCE]
    scores = np.array([[np.nan if score is None else score for score in row["f1"]]
                       for row in systems])  # fmt: skip
    figure, axes = _axes(11, 2.4 + 0.26 * len(systems), "F1 per value")
    axes.pcolormesh(np.ma.masked_invalid(scores), cmap="Blues", vmin=0, vmax=0.9,
                    edgecolors=_PAPER, linewidth=1)  # fmt: skip
    for (row, value), score in np.ndenumerate(scores):
        missing = np.isnan(score)
        shown = "–" if missing else f"{score:.2f}".replace("0.", ".", 1)  # noqa: RUF001
        axes.text(value + 0.5, row + 0.5, shown, ha="center", va="center", fontsize=7,
                  color=_MUTED if missing else _ON_DARK if score > 0.55 else _ON_LIGHT)  # fmt: skip
    axes.set_xticks(np.arange(20) + 0.5, VALUE_NAMES, rotation=60, ha="right",
                    rotation_mode="anchor")  # fmt: skip
    axes.set_yticks(np.arange(len(systems)) + 0.5, [_label(row) for row in systems], color=_INK)
    axes.tick_params(length=0)
    axes.invert_yaxis()
    axes.grid(visible=False)
    return figure


def _spread(groups: Sequence[Record], colour: Colours) -> Figure | None:
    """Draw every run of a system on a template: wordings by shape, seeds side by side."""
    groups = groups[:_MAX_ROWS]
    if not groups:
        return None
    figure, axes = _axes(8, 1.2 + 0.26 * len(groups), "wordings (● p1, ■ p2, ▲ p3) and seeds")
    for place, group in enumerate(groups):
        own = colour[group["method"]]
        scores = [run["macro_f1"] for run in group["runs"]]
        axes.hlines(place, min(scores), max(scores), color=own, linewidth=5, alpha=0.2)
        for run in group["runs"]:
            axes.plot(run["macro_f1"], place, _SHAPES.get(run["paraphrase"], "s"), color=own,
                      markersize=5, markeredgecolor=_PAPER)  # fmt: skip
    names = [_named(group["system"], group["template"]) for group in groups]
    axes.set_yticks(range(len(groups)), names, color=_INK)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("macro F1")
    return figure


def _precision_recall(rows: Sequence[Record]) -> Figure | None:
    """Draw precision and recall per value of the best row that has samples."""
    best = next((row for row in rows if row["precision"]), None)
    if best is None:
        return None
    figure, axes = _axes(6.5, 5, f"precision and recall of {_label(best)}")
    for place, (precision, recall) in enumerate(
        zip(best["precision"], best["recall"], strict=True)
    ):
        if precision is not None:
            axes.hlines(place, *sorted((precision, recall)), color=_MUTED, alpha=0.5)
            axes.plot(precision, place, "o", color=_COLOURS[0])
            axes.plot(recall, place, "o", color=_COLOURS[1])
    axes.plot([], [], "o", color=_COLOURS[0], label="precision")
    axes.plot([], [], "o", color=_COLOURS[1], label="recall")
    axes.set_yticks(range(20), VALUE_NAMES, color=_INK)
    axes.invert_yaxis()
    axes.set_xlim(-0.02, 1.02)
    figure.legend(fontsize=8, loc="outside right center")
    return figure
