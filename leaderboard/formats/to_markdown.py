"""The leaderboard as markdown, between markers, so that it can live inside another page."""

from __future__ import annotations

from collections.abc import Sequence

from valueeval.leaderboard import text
from valueeval.leaderboard.published.systems import Published
from valueeval.leaderboard.reading.runs import merged
from valueeval.leaderboard.table.table import GAMING_MARGIN, REASONS, Board, Row, Table
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUES

BEGIN = "<!-- valueeval leaderboard: begin (what stands between these lines is overwritten) -->"
END = "<!-- valueeval leaderboard: end -->"

_SUMMARY = """\
Ranked by **macro_f1**, the mean of the F1 of the 20 values (of those that occur in the set);
**official_f1**, the shared task's score, is a different measure. *Italics*: systems of others, not
measured here. The columns are explained below the tables."""
_EXPLANATION = f"""\
- Names say in what a system differs from most of the same base model and method. A *variant* is a
  single fold of a mean over folds, or differs from its parent in one setting; ranks count it.
- *can be best*: ✓ where the system can be the best of the table. Of all systems measured here, the
  truly best is among these with 95 % confidence: all pairs are tested as one family (step-down),
  so the confidence holds for the whole table. With hundreds of pairs that leaves much open: fewer
  comparisons, chosen beforehand (`--reference`, `valueeval compare`), can decide more.
- *ranks*: the ranks that the system can have, with 95 % confidence in all rows together.
- *95 %*: interval of macro_f1 by t and the jackknife's standard error over conclusions, because
  arguments that share a conclusion are not independent. It reaches further up than down: a score
  that is too low by chance comes with a standard error that is too small. A row of several seeds
  counts both conclusions and seeds; the interval of a single run says nothing about other
  trainings. °: as the results say; they have no usable samples here.
- *without one*: the range of macro_f1 when any one conclusion is left out. Conclusions are named by
  a hash; JSON, CSV and HTML name several for each system.
- *vs*: macro_f1 less that of the row that `--reference` names, with its 95 % interval, for all rows
  together; in bold where it leaves out 0.
- *official_f1*: harmonic mean of macro-precision and macro-recall (SemEval-2023 Task 4). Papers mix
  the two up. ⚠ exceeds macro_f1 by more than {GAMING_MARGIN}: predicting some values for nearly
  every argument and others almost never raises official_f1 without recognising values better.
- *macro_ap*: mean average precision over values. It needs no thresholds, but the 20 scores of each
  argument.{{without_scores}}
- *answer_mass*: the probability that a prompted model gives to the answers that are compared (yes
  and no, or the names of the values), mean over arguments. Where it is small, the score is about
  answers that the model would not give.
- *predicted*: share of the decisions (arguments times values) that predict the value. A prompted
  model without calibration often says yes, or no, to nearly everything; then its F1 is that of
  *predicting every value*, the line to read it against, or 0. macro_ap does not depend on it.
- *unparsed*: share of answers that could not be read; they count as no value predicted.
- Systems of others: macro_f1 is computed from the F1 of each value where that was published. The
  sources, some of them secondary, stand in `published.csv` and `published-per-value.csv` of the
  package's leaderboard folder."""


def render(table: Table) -> str:
    """Return `table` as markdown, markers included."""
    parts = [BEGIN, _SUMMARY]
    for board in table.boards:
        parts += _board(board)
    parts += _notes(table)
    return "\n\n".join([*parts, END]) + "\n"


