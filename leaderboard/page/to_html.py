"""The leaderboard as one self-contained HTML page: no network, no library, works from a file.

Text reaches the page by two ways only: through Jinja with autoescaping, or inside a JSON block that
the script reads and shows by ``textContent``. (`|safe` in the page is for our own style, script and
bars, and for that block, whose text :func:`_embedded` escapes.) A content security policy lets no
other script run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from valueeval.leaderboard import text
from valueeval.leaderboard.formats import to_csv, to_json
from valueeval.leaderboard.page import figures
from valueeval.leaderboard.published.systems import UPPER_REFERENCE
from valueeval.leaderboard.table.records import board_records
from valueeval.leaderboard.table.table import GAMING_MARGIN, RANKED, REASONS, Board, Table
from valueeval.tasks.values import VALUE_NAMES

SIGNIFICANCE = 0.05
_MOST_INFLUENTIAL = 3  # conclusions that are named for each row
_SIZES = (("s", "under 50 M"), ("m", "50 M to 500 M"), ("l", "500 M to 5 B"),
          ("xl", "5 B and more"), ("unknown", "unknown"))  # fmt: skip
# Key of the column in the data, heading, kind, help.
_COLUMNS = (
    ("rank", "#", "num", "Rank by macro F1, and the ranks that fit (95 %, all rows together)"),
    ("system", "System", "text", "Name of the model or adapter"),
    ("method", "Method", "text", "How the system came about"),
    ("prompt", "Template", "text", "How the task was put to it"),
    ("parameters", "Params", "num", "Parameters in all"),
    ("trainable_parameters", "Trained", "num", "Parameters that were trained"),
    ("macro_f1", "Macro F1", "num", "Mean F1 of the values that occur in the set; ranked by"),
    ("macro_f1_low", "95 % interval", "num", "Interval of macro F1; sorts by its lower end"),
    ("macro_f1_without_one_low", "Without one", "num",
     "Range of macro F1 when any one conclusion is left out; sorts by its lower end"),
    ("difference", "vs reference", "num", "Macro F1 less that of the reference row"),
    ("official_f1", "Official F1", "num", "The shared task's score"),
    ("macro_ap", "Macro AP", "num", "Mean average precision over the values"),
    ("answer_mass", "Answer mass", "num",
     "Probability of the answers that are compared, mean over arguments"),
    ("predicted_rate", "Predicted", "num", "Share of decisions that predict a value"),
    ("unparsed", "Unparsed", "num", "Share of answers that could not be read"),
    ("seeds", "Seeds", "num", "Runs that the row is the mean of"),
)  # fmt: skip
_CAPTIONS = {
    "intervals": "Systems of others, of which no predictions are public, have no interval.",
    "f1-parameters": "Each system stands at its size; those of one size stand above one another.",
    "f1-per-value": "In the last row, where it is known, the best published F1 of each value, "
    "chosen on the test set itself: an upper reference, no system.",
    "wordings-and-seeds": "Every run of a system on a template. The wider, the more a score owes "
    "to the prompt or to chance.",
    "precision-recall": "Of the best system with samples.",
}
# Columns that are left out of a page where no row has anything in them.
_OPTIONAL = {
    "macro_f1_without_one_low",
    "difference",
    "macro_ap",
    "answer_mass",
    "predicted_rate",
    "unparsed",
}


def render(table: Table, samples: list[dict[str, Any]] | None = None) -> str:
    """Return `table` as an HTML page.

    Args:
        table: What to show.
        samples: Arguments for its browser (:func:`valueeval.leaderboard.page.samples.browsable`),
            with their texts.
    """
    script = _asset("page.js")
    rows = _rows(table)
    on_board = [row for row in rows if _has_score(row)]
    columns = [
        column
        for column in _COLUMNS
        if column[0] not in _OPTIONAL or any(row[column[0]] for row in on_board)
    ]
    return _page().render(
        style=_asset("page.css"),
        script=script,
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=_embedded(table, on_board, samples),
        drawn=[{"title": board.title, "figures": list(drawn.items())}
               for board, drawn in figures.draw_for_page(table)],
        captions=_CAPTIONS,
        samples=samples,
        values=VALUE_NAMES,
        ranked=[_board(number, board, rows) for number, board in enumerate(table.boards)
                if board.status == RANKED],
        apart=[_apart(number, board, rows) for number, board in enumerate(table.boards)
               if board.status != RANKED],
        columns=[dict(zip(("key", "label", "kind", "help"), each, strict=True))
                 for each in columns],
        shown={key for key, *_ in columns},
        lines=[_line(row, _scale(on_board)) for row in on_board],
        methods=_distinct(on_board, "method"),
        templates=_distinct(on_board, "template"),
        sizes=_SIZES,
        margin=GAMING_MARGIN,
        notes=table.notes,
        problems=table.problems,
    )  # fmt: skip


@cache
def _page() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    return environment.from_string(_asset("page.html"))


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _embedded(
    table: Table, rows: list[dict[str, Any]], samples: list[dict[str, Any]] | None
) -> str:
    """Return the data as JSON that cannot end its element, whatever strings it holds."""
    keys = ("id", "status", "board", "system", "run_name", "variant_of", "base_model", "template",
            *(key for key, *_ in _COLUMNS))  # fmt: skip
    content = {
        "values": list(VALUE_NAMES),
        "rows": [{key: row[key] for key in keys} for row in rows],
        "samples": samples,
        "files": {"leaderboard.csv": to_csv.render(table),
                  "leaderboard.json": to_json.render(table)},
    }  # fmt: skip
    dumped = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character, escape in (("&", "\\u0026"), ("<", "\\u003c"), (">", "\\u003e"),
                              ("\u2028", "\\u2028"), ("\u2029", "\\u2029")):  # fmt: skip
        dumped = dumped.replace(character, escape)
    return dumped


# ------------------------------------------------------------------------------- rows


def _rows(table: Table) -> list[dict[str, Any]]:
    rows = [{**record, "board_number": number}
            for number, board in enumerate(table.boards)
            for record in board_records(board)]  # fmt: skip
    for number, row in enumerate(rows):
        row["id"] = number
        row["prompt"] = text.prompt(row["template"], row["paraphrase"])
    # The oracle is no system: it stands at the foot.
    return sorted(rows, key=lambda row: (row["method"] == UPPER_REFERENCE,
                                         -(row["macro_f1"] or 0.0), row["id"]))  # fmt: skip


def _has_score(row: dict[str, Any]) -> bool:
    """Return whether a row has a place in the rankings: a macro F1, ours or published."""
    return row["status"] in (RANKED, "published", "computed") and row["macro_f1"] is not None


def _distinct(rows: list[dict[str, Any]], key: str) -> list[str]:
    return sorted({row[key] for row in rows if row[key]})


def _board(number: int, board: Board, rows: list[dict[str, Any]]) -> dict[str, Any]:
    published = [row for row in rows if row["status"] == "published"
                 and row["board_number"] == number and row["macro_f1"] is None]  # fmt: skip
    published.sort(key=lambda row: (-(row["official_f1"] or 0.0), row["id"]))
    for row in published:
        row["parameters_text"] = text.count(row["parameters"])
        row["official_text"] = text.published_score(row["official_f1"])
        row["method"] = row["method"] or ""
    influence = [
        {"system": row["system"], "prompt": row["prompt"], "macro": text.score(row["macro_f1"]),
         "range": _without_one(row), "conclusions": row["influence"][:_MOST_INFLUENTIAL]}
        for row in rows
        if row["board_number"] == number and row["influence"]
    ]  # fmt: skip
    return {
        "title": board.title, "summary": board.summary, "finding": board.finding,
        "official_only": published,
        "influence": influence,
        "reference": board.reference.name if board.reference is not None else "",
    }  # fmt: skip


def _apart(number: int, board: Board, rows: list[dict[str, Any]]) -> dict[str, Any]:
    own = [row for row in rows if row["board_number"] == number]
    lines = [_line(row, (0.0, 1.0)) for row in own]
    return {"title": board.title, "reason": REASONS[board.status], "lines": lines}


def _line(row: dict[str, Any], scale: tuple[float, float]) -> dict[str, Any]:
    """Return what the table shows of a row, as text."""
    ours = row["status"] not in ("published", "computed")
    reference = row["method"] == UPPER_REFERENCE
    shown_interval = (
        ""
        if row["macro_f1_low"] is None
        else f"{row['macro_f1_low']:.3f} to {row['macro_f1_high']:.3f}"
    )
    return {
        "id": row["id"],
        "kind": "ours" if ours else "reference" if reference else "published",
        "kind_label": UPPER_REFERENCE if reference else row["status"],
        "rank": "" if row["rank"] is None else row["rank"],
        "ranks": _rank_interval(row),
        "system": row["system"],
        "link": row["link"],
        "run_name": row["run_name"],
        "variant_of": row["variant_of"],
        "detail": _detail(row),
        "can_be_best": row["can_be_best"],
        "gamed": row["gamed"],
        "warnings": row["warnings"] or (),
        "method": "" if reference else row["method"] or "",
        "prompt": row["prompt"],
        "parameters": text.count(row["parameters"]),
        "trainable": text.count(row["trainable_parameters"]),
        "macro": text.score(row["macro_f1"]),
        "sd": text.score(row["macro_f1_sd"]),
        "bar": _bar(row, scale),
        "interval": shown_interval + (" °" if row["interval_from"] == "results" else ""),
        "without_one": _without_one(row),
        "difference": "reference" if row["is_reference"] else _signed(row["difference"]),
        "difference_ends": _difference_ends(row),
        "apart": row["p_corrected"] is not None and row["p_corrected"] < SIGNIFICANCE,
        "official": (text.score if ours else text.published_score)(row["official_f1"]),
        "ap": text.score(row["macro_ap"]),
        "answer_mass": text.share(row["answer_mass"]),
        "predicted": text.share(row["predicted_rate"]),
        "unparsed": text.share(row["unparsed"]),
        "seeds": row["seeds"] or "",
        "arguments": row["arguments"] or "",
    }


def _detail(row: dict[str, Any]) -> str:
    """Return base model and training data, where neither the name nor the rule says them."""
    base, data = row["base_model"], row["training_data"]
    return ", ".join(
        part for part, implied in ((base, row["system"]), (data, "training"))
        if part and part != implied and part not in row["system"]
    )  # fmt: skip


def _rank_interval(row: dict[str, Any]) -> str:
    low, high = row["rank_low"], row["rank_high"]
    return "" if low is None or low == high else text.ranks((low, high))


def _without_one(row: dict[str, Any]) -> str:
    low, high = row["macro_f1_without_one_low"], row["macro_f1_without_one_high"]
    return "" if low is None else f"{low:.3f} to {high:.3f}"


def _difference_ends(row: dict[str, Any]) -> str:
    low, high = row["difference_low"], row["difference_high"]
    return "" if low is None else f"{low:+.3f} to {high:+.3f}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}"


def _scale(rows: list[dict[str, Any]]) -> tuple[float, float]:
    """Return the range that all interval bars share."""
    ends = [row[key] for row in rows for key in ("macro_f1", "macro_f1_low", "macro_f1_high")
            if row[key] is not None]  # fmt: skip
    return max(0.0, min(ends, default=0.0) - 0.02), min(1.0, max(ends, default=1.0) + 0.02)


def _bar(row: dict[str, Any], scale: tuple[float, float]) -> str:
    """Draw score, interval over conclusions (wide) and over arguments (thin) on one scale."""

    def x(score: float) -> float:
        return round(180 * (score - scale[0]) / (scale[1] - scale[0]), 1)

    def line(kind: str, low: float | None, high: float | None) -> str:
        if low is None or high is None:
            return ""
        return f'<line class="{kind}" x1="{x(low)}" x2="{x(high)}" y1="11" y2="11"/>'

    label = f"{row['macro_f1']:.3f}"
    if row["macro_f1_low"] is not None:
        label += f", 95 % {row['macro_f1_low']:.3f} to {row['macro_f1_high']:.3f}"
    # Markup, not escaped in the page: made of nothing but numbers.
    return (
        f'<svg viewBox="0 0 180 22" role="img" aria-label="{label}"><title>{label}</title>'
        '<line class="grid" x1="0" x2="180" y1="11" y2="11"/>'
        + line("wide", row["macro_f1_low"], row["macro_f1_high"])
        + line("thin", row["macro_f1_argument_low"], row["macro_f1_argument_high"])
        + f'<circle class="dot" cx="{x(row["macro_f1"])}" cy="11" r="5"/></svg>'
    )
