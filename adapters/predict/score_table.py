"""``valueeval score my.csv``: predictions against labels in tables of one's own.

Without a table it is `valueeval.tasks.commands.score`: run files, and samples logged by lm_eval.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valueeval.adapters.predict.hand_labels import LabelColumns
from valueeval.adapters.predict.labelling import PROBABILITY_COLUMNS
from valueeval.adapters.predict.layout import LayoutError, Roles, RowProblem, find_layout
from valueeval.adapters.tables.rows import Record, as_text
from valueeval.adapters.tables.table import TableOptions, opened_table
from valueeval.tasks.commands import score as run_scores
from valueeval.tasks.commands.command_line import CommandParser
from valueeval.tasks.commands.progress import tracked
from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.display import did_you_mean
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import PREDICTED

_IDS = ("argument id", "id")
_LOOKED_AT = 50
_OF_RUNS = ("run", "arguments", "samples", "template", "calibration", "tune_by_fold")

BoolArray = npt.NDArray[np.bool_]


def main(argv: Sequence[str]) -> int:
    """Print the scores; return the exit status."""
    parser = build_parser()
    options = parser.parse_args(argv)
    if options.file is None:
        for name in ("prefix", "id"):
            if getattr(options, name) is not None:
                parser.error(f"--{name} is for a table: give its FILE")
        return run_scores.main(argv)
    for name in _OF_RUNS:
        if getattr(options, name) is not None:
            parser.error(f"--{name} is for run files and samples, not for a table")
    report = table_report(options.file, options.labels, options.prefix, options.id)
    if options.json:
        print(json.dumps(report, indent=2, allow_nan=False))
    else:
        run_scores.print_tables(report)
    return 0


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        prog="valueeval score",
        description="Score predictions against labels: in a table of your own (as `valueeval "
        "predict --labels` writes it), in two tables (--labels), in a run file of the shared task, "
        "or what lm_eval --log_samples wrote.",
    )
    own = parser.add_argument_group(
        "a table of your own", "Its labels are in it, or in another table: --labels."
    )
    own.add_argument(
        "file", metavar="FILE", nargs="?",
        help="table with predictions: .csv, .tsv, .xlsx, .parquet, .jsonl; the labels are in it as "
        "well, or in the table of --labels",
    )  # fmt: skip
    own.add_argument(
        "--prefix", metavar="NAME",
        help=f"what the names of the columns with predictions begin with (default: {PREDICTED} if "
        "FILE has such columns, else nothing)",
    )  # fmt: skip
    own.add_argument(
        "--id", metavar="COLUMN",
        help="column that tells which rows of two tables belong together (default: 'Argument ID' "
        "or 'id' if both have it, else row by row)",
    )  # fmt: skip
    run_scores.add_options(parser)
    return parser


def table_report(
    file: str, labels: str | None = None, prefix: str | None = None, id_column: str | None = None
) -> dict[str, Any]:
    """Return the report on a table's predictions, see `valueeval.tasks.commands.score.make_report`.

    Rows without labels or without predictions do not count; values that have no column with labels
    do not either. Intervals are over conclusions if the tables have a column of them.

    Args:
        file: The table with the predictions.
        labels: The table with the labels; None: the same.
        prefix: The beginning of the names of the columns with predictions.
        id_column: The column by which rows of two tables belong together.

    Raises:
        ValueEvalError: The columns are unclear, or the rows of two tables do not belong together.
    """
    name = Path(file).name
    columns, rows = _read(file)
    if prefix is None:
        prefix = PREDICTED if any(column.startswith(PREDICTED) for column in columns) else ""
    elif not any(column.startswith(prefix) for column in columns):
        raise ValueEvalError(f"{name}: no column begins with {prefix!r} (--prefix).")
    predicted = {column[len(prefix) :]: column for column in columns if column.startswith(prefix)}
    decisions = _columns(list(predicted), name, "predictions")
    if labels is None:
        if not prefix:
            raise ValueEvalError(
                f"{name}: holds predictions or labels, not both: the columns of one of them need a "
                f"prefix (--prefix {PREDICTED}, as `valueeval predict --labels` writes them), or "
                "the labels another table (--labels TABLE)."
            )
        others = [column for column in columns if not column.startswith(prefix)]
        label_name, truth_in, label_rows = name, _columns(others, name, "labels"), rows
        keys = _conclusions(others, rows, name)
    else:
        label_columns, label_rows = _read(labels)
        label_name = Path(labels).name
        truth_in = _columns(label_columns, label_name, "labels")
        rows = _matched(name, columns, rows, label_name, label_columns, label_rows, id_column)
        keys = _conclusions(label_columns, label_rows, label_name)
        if keys is None:
            keys = _conclusions(columns, rows, name)
    truth, decided, kept = [], [], []
    both = list(zip(rows, label_rows, strict=True))
    for place, (row, labelled) in enumerate(tracked(both, "reading labels and predictions")):
        prediction = _labels_of(decisions, _renamed(row, predicted), name)
        given = _labels_of(truth_in, labelled, label_name)
        if prediction is not None and given is not None:
            truth.append(given)
            decided.append(prediction & truth_in.present)
            kept.append(place)
    if not kept:
        raise ValueEvalError(f"{name}: no row has both labels and predictions.")
    clusters = None if keys is None else [keys[place] for place in kept]
    ids = [rows[place].where for place in kept]
    scores = _probabilities([_renamed(rows[place], predicted) for place in kept])
    return run_scores.make_report(
        ids, np.array(truth), np.array(decided), clusters,
        scores=scores if truth_in.present.all() else None,
    )  # fmt: skip


def _read(file: str) -> tuple[list[str], list[Record]]:
    with opened_table(file, TableOptions()) as table:
        for note in table.notes:
            print(f"{table.name}: {note}", file=sys.stderr)
        return list(table.columns), list(tracked(table.read_rows(), f"reading {table.name}"))


def _columns(columns: list[str], name: str, what: str) -> LabelColumns:
    """Return the columns that are called like values."""
    try:
        return LabelColumns.found_in(columns, name)
    except ValueEvalError as error:
        raise ValueEvalError(str(error).replace("--labels:", f"{what}:")) from None


def _labels_of(columns: LabelColumns, row: Record, name: str) -> BoolArray | None:
    try:
        return columns.of(row, name)
    except ValueEvalError as error:
        raise ValueEvalError(str(error).replace(" (--labels)", "")) from None


def _renamed(row: Record, names: Mapping[str, str]) -> Record:
    """Return a row with the columns of the predictions alone, by their names without the prefix."""
    return Record(row.where, {name: row.cells.get(column) for name, column in names.items()})


def _conclusions(columns: list[str], rows: list[Record], name: str) -> list[str] | None:
    """Return a key of each row's conclusion; None where the table has none for every row."""
    try:
        layout = find_layout(columns, Roles(), rows[:_LOOKED_AT], name)
    except LayoutError:
        return None
    found = [layout.argument(row) for row in rows]
    texts = ["" if isinstance(one, RowProblem) else one.conclusion for one in found]
    return [conclusion_key(text) for text in texts] if all(texts) else None