def insert(existing: str, rendered: str) -> str:
    """Return `existing` with what stands between its markers replaced by `rendered`.

    Raises:
        ValueEvalError: It does not hold both markers, once each and in order.
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
    if board.finding:
        parts.append(f"**{board.finding}**")
    if board.rows:
        parts.append(_data_line(board))
    variants = [row for row in board.rows if row.variant_of is not None]
    if board.rows or board.listed:
        rows = [row for row in board.rows if row.variant_of is None]
        parts.append(_main_table(board, rows, board.listed))
    if variants:
        summary = f"Variants: single folds, and one setting changed ({len(variants)})"
        parts += _folded(summary, _main_table(board, variants, ()))
    if any(row.influence is not None for row in board.rows):
        summary = "The conclusion that moves each score most"
        parts += _folded(summary, _influence_table(board.rows))
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
    size = "" if board.arguments is None else f"{board.arguments} arguments"
    if board.clusters is not None:
        size += f" on {board.clusters} conclusions"
    if board.values is not None and board.values < len(VALUES):
        size += f", scores over the {board.values} values that occur"
    version = ""
    if board.version:
        told = "task versions" if "," in board.version else "tasks version"
        version = f", {told} {text.markdown(board.version)}"
    return f"{size}{', ' if size else ''}data `{board.data_sha256[:12]}`{version}."


def _main_table(board: Board, of_board: Sequence[Row], published: Sequence[Published]) -> str:
    lines: list[tuple[bool, float, dict[str, str]]] = []
    lines += [(False, row.macro_f1, _cells(board, row)) for row in of_board]
    lines += [(each.oracle, each.macro_f1 or 0.0, _published_cells(each)) for each in published]
    lines.sort(key=lambda line: (line[0], -line[1]))  # the oracle, which is no system, last
    rows = [cells for *_, cells in lines]
    # A column in which no row has anything is left out, but for those that every table has.
    header = [
        name
        for name in _cells_of_all(board)
        if name in _ALWAYS or any(cells.get(name) for cells in rows)
    ]
    return _table(header, [[cells.get(name, "") for name in header] for cells in rows], _NUMBERS)


_ALWAYS = {"#", "system", "method", "template", "parameters", "trained", "macro_f1", "95 %",
           "official_f1", "seeds"}  # fmt: skip
_NUMBERS = (
    "#,parameters,trained,macro_f1,official_f1,macro_ap,answer_mass,predicted,unparsed,n,seeds"
)


def _versus(board: Board) -> str:
    return "vs" if board.reference is None else f"vs {text.markdown(board.reference.name)}"


def _cells_of_all(board: Board) -> list[str]:
    """Return the names of all columns, in order."""
    return ["#", "can be best", "ranks", "system", "method", "template", "parameters", "trained",
            "macro_f1", "95 %", "without one", _versus(board), "official_f1", "macro_ap",
            "answer_mass", "predicted", "unparsed", "n", "seeds"]  # fmt: skip


def _cells(board: Board, row: Row) -> dict[str, str]:
    run, standing = row.run, row.standing
    macro, official = row.scores["macro_f1"], row.mean("official_f1")
    ranks = standing.ranks if standing is not None else None
    unparsed = row.mean("unparsed")
    return {
        "#": "" if row.rank is None else str(row.rank),
        "can be best": "✓" if standing is not None and standing.can_be_best else "",
        "ranks": "" if ranks is None else text.ranks(ranks),
        "system": _name(row) + _trained_on(row) + _warning_mark(row),
        "method": text.markdown(run.method),
        "template": text.markdown(row.prompt),
        "parameters": text.count(run.parameters),
        "trained": text.count(run.trainable),
        "macro_f1": f"**{text.score(macro.mean)}**{text.spread(macro.sd)}",
        "95 %": text.interval(row.macro_interval) + _given_mark(row),
        "without one": text.range_without_one(row.influence),
        _versus(board): _versus_reference(row),
        "official_f1": text.score(official) + (" ⚠" if row.gamed else ""),
        "macro_ap": text.score(row.mean("macro_ap")),
        "answer_mass": text.share(row.mean("answer_mass")),
        "predicted": text.share(row.mean("predicted_rate")),
        "unparsed": text.share(unparsed) if unparsed else "",
        "n": "" if run.arguments in (None, board.arguments) else str(run.arguments),
        "seeds": str(macro.n),
    }


def _name(row: Row) -> str:
    name = text.markdown(row.name)
    return name if row.link is None else f"[{name}](<{row.link}>)"


def _given_mark(row: Row) -> str:
    return " °" if row.macro_interval is not None and not row.interval_by_samples else ""


def _versus_reference(row: Row) -> str:
    standing = row.standing
    if standing is None or standing.difference is None or standing.difference.value is None:
        return ""
    if standing.is_reference:
        return "reference"
    shown = text.difference(standing.difference)
    return f"**{shown}**" if standing.difference.told_apart else shown


def _trained_on(row: Row) -> str:
    return f" ({text.markdown(row.trained_on)})" if row.trained_on else ""


def _warning_mark(row: Row) -> str:
    return f" (⚠ {text.markdown('; '.join(row.warnings))})" if row.warnings else ""


def _published_cells(system: Published) -> dict[str, str]:
    return {
        "system": f"*{text.markdown(system.system)}*",
        "method": text.markdown(system.shown_method),
        "parameters": text.count(system.parameters),
        "trained": text.count(system.trainable),
        "macro_f1": text.score(system.macro_f1),
        "official_f1": text.published_score(system.official_f1),
    }


def _influence_table(rows: Sequence[Row]) -> str:
    header = ["system", "macro_f1", "conclusion (hash)", "its arguments", "macro_f1 without it",
              "its share of the variance"]  # fmt: skip
    lines = []
    for row in rows:
        if row.influence is not None:
            most = row.influence.conclusions[0]
            lines.append(
                [text.markdown(row.name), text.score(row.macro_f1), f"`{most.key}`",
                 str(most.arguments), text.score(most.without), f"{100 * most.share:.0f} %"]
            )  # fmt: skip
    return _table(header, lines, right=",".join((header[1], *header[3:])))


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
    scored = any(row.mean("macro_ap") is not None for board in table.boards for row in board.rows)
    without = "" if scored else " None of these results holds them, so there is no such column."
    return [*parts, "### How to read this", _EXPLANATION.format(without_scores=without)]


def _list(items: Sequence[str]) -> str:
    return "\n".join(f"- {text.markdown(item)}" for item in items)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], right: str = "") -> str:
    numbers = set(right.split(","))
    rule = ["--:" if name in numbers else "---" for name in header]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))
