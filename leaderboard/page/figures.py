"""Every figure of the leaderboard as PNG and SVG, for papers and slides.

Drawn by matplotlib from the same records as the page. The same table gives the same bytes: no date,
no random ids.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from valueeval.leaderboard import text
from valueeval.leaderboard.published.systems import UPPER_REFERENCE
from valueeval.leaderboard.table.records import board_records, spreads
from valueeval.leaderboard.table.table import RANKED, Table
from valueeval.tasks.values import VALUE_NAMES

_COLOURS = ("#1f5fa8", "#b8540f", "#1f7a54", "#8a3b91", "#8f6b00", "#b3264c", "#3d7580", "#5d5d66")
_INK, _MUTED, _LINE = "#1d2126", "#626a73", "#e3e0d8"
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.edgecolor": _LINE, "axes.grid": True,
    "axes.axisbelow": True, "grid.color": _LINE, "grid.linewidth": 0.8, "text.color": _INK,
    "axes.labelcolor": _MUTED, "xtick.color": _MUTED, "ytick.color": _MUTED,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "svg.hashsalt": "valueeval", "svg.fonttype": "none", "text.parse_math": False,
    "figure.constrained_layout.use": True, "axes.titlelocation": "left",
}  # fmt: skip
_SHAPES = {1: "o", 2: "s", 3: "^"}
_MAX_ROWS = 40  # rows of a heat map or a strip that can still be read on a page

Record = Mapping[str, Any]
Colours = Mapping[str, str]


def draw(table: Table) -> dict[str, bytes]:
    """Return each figure that has something to show as PNG and SVG, by file name."""
    files: dict[str, bytes] = {}
    with matplotlib.rc_context(_STYLE):
        for board in table.boards:
            if board.status != RANKED or not board.rows:
                continue
            rows = [record for record in board_records(board) if record["macro_f1"] is not None]
            rows.sort(key=lambda row: -row["macro_f1"])
            groups = [spread for spread in spreads(table)
                      if spread["data_sha256"] == board.data_sha256]  # fmt: skip
            prefix = f"{board.dataset}-{board.data_sha256[:8]}" if board.mark else board.dataset
            for name, figure in _figures(rows, groups).items():
                figure.suptitle(f"ValueEval, {board.title}", x=0.01, ha="left", fontsize=8,
                                color=_MUTED)  # fmt: skip
                files |= _encode(f"{prefix}-{name}", figure)
    return files


def _figures(rows: Sequence[Record], groups: Sequence[Record]) -> dict[str, Figure]:
    ranked = [row for row in rows if row["status"] == RANKED]
    colour = _colours(ranked)
    drawn = {
        "intervals": _intervals(ranked, colour),
        "f1-parameters": _against(rows, "parameters", "parameters", colour),
        "f1-trained-parameters": _against(
            rows, "trainable_parameters", "trained parameters", colour
        ),
        "f1-training-size": _against(rows, "training_size", "training arguments", colour),
        "f1-per-value": _heat_map(rows),
        "wordings-and-seeds": _spread(groups, colour),
        "precision-recall": _precision_recall(ranked),
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _encode(name: str, figure: Figure) -> dict[str, bytes]:
    files = {}
    for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        out = io.BytesIO()
        figure.savefig(out, format=ending, dpi=200, metadata=metadata)
        files[f"{name}.{ending}"] = out.getvalue()
    return files


def _axes(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11, fontweight="bold")
    return figure, axes


def _colours(rows: Sequence[Record]) -> Colours:
    """Return a colour for each method, the same in every figure of a set."""
    methods = sorted({row["method"] for row in rows})
    return {method: _COLOURS[i % len(_COLOURS)] for i, method in enumerate(methods)}


def _label(row: Record) -> str:
    return _named(row["system"], text.prompt(row["template"], row["paraphrase"]))


def _named(system: str, prompt: str) -> str:
    name = system if len(system) <= 36 else system[:35] + "…"
    return f"{name} · {prompt}" if prompt else name


# ------------------------------------------------------------------------------- figures


def _intervals(rows: Sequence[Record], colour: Colours) -> Figure | None:
    """Draw score and interval of each row, best first."""
    rows = rows[:_MAX_ROWS]
    if not rows:
        return None
    figure, axes = _axes(7, 0.9 + 0.24 * len(rows), "macro F1 with 95 % interval over conclusions")
    for place, row in enumerate(rows):
        if row["macro_f1_low"] is not None:
            axes.hlines(place, row["macro_f1_low"], row["macro_f1_high"], linewidth=4, alpha=0.3,
                        color=colour[row["method"]])  # fmt: skip
        axes.plot(row["macro_f1"], place, "o", markersize=5, color=colour[row["method"]])
    axes.set_yticks(range(len(rows)), [_label(row) for row in rows], color=_INK)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("macro F1")
    return figure


def _against(rows: Sequence[Record], field: str, label: str, colour: Colours) -> Figure | None:
    """Score against a size on a logarithmic axis, one line a method through the best of each size.

    Rows with 0 stand at the left, before the axis begins.
    """
    known = [row for row in rows if row[field] is not None]
    if not any(row["status"] == RANKED and row[field] > 0 for row in known):
        return None
    positive = [row[field] for row in known if row[field] > 0]
    left = min(positive) / 4
    figure, axes = _axes(6, 4, f"macro F1 against {label}")
    axes.set_xscale("log")
    # The place of 0 is left of the axis: no size is written there.
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda size, _: "" if size < left * 2 else text.count(round(size)))
    )
    axes.xaxis.set_minor_locator(NullLocator())
    for method in sorted({row["method"] for row in known if row["status"] == RANKED}):
        own = [row for row in known if row["status"] == RANKED and row["method"] == method]
        best: dict[int, float] = {}
        for row in own:
            best[row[field]] = max(row["macro_f1"], best.get(row[field], 0.0))
            _error_bar(axes, row[field] or left, row, colour[method])
        sizes = sorted(size for size in best if size > 0)
        axes.plot(sizes, [best[size] for size in sizes], color=colour[method], alpha=0.7,
                  linewidth=1.6)  # fmt: skip
        axes.plot([], [], "o-", color=colour[method], label=method)
    published = [row for row in known if row["status"] != RANKED]
    for row in published:
        axes.plot(row[field] or left, row["macro_f1"], "D", color="white", markeredgecolor=_MUTED,
                  markersize=5)  # fmt: skip
    if published:
        axes.plot([], [], "D", color="white", markeredgecolor=_MUTED, label="published")
    if any(row[field] == 0 for row in known):
        axes.axvline(left * 2, color=_MUTED, linewidth=0.8, linestyle=":")
        axes.annotate("0", (left, 0), xycoords=("data", "axes fraction"), xytext=(0, 6),
                      textcoords="offset points", ha="center", color=_MUTED)  # fmt: skip
    axes.set_xlabel(label)
    axes.set_ylabel("macro F1")
    axes.legend(fontsize=8, loc="best")
    return figure


def _error_bar(axes: Axes, x: float, row: Record, colour: str) -> None:
    if row["macro_f1_low"] is not None:
        axes.vlines(x, row["macro_f1_low"], row["macro_f1_high"], color=colour, linewidth=1,
                    alpha=0.6)  # fmt: skip
    axes.plot(x, row["macro_f1"], "o", color=colour, markersize=5, markeredgecolor="white")


def _heat_map(rows: Sequence[Record]) -> Figure | None:
    """Draw the F1 of each value for each row; the best published per value stands last."""
    known = [row for row in rows if row["f1"] and any(score is not None for score in row["f1"])]
    systems = [row for row in known if row["method"] != UPPER_REFERENCE][:_MAX_ROWS]
    if not any(row["status"] == RANKED for row in systems):
        return None
    systems += [row for row in known if row["method"] == UPPER_REFERENCE]
    scores = np.array([[np.nan if score is None else score for score in row["f1"]]
                       for row in systems])  # fmt: skip
    figure, axes = _axes(10, 2.2 + 0.26 * len(systems), "F1 per value")
    axes.imshow(np.ma.masked_invalid(scores), cmap="Blues", vmin=0, vmax=0.9, aspect="auto")
    for (row, value), score in np.ndenumerate(scores):
        shown = "–" if np.isnan(score) else f"{score:.2f}".replace("0.", ".", 1)  # noqa: RUF001
        axes.text(value, row, shown, ha="center", va="center", fontsize=6.5,
                  color="white" if score > 0.55 else _INK)  # fmt: skip
    axes.set_xticks(range(20), VALUE_NAMES, rotation=60, ha="right")
    axes.set_yticks(range(len(systems)), [_label(row) for row in systems], color=_INK)
    axes.grid(visible=False)
    return figure


def _spread(groups: Sequence[Record], colour: Colours) -> Figure | None:
    """Draw every run of a system on a template: wordings by shape, seeds side by side."""
    groups = groups[:_MAX_ROWS]
    if not groups:
        return None
    figure, axes = _axes(7, 1.1 + 0.26 * len(groups), "wordings (● p1, ■ p2, ▲ p3) and seeds")
    for place, group in enumerate(groups):
        own = colour[group["method"]]
        scores = [run["macro_f1"] for run in group["runs"]]
        axes.hlines(place, min(scores), max(scores), color=own, linewidth=5, alpha=0.2)
        for run in group["runs"]:
            axes.plot(run["macro_f1"], place, _SHAPES.get(run["paraphrase"], "s"), color=own,
                      markersize=5, markeredgecolor="white")  # fmt: skip
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
    axes.legend(fontsize=8, loc="best")
    return figure
