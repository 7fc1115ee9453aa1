"""Label a table that was dropped on the page."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from html import escape
from itertools import islice
from pathlib import Path

from valueeval.adapters.predict.hand_labels import value_columns
from valueeval.adapters.predict.labelling import (
    ADDED_COLUMNS,
    VALUES_COLUMN,
    LabelledRow,
    kinds_of,
    label_rows,
)
from valueeval.adapters.predict.language import Languages
from valueeval.adapters.predict.layout import (
    Layout,
    LayoutError,
    Roles,
    RowProblem,
    find_layout,
)
from valueeval.adapters.predict.model import LOOKED_AT, LabellingModel, refuse_clash
from valueeval.adapters.predict.output import choose_output, whole_file
from valueeval.adapters.predict.summary import SHOWN_GROUPS, Summary
from valueeval.adapters.tables.rows import Record
from valueeval.adapters.tables.table import InputTable, TableOptions, opened_table, opened_writer
from valueeval.app.circle import GROUPS
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import PREDICTED, VALUE_NAMES

_PREVIEW = 8
_TEXT = 160  # characters of a text that the preview shows
# Option of the command → field of the page.
_FIELDS = {
    "--text_column": "«Column of texts»",
    "--premise": "«Column of texts»",
    "--conclusion": "«Conclusion»",
    "--stance": "«Stance»",
}


def columns_of(path: str) -> list[str]:
    """Return the names of a table's columns.

    Raises:
        ValueEvalError: It cannot be read.
    """
    with opened_table(path, TableOptions()) as table:
        return list(table.columns)


def label_table(
    path: str,
    model: LabellingModel,
    roles: Roles,
    by: str | None,
    for_excel: bool,
    show_progress: Callable[[int, int], None],
) -> tuple[str, str]:
    """Label a table and write it beside the original.

    Args:
        path: The table.
        model: The model.
        roles: The columns that were chosen.
        by: The column whose content makes groups, if one was chosen.
        for_excel: True if Excel will open the result.
        show_progress: Called with the number of rows that are done, and of all rows.

    Returns:
        The path of the labelled table, and its summary as HTML.

    Raises:
        ValueEvalError: It cannot be read, or it is not clear where its texts are.
    """
    with opened_table(path, TableOptions()) as table:
        rows = list(islice(table.read_rows(), LOOKED_AT))
        if not rows:
            raise ValueEvalError(f"{Path(path).name}: there is no row in it.")
        layout = _layout(table, roles, rows, Path(path).name)
        clash = set(ADDED_COLUMNS) & set(table.columns) or value_columns(table.columns)
        prefix = PREDICTED if clash else ""
        refuse_clash(table.columns, prefix, Path(path).name, "")
        total, summary, languages = 0, Summary(by), Languages()
        for row in table.read_rows():
            total += 1
            if not isinstance(layout.argument(row), RowProblem):
                summary.expect(row)
        preview: list[LabelledRow] = []
        output = choose_output(table, path, None, None, for_excel)
        labelled_rows = label_rows(table.read_rows(), layout, model, model.rows_at_once)
        columns = [*table.columns, *(prefix + column for column in ADDED_COLUMNS)]
        with (
            whole_file(output.path, overwrite=True) as stream,
            opened_writer(
                output.form, stream, columns, dialect=output.dialect, kinds=kinds_of(prefix),
                schema=table.schema, guard_formulas=output.for_excel,
            ) as writer,
        ):  # fmt: skip
            for number, labelled in enumerate(labelled_rows, 1):
                writer.write(output.record(labelled, prefix))
                _count(labelled, summary, languages)
                if len(preview) < _PREVIEW:
                    preview.append(labelled)
                show_progress(number, total)
    notes = [*table.notes, layout.described, *filter(None, [languages.note])]
    return output.path, _summary(summary, notes) + _preview(preview)


def _layout(table: InputTable, roles: Roles, rows: list[Record], name: str) -> Layout:
    """Return where the arguments are; conclusion and stance are found by their names if left open.

    Raises:
        LayoutError: It is not clear; the message names the page's fields.
    """
    if roles.text_column is not None:
        with suppress(LayoutError):  # no such columns: texts alone
            return find_layout(list(table.columns), Roles(roles.text_column), rows, name)
    try:
        return find_layout(list(table.columns), roles, rows, name)
    except LayoutError as error:
        told = str(error)
        for option, field in _FIELDS.items():  # it names the command's options
            told = told.replace(option, field)
        raise LayoutError(told) from None


def _count(labelled: LabelledRow, summary: Summary, languages: Languages) -> None:
    if labelled.argument is None or labelled.decided is None:
        summary.problems[labelled.problem.kind if labelled.problem else ""] += 1
        return
    languages.add(labelled.argument.premise)
    summary.add(labelled.decided, labelled.row)


def _summary(summary: Summary, notes: list[str]) -> str:
    """Return the shares of the values, by group, as HTML."""
    lines = [
        f"{summary.labelled.rows} of {summary.rows} rows labelled.",
        *summary.lines(),
        *filter(None, [summary.left_out]),
    ]
    shown = summary.largest_groups(SHOWN_GROUPS)
    heads = [("all", summary.labelled), *shown]
    head = "".join(
        f"<th>{escape(name[:30])}<br><small>n = {group.rows}</small></th>" for name, group in heads
    )
    body = "".join(
        f'<tr class="ve-{GROUPS[place]} ve-in"><th scope="row">{escape(value)}</th>'
        + "".join(
            f"<td class='ve-share'><i style='width:{100 * group.shares[place]:.0f}%'></i>"
            f"<span>{100 * group.shares[place]:.0f} %</span></td>"
            for _, group in heads
        )
        + "</tr>"
        for place, value in enumerate(VALUE_NAMES)
    )
    return (
        f"<div class='ve-answer'><p class='ve-head'>{escape(lines[0])}</p>"
        + "".join(f"<p>{escape(line)}</p>" for line in lines[1:])
        + "".join(f"<p class='ve-note'>{escape(note)}</p>" for note in notes)
        + "<h3>Share of rows that have each value</h3>"
        f"<div class='ve-scroll'><table class='ve-table'><thead><tr><th>value</th>{head}</tr>"
        f"</thead><tbody>{body}</tbody></table></div>"
        "<p class='ve-note'>These are the model's labels, and it errs: small differences can be "
        "its errors.</p></div>"
    )


def _preview(rows: list[LabelledRow]) -> str:
    body = "".join(
        f"<tr><td>{escape(_shown(row))}</td><td>{_values(row)}</td></tr>" for row in rows
    )
    return (
        "<div class='ve-answer'><h3>The first rows</h3><div class='ve-scroll'>"
        "<table class='ve-table ve-preview'><thead><tr><th>text</th><th>values</th></tr></thead>"
        f"<tbody>{body}</tbody></table></div></div>"
    )


def _shown(row: LabelledRow) -> str:
    text = row.row.where if row.argument is None else row.argument.premise
    return text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"


def _values(row: LabelledRow) -> str:
    if row.problem is not None:
        return f"<em>{escape(row.problem.text)}</em>"
    return escape(row.cells()[VALUES_COLUMN]) or "—"
