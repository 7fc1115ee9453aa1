"""The leaderboard as markdown, between markers, so that it can live inside another page."""

from __future__ import annotations

from collections.abc import Sequence

from valueeval.leaderboard import text
from valueeval.leaderboard.published.systems import Published
from valueeval.leaderboard.reading.runs import merged
from valueeval.leaderboard.table.table import GAMING_MARGIN, REASONS, Board, Row, Table
from valueeval.tasks.errors import ValueEvalError

BEGIN = "<!-- valueeval leaderboard: begin (what stands between these lines is overwritten) -->"
END = "<!-- valueeval leaderboard: end -->"

_SUMMARY = """\
Ranked by **macro_f1**, the mean of the F1 of the 20 values; **official_f1**, the shared task's
score, is a different measure. *Italics*: systems of others, not measured here. The signs are
explained below the tables."""
_EXPLANATION = f"""\
- *official_f1*: harmonic mean of macro-precision and macro-recall (SemEval-2023 Task 4). Papers mix
  the two up.
- *95 %*: interval of macro_f1 over conclusions, because arguments that share a conclusion are not
  independent; over seeds too where a row has several. *As if independent*: over arguments, too
  narrow, for comparison with papers that resample arguments. ° as the results say, which have no
  usable samples here.
- *vs best*: difference in macro_f1 from the best row and its p-value (studentised paired bootstrap
  over conclusions, Holm-corrected over the rows of the table). **≈** cannot be told apart from the
  best row at 5 %. In *#*, after the rank, the 95 % interval of the rank. A row with one seed is
  tested as that one trained model; two or three seeds hardly tell how much trainings differ, so a
  small p does not yet say that a method is better.
- ⚠ at official_f1: it exceeds macro_f1 by more than {GAMING_MARGIN}. Predicting some values for
  nearly every argument and others almost never raises official_f1 without recognising values
  better.
- Systems of others: macro_f1 is computed from the F1 of each value where that was published. The
  sources, some of them secondary, stand in `published.csv` and `published-per-value.csv` of the
  package's leaderboard folder."""


def render(table: Table) -> str:
    """`table` as markdown, markers included."""
    parts = [BEGIN, _SUMMARY]
    for board in table.boards:
        parts += _board(board)
    parts += _notes(table)
    return "\n\n".join([*parts, END]) + "\n"


def insert(existing: str, rendered: str) -> str:
    """`existing` with what stands between its markers replaced by `rendered`.

    Raises:
        ValueEvalError: it does not hold both markers, once each and in order.
    """
    begin, end = existing.find(BEGIN), existing.find(END)
    if existing.count(BEGIN) != 1 or existing.count(END) != 1 or end < begin:
        raise ValueEvalError(
            "exists and would be overwritten; put these two lines where the leaderboard is to "
            f"stand, or name another file:\n{BEGIN}\n{END}"
        )
    return existing[:begin] + rendered.rstrip("\n") + existing[end + len(END) :]


# ------------------------------------------------------------------------------- boards


def _board(board: Board) -> list[str]:
    parts = [f"### {text.markdown(board.title)}"]
    if REASONS[board.status]:
        parts.append(REASONS[board.status])
    if board.rows:
        parts.append(_data_line(board))
    if board.rows or board.listed:
        parts.append(_main_table(board))
    if board.official_only:
        summary = "Published with official_f1 only: not comparable with macro_f1"
        parts += _folded(summary, _official_table(board.official_only))
    if board.other_only:
        summary = "Published with another score, or where it is unclear which F1 is meant"
        parts += _folded(summary, _other_table(board.other_only))
    return parts


def _folded(summary: str, content: str) -> list[str]:
    return [f"<details><summary>{summary}</summary>", content, "</details>"]


def _data_line(board: Board) -> str:
    size = "" if board.arguments is None else f"{board.arguments} arguments, "
    version = f", tasks version {text.markdown(board.version)}" if board.version else ""
    return f"{size}data `{board.data_sha256[:12]}`{version}."


