r"""The leaderboard as LaTeX tables in the style of booktabs, one a board.

Needs ``\usepackage{booktabs}``; a name in a script that the document's font lacks needs a font
that has it.
"""

from __future__ import annotations

from collections.abc import Mapping

from valueeval.leaderboard import text
from valueeval.leaderboard.published.systems import Published
from valueeval.leaderboard.table.table import GAMING_MARGIN, REASONS, Board, Row, Table

_F1 = r"F\textsubscript{1}"
# Heading, alignment, whether a table has the column even where no row has anything in it.
_COLUMNS = (
    (r"\#", "r", True), ("Ranks", "l", False), ("System", "l", True), ("Method", "l", True),
    ("Template", "l", True), ("Parameters", "r", True), ("Trained", "r", True),
    (f"Macro-{_F1}", "r", True), (r"95\,\%", "l", True), ("Without one", "l", False),
    (r"$\Delta$", "l", False), (f"Official {_F1}", "r", True), ("Macro-AP", "r", False),
    ("Mass", "r", False), ("Predicted", "r", False), ("Unparsed", "r", False),
    ("Seeds", "r", True),
)  # fmt: skip
_NOTE = (
    rf"Macro-{_F1}: mean of the per-value {_F1}, with 95\,\% interval by the jackknife over "
    r"conclusions (and seeds). Ranks: those that fit with 95\,\% confidence in all rows together; "
    r"$\star$: can be the best. Without one: the range when any one conclusion is left out. "
    rf"Official {_F1}: harmonic mean of macro-precision and macro-recall; "
    rf"$\dagger$: exceeds macro by more than {GAMING_MARGIN}. "
    r"Mass: probability of the answers that are compared; Predicted: share of decisions that "
    r"predict a value. Italics: published, not measured here."
)


def render(table: Table) -> str:
    """Return `table` as one LaTeX ``table`` for each board that has rows."""
    parts = ["% Written by valueeval leaderboard; needs \\usepackage{booktabs}."]
    parts += [_board(board) for board in table.boards if board.rows or board.published]
    return "\n\n".join(parts) + "\n"


def _board(board: Board) -> str:
    lines = [(row.macro_f1, _cells(row)) for row in board.rows]
    lines += [(system.macro_f1 or 0.0, _published_cells(system)) for system in board.listed]
    lines.sort(key=lambda line: -line[0])
    rows = [cells for _, cells in lines]
    others = [_published_cells(system) for system in board.official_only]
    columns = [
        (name, align)
        for name, align, always in _COLUMNS
        if always or any(cells.get(name) for cells in rows)
    ]

    def line(cells: Mapping[str, str]) -> str:
        return " & ".join(cells.get(name, "") for name, _ in columns) + r" \\"

    body = [line(cells) for cells in rows]
    if others:
        body += [r"\midrule", *map(line, others)]
    about = f"{board.title}. {REASONS[board.status]} {board.finding}"
    caption = f"{text.latex(' '.join(about.split()))} {_NOTE}"
    if board.reference is not None:
        name = text.latex(board.reference.name)
        caption += rf" $\Delta$: less {name}, with 95\,\% intervals for all rows together."
    return "\n".join(
        [
            r"\begin{table}", r"\centering\small", rf"\caption{{{caption}}}",
            rf"\begin{{tabular}}{{{''.join(align for _, align in columns)}}}", r"\toprule",
            line({name: name for name, _ in columns}), r"\midrule", *body,
            r"\bottomrule", r"\end{tabular}", r"\end{table}",
        ]
    )  # fmt: skip


def _cells(row: Row) -> dict[str, str]:
    run, macro, official = row.run, row.scores["macro_f1"], row.mean("official_f1")
    spread = rf" $\pm$ {macro.sd:.3f}" if macro.sd is not None else ""
    standing = row.standing
    data = f" ({text.latex(row.trained_on)})" if row.trained_on else ""
    best = r" $\star$" if standing is not None and standing.can_be_best else ""
    return {
        r"\#": "" if row.rank is None else str(row.rank),
        "Ranks": text.ranks(standing.ranks) if standing is not None and standing.ranks else "",
        "System": text.latex(row.name) + data + best,
        "Method": text.latex(run.method),
        "Template": text.latex(row.prompt),
        "Parameters": text.count(run.parameters),
        "Trained": text.count(run.trainable),
        f"Macro-{_F1}": text.score(macro.mean) + spread,
        r"95\,\%": text.interval(row.macro_interval),
        "Without one": text.range_without_one(row.influence),
        r"$\Delta$": text.difference(standing.difference) if standing is not None else "",
        f"Official {_F1}": text.score(official) + (r"$\dagger$" if row.gamed else ""),
        "Macro-AP": text.score(row.mean("macro_ap")),
        "Mass": _share(row, "answer_mass"),
        "Predicted": _share(row, "predicted_rate"),
        "Unparsed": _share(row, "unparsed") if row.mean("unparsed") else "",
        "Seeds": str(macro.n),
    }


def _share(row: Row, metric: str) -> str:
    return text.latex(text.share(row.mean(metric)))


def _published_cells(system: Published) -> dict[str, str]:
    return {
        "System": rf"\emph{{{text.latex(system.system)}}}",
        "Method": text.latex(system.shown_method),
        "Parameters": text.count(system.parameters),
        "Trained": text.count(system.trainable),
        f"Macro-{_F1}": text.score(system.macro_f1),
        f"Official {_F1}": text.published_score(system.official_f1),
    }
