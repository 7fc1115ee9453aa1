r"""The leaderboard as LaTeX tables that fit a page: booktabs in a longtable, one a board.

Needs ``\usepackage{array,booktabs,longtable}``; a name in a script that the document's font lacks
needs a font that has it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from valueeval.leaderboard import text
from valueeval.leaderboard.published.systems import Published
from valueeval.leaderboard.table.table import GAMING_MARGIN, REASONS, Board, Row, Table
from valueeval.tasks.errors import ValueEvalError

_F1 = r"F\textsubscript{1}"
_NAME = r">{\raggedright\arraybackslash}p{0.24\linewidth}"
# Heading and alignment by the name of a column.
COLUMNS = {
    "rank": (r"\#", "r"), "ranks": ("Ranks", "l"), "system": ("System", _NAME),
    "method": ("Method", "l"), "template": ("Template", "l"), "parameters": ("Params", "r"),
    "trained": ("Trained", "r"), "macro_f1": (f"Macro-{_F1}", "l"), "interval": (r"95\,\%", "l"),
    "without_one": ("Without one", "l"), "difference": (r"$\Delta$", "l"),
    "official_f1": (f"Official {_F1}", "r"), "macro_ap": ("Macro-AP", "r"),
    "answer_mass": ("Mass", "r"), "predicted": ("Predicted", "r"), "unparsed": ("Unparsed", "r"),
    "seeds": ("Seeds", "r"),
}  # fmt: skip
_DEFAULT = ("rank", "system", "template", "parameters", "macro_f1", "interval", "difference",
            "official_f1", "seeds")  # fmt: skip
_NOTES = {
    "macro_f1": rf"Macro-{_F1}: mean of the per-value {_F1}.",
    "interval": r"95\,\%: interval by the jackknife over conclusions (and seeds).",
    "ranks": r"Ranks: those that fit with 95\,\% confidence in all rows together.",
    "system": r"$\star$: can be the best. Italics: published, not measured here.",
    "without_one": "Without one: the range when any one conclusion is left out.",
    "official_f1": rf"Official {_F1}: harmonic mean of macro-precision and macro-recall; "
    rf"$\dagger$: exceeds macro by more than {GAMING_MARGIN}.",
    "answer_mass": "Mass: probability of the answers that are compared.",
    "predicted": "Predicted: share of decisions that predict a value.",
}


def chosen_columns(given: str | None) -> tuple[str, ...] | None:
    """Return names of columns that are joined by commas; ``None`` for the usual ones.

    Raises:
        ValueEvalError: There is no such column.
    """
    if given is None:
        return None
    names = tuple(name.strip() for name in given.split(",") if name.strip())
    for name in names:
        if name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, n=1)
            meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(COLUMNS)}"
            raise ValueEvalError(f"--columns: no column is called {text.clean(name)}; {meant}")
    return names or None


def render(table: Table, columns: Sequence[str] | None = None, top: int | None = None) -> str:
    """Return `table` as one ``longtable`` for each board that has rows.

    Args:
        table: What to show.
        columns: Names of :data:`COLUMNS`; ``None`` is those that fit a page, without a template
            that all rows have.
        top: Measured rows of a board, from the best; ``None`` is all. Variants are left out.
    """
    parts = ["% Written by valueeval leaderboard; needs \\usepackage{array,booktabs,longtable}."]
    parts += [_board(board, columns, top) for board in table.boards
              if board.rows or board.published]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _board(board: Board, columns: Sequence[str] | None, top: int | None) -> str:
    measured = [row for row in board.rows if row.variant_of is None][:top]
    lines = [(False, row.macro_f1, _cells(row)) for row in measured]
    lines += [(each.oracle, each.macro_f1 or 0.0, _published_cells(each)) for each in board.listed]
    lines.sort(key=lambda line: (line[0], -line[1]))  # the oracle, which is no system, last
    rows = [cells for *_, cells in lines]
    others = [] if top is not None else [_published_cells(each) for each in board.official_only]
    shown = columns or [
        name for name in _DEFAULT
        if any(cells.get(name) for cells in rows)
        and (name != "template" or len({row.prompt for row in board.rows}) > 1)
    ]  # fmt: skip

    def line(cells: Mapping[str, str]) -> str:
        joined = " & ".join(cells.get(name, "") for name in shown)
        # LaTeX would read these as part of the \\ before them.
        return "{}" * joined.lstrip().startswith(("[", "*")) + joined + r" \\"

    body = [line(cells) for cells in rows]
    if others:
        body += [r"\midrule", *map(line, others)]
    about = f"{board.title}. {REASONS[board.status]} {board.finding}"
    notes = " ".join(_NOTES[name] for name in shown if name in _NOTES)
    caption = f"{text.latex(' '.join(about.split()))} {notes}"
    if board.reference is not None and "difference" in shown:
        name = text.latex(board.reference.name)
        caption += rf" $\Delta$: less {name}, with 95\,\% intervals for all rows together."
    doubted = sorted({warning for row in measured for warning in row.warnings})
    if doubted and "system" in shown:
        caption += rf" $\ddagger$: {text.latex('; '.join(doubted))}."
    head = line({name: COLUMNS[name][0] for name in shown})
    return "\n".join(
        [
            r"\begingroup\footnotesize\setlength{\tabcolsep}{3pt}",
            rf"\begin{{longtable}}{{{''.join(COLUMNS[name][1] for name in shown)}}}",
            rf"\caption{{{caption}}} \\", r"\toprule", head, r"\midrule", r"\endfirsthead",
            r"\toprule", head, r"\midrule", r"\endhead", r"\bottomrule", r"\endfoot", *body,
            r"\end{longtable}", r"\endgroup",
        ]
    )  # fmt: skip


def _cells(row: Row) -> dict[str, str]:
    run, macro, official = row.run, row.scores["macro_f1"], row.mean("official_f1")
    spread = rf" $\pm$ {macro.sd:.3f}" if macro.sd is not None else ""
    standing = row.standing
    data = f" ({text.latex(row.trained_on)})" if row.trained_on else ""
    best = r" $\star$" if standing is not None and standing.can_be_best else ""
    doubted = r"$\ddagger$" if row.warnings else ""
    unparsed = row.mean("unparsed")
    return {
        "rank": "" if row.rank is None else str(row.rank),
        "ranks": text.ranks(standing.ranks) if standing is not None and standing.ranks else "",
        "system": text.latex(row.name) + data + doubted + best,
        "method": text.latex(run.method),
        "template": text.latex(row.prompt),
        "parameters": text.count(run.parameters),
        "trained": text.count(run.trainable),
        "macro_f1": text.score(macro.mean) + spread,
        "interval": text.interval(row.macro_interval),
        "without_one": text.range_without_one(row.influence),
        "difference": text.difference(standing.difference) if standing is not None else "",
        "official_f1": text.score(official) + (r"$\dagger$" if row.gamed else ""),
        "macro_ap": text.score(row.mean("macro_ap")),
        "answer_mass": text.latex(text.share(row.mean("answer_mass"))),
        "predicted": text.latex(text.share(row.mean("predicted_rate"))),
        "unparsed": text.latex(text.share(unparsed)) if unparsed else "",
        "seeds": str(macro.n),
    }


def _published_cells(system: Published) -> dict[str, str]:
    return {
        "system": rf"\emph{{{text.latex(system.system)}}}",
        "method": text.latex(system.shown_method),
        "parameters": text.count(system.parameters),
        "trained": text.count(system.trainable),
        "macro_f1": text.score(system.macro_f1),
        "official_f1": text.published_score(system.official_f1),
    }