def _matched(
    name: str,
    columns: list[str],
    rows: list[Record],
    label_name: str,
    label_columns: list[str],
    label_rows: list[Record],
    id_column: str | None,
) -> list[Record]:
    """Return the rows with predictions in the order of those with labels."""
    if id_column is not None:
        for table, there in ((name, columns), (label_name, label_columns)):
            if id_column not in there:
                raise ValueEvalError(
                    f"{table}: no column {id_column!r} (--id)"
                    f"{did_you_mean(id_column, there) or '.'}"
                )
        mine, theirs = id_column, id_column
    else:
        known = [
            next((c for c in there if c.strip().casefold() in _IDS), None)
            for there in (columns, label_columns)
        ]
        if None in known:
            if len(rows) != len(label_rows):
                raise ValueEvalError(
                    f"{name} has {len(rows)} rows, {label_name} {len(label_rows)}, and no column "
                    "tells which belong together: name one by --id."
                )
            return rows
        mine, theirs = str(known[0]), str(known[1])
    by_id: dict[str, Record] = {}
    for row in rows:
        key = as_text(row.cells.get(mine)).strip()
        if key in by_id:
            raise ValueEvalError(f"{name}, {row.where}: {mine} {key[:40]!r} is there twice.")
        by_id[key] = row
    matched = []
    for row in label_rows:
        key = as_text(row.cells.get(theirs)).strip()
        if key not in by_id:
            raise ValueEvalError(
                f"{label_name}, {row.where}: {theirs} {key[:40]!r} is not in {name}."
            )
        matched.append(by_id[key])
    return matched


def _probabilities(rows: Sequence[Record]) -> npt.NDArray[np.float64] | None:
    """Return the probabilities in the columns ``p_…``, (rows, 20); None if some are missing."""
    cells = [[row.cells.get(column) for column in PROBABILITY_COLUMNS] for row in rows]
    try:
        numbers = np.array([[float(as_text(cell)) for cell in row] for row in cells])
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None