def _main_table(board: Board) -> str:
    header = ["#", "system", "method", "template", "parameters", "trained", "macro_f1", "95 %",
              "as if independent", "vs best", "official_f1", "unparsed", "n", "seeds"]  # fmt: skip
    lines: list[tuple[float, list[str]]] = [(row.macro_f1, _cells(row)) for row in board.rows]
    lines += [(system.macro_f1 or 0.0, _published_cells(system)) for system in board.listed]
    lines.sort(key=lambda line: -line[0])
    return _table(
        header,
        [cells for _, cells in lines],
        right="#,parameters,trained,macro_f1,official_f1,unparsed,n,seeds",
    )


def _cells(row: Row) -> list[str]:
    run = row.run
    macro, official = row.scores["macro_f1"], row.mean("official_f1")
    spread = f" ± {macro.sd:.3f}" if macro.sd is not None else ""
    flag = " ⚠" if row.gamed else ""
    return [
        _rank(row),
        text.markdown(row.name) + _trained_on(row) + _warning_mark(row),
        text.markdown(run.method),
        text.markdown(row.prompt),
        text.count(run.parameters),
        text.count(run.trainable),
        f"**{text.score(macro.mean)}**{spread}",
        text.interval(row.macro_interval) + _given_mark(row),
        text.interval(row.argument_interval),
        _versus_best(row),
        text.score(official) + flag,
        text.share(row.mean("unparsed")),
        "" if run.arguments is None else str(run.arguments),
        str(macro.n),
    ]


def _rank(row: Row) -> str:
    if row.rank is None:
        return ""
    ranks = row.tests.ranks if row.tests is not None else None
    return str(row.rank) if ranks is None else f"{row.rank} [{ranks[0]}, {ranks[1]}]"


def _given_mark(row: Row) -> str:
    return " °" if row.macro_interval is not None and not row.interval_by_samples else ""


def _versus_best(row: Row) -> str:
    tests = row.tests
    if tests is None or tests.p_holm is None:
        return ""
    if tests.is_best:
        return "best"
    mark = "**≈** " if tests.like_best else ""
    return f"{mark}{tests.difference:+.3f}, p {text.p_value(tests.p_holm)}"


def _trained_on(row: Row) -> str:
    return f" ({text.markdown(row.trained_on)})" if row.trained_on else ""


def _warning_mark(row: Row) -> str:
    warnings = sorted({warning for run in row.runs for warning in run.warnings})
    return f" (⚠ {text.markdown('; '.join(warnings))})" if warnings else ""


def _published_cells(system: Published) -> list[str]:
    return [
        "",
        f"*{text.markdown(system.system)}*",
        text.markdown(system.shown_method),
        "",
        text.count(system.parameters),
        text.count(system.trainable),
        text.score(system.macro_f1),
        "",
        "",
        "",
        text.published_score(system.official_f1),
        "",
        "",
        "",
    ]


def _official_table(systems: Sequence[Published]) -> str:
    rows = [
        [
            f"*{text.markdown(system.system)}*",
            text.markdown(system.shown_method),
            text.markdown(system.base),
            text.count(system.parameters),
            text.published_score(system.official_f1),
        ]
        for system in systems
    ]
    header = ["system", "method", "base model", "parameters", "official_f1"]
    return _table(header, rows, right="parameters,official_f1")


def _other_table(systems: Sequence[Published]) -> str:
    rows = [
        [f"*{text.markdown(system.system)}*", text.markdown(system.method),
         text.markdown(system.base), text.markdown(system.other)]
        for system in systems
    ]  # fmt: skip
    return _table(["system", "method", "base model", "score"], rows)


def _notes(table: Table) -> list[str]:
    parts: list[str] = []
    if table.notes:
        parts += ["### Notes", _list(table.notes)]
    if table.problems:
        reasons = [f"{problem.source}: {problem.reason}" for problem in merged(table.problems)]
        parts += ["### Not used", _list(reasons)]
    return [*parts, "### How to read this", _EXPLANATION]


def _list(items: Sequence[str]) -> str:
    return "\n".join(f"- {text.markdown(item)}" for item in items)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], right: str = "") -> str:
    numbers = set(right.split(","))
    rule = ["--:" if name in numbers else "---" for name in header]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))
