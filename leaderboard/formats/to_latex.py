r"""The leaderboard as LaTeX tables in the style of booktabs, one a board.

Needs ``\usepackage{booktabs}``; a name in a script that the document's font lacks needs a font
that has it.
"""

from __future__ import annotations

from collections.abc import Sequence

from valueeval.leaderboard import text
from valueeval.leaderboard.published.systems import Published
from valueeval.leaderboard.table.table import GAMING_MARGIN, REASONS, Board, Row, Table

_F1 = r"F\textsubscript{1}"
_HEADER = (r"\#", "System", "Method", "Template", "Parameters", "Trained", f"Macro-{_F1}",
           r"95\,\%", f"Official {_F1}", "Seeds")  # fmt: skip
_COLUMNS = "rlllrrrlrr"
_NOTE = (
    rf"Macro-{_F1}: mean of the per-value {_F1}, with 95\,\% interval over conclusions. "
    rf"Official {_F1}: harmonic mean of macro-precision and macro-recall. "
    r"$\approx$: not told apart from the best row at 5\,\% (paired cluster bootstrap, Holm). "
    rf"$\dagger$: official exceeds macro by more than {GAMING_MARGIN}. "
    r"Italics: published, not measured here."
)


def render(table: Table) -> str:
    """`table` as one LaTeX ``table`` for each board that has rows."""
    parts = ["% Written by valueeval leaderboard; needs \\usepackage{booktabs}."]
    parts += [_board(board) for board in table.boards if board.rows or board.published]
    return "\n\n".join(parts) + "\n"


def _board(board: Board) -> str:
    lines = [(row.macro_f1, _cells(row)) for row in board.rows]
    lines += [(system.macro_f1 or 0.0, _published_cells(system)) for system in board.listed]
    lines.sort(key=lambda line: -line[0])
    body = [_line(cells) for _, cells in lines]
    if board.official_only:
        body += [r"\midrule", *(_line(_published_cells(system)) for system in board.official_only)]
    caption = text.latex(f"{board.title}. {REASONS[board.status]}".strip())
    return "\n".join(
        [
            r"\begin{table}", r"\centering\small", rf"\caption{{{caption} {_NOTE}}}",
            rf"\begin{{tabular}}{{{_COLUMNS}}}", r"\toprule", _line(_HEADER), r"\midrule", *body,
            r"\bottomrule", r"\end{tabular}", r"\end{table}",
        ]
    )  # fmt: skip


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cells(row: Row) -> list[str]:
    run, macro, official = row.run, row.scores["macro_f1"], row.mean("official_f1")
    spread = rf" $\pm$ {macro.sd:.3f}" if macro.sd is not None else ""
    tests = row.tests
    data = f" ({text.latex(row.trained_on)})" if row.trained_on else ""
    alike = r" $\approx$" if tests and tests.like_best and not tests.is_best else ""
    return [
        "" if row.rank is None else str(row.rank), text.latex(row.name) + data + alike,
        text.latex(run.method), text.latex(row.prompt), text.count(run.parameters),
        text.count(run.trainable), text.score(macro.mean) + spread,
        text.interval(row.macro_interval),
        text.score(official) + (r"$\dagger$" if row.gamed else ""),
        str(macro.n),
    ]  # fmt: skip


def _published_cells(system: Published) -> list[str]:
    return [
        "",
        rf"\emph{{{text.latex(system.system)}}}",
        text.latex(system.shown_method),
        "",
        text.count(system.parameters),
        text.count(system.trainable),
        text.score(system.macro_f1),
        "",
        text.published_score(system.official_f1),
        "",
    ]
