"""Labelled tables of one's own as training data: ``--data my.csv``, ``--data touche23+my.csv``.

A table is read as `valueeval predict` reads it: CSV with any delimiter, Excel, Parquet, JSON lines;
columns of premise, conclusion and stance are found by their names, or one column of texts that
stand alone. The labels are in 20 columns that are called like the values or their slugs, with 1 or
0. A column ``split`` says which rows are for training and which for validation; without one, a
fifth of the conclusions (of the texts, where texts stand alone) is for validation, chosen by
`assign_folds` without a seed; those that data joined with the table has as well go where they are
there, so that nothing is chosen on a conclusion that was trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from valueeval.adapters.directory.base import weight_hash
from valueeval.adapters.predict.hand_labels import LabelColumns
from valueeval.adapters.predict.layout import Roles, RowProblem, find_layout
from valueeval.adapters.tables.rows import Record, as_text
from valueeval.adapters.tables.table import TableOptions, opened_table
from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.data.dataset import Argument, DataSet, joined
from valueeval.tasks.data.folds import assign_folds
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_NAMES
from valueeval.train.runtime.progress import note

SPLIT_COLUMN = "split"
_SPLITS = {
    **dict.fromkeys(("train", "training"), "training"),
    **dict.fromkeys(("valid", "validation", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_FOLDS = 5  # one of them is for validation
_SHOWN = 5
_LOOKED_AT = 50  # rows that are looked at to see which column holds texts


def merged(parts: Sequence[DataSet]) -> DataSet:
    """Return one split of several data sets as one: the first's name, hashes joined by ``+``."""
    if len(parts) == 1:
        return parts[0]
    return replace(joined(*parts), name=parts[0].name, official=False)


def split_of_each(sets: Iterable[tuple[DataSet, DataSet]]) -> dict[str, str]:
    """Return ``training`` or ``validation`` for each conclusion of data sets, by its key.

    Args:
        sets: Training and validation data of each.
    """
    return {
        conclusion_key(group): split
        for both in sets
        for split, part in zip(("training", "validation"), both, strict=True)
        for group in part.groups
    }


def note_shared_conclusions(training: DataSet, validation: DataSet) -> None:
    """Tell people about conclusions that stand in both: choices on them are too sure."""
    keys = [set(map(conclusion_key, part.groups)) for part in (training, validation)]
    if shared := len(keys[0] & keys[1]):
        note(
            f"{shared} of the {len(keys[1])} conclusions (or texts) of validation are in training "
            "as well, so that epoch and thresholds are chosen on what was trained on: give each "
            f"conclusion one split in the tables' columns {SPLIT_COLUMN!r}, or train on folds by "
            "conclusion (--folds 5 --fold 0)"
        )


def load_table_sets(
    path: str, elsewhere: Mapping[str, str] | None = None
) -> tuple[DataSet, DataSet]:
    """Return training and validation data of a labelled table.

    Their hash is that of the file. Rows without any label are left out, and counted in a note, as
    are rows whose split is ``test``.

    Args:
        path: The table.
        elsewhere: The split of conclusions in data that it is joined with, see `split_of_each`;
            None if it is alone, and must have rows for both splits.

    Raises:
        ValueEvalError: The table cannot be read, its columns are unclear, a column of a value is
            missing, rows hold no argument or no label; or it cannot be split.
    """
    with opened_table(path, TableOptions()) as table:
        name, columns = Path(path).name, list(table.columns)
        for one in table.notes:
            note(f"{name}: {one}")
        rows = list(table.read_rows())
    labels_in = _label_columns(columns, name)
    layout = find_layout(columns, Roles(), rows[:_LOOKED_AT], name)
    arguments, labels, splits, problems, unlabelled = [], [], [], [], 0
    split_column = next((c for c in columns if c.strip().casefold() == SPLIT_COLUMN), None)
    for row in rows:
        try:
            found, given = layout.argument(row), labels_in.of(row, name)
        except ValueEvalError as error:
            raise ValueEvalError(str(error).replace(" (--labels)", "")) from None
        if given is None:
            unlabelled += 1
        elif isinstance(found, RowProblem):
            problems.append(f"{row.where}: {found.text}")
        else:
            place = f"{name}, {row.where}"
            arguments.append(Argument(place, found.conclusion, found.stance, found.premise))
            labels.append(given)
            splits.append("" if split_column is None else _split_of(row, split_column, name))
    if problems:
        more = f"\n… and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise ValueEvalError(
            f"{name}: {len(problems)} labelled rows hold no argument:\n"
            + "\n".join(problems[:_SHOWN])
            + more
        )
    if not arguments:
        raise ValueEvalError(f"{name}: no row has a label, so there is nothing to train on.")
    if unlabelled:
        note(f"{name}: {unlabelled} of {len(rows)} rows have no label and are left out")
    truth = np.array(labels, dtype=np.bool_)
    if split_column:
        parts = np.array(splits)
    else:
        parts = _by_conclusion(arguments, truth, name, elsewhere or {})
    if tests := int((parts == "test").sum()):
        note(f"{name}: {tests} rows of split test are left out")
    sha256 = weight_hash([Path(path)])
    directory = Path(path).resolve().parent

    def part(split: str) -> DataSet:
        chosen = np.flatnonzero(parts == split).tolist()
        if not chosen and elsewhere is None:
            raise ValueEvalError(
                f"{name}: no row for {split}. A column {SPLIT_COLUMN!r} has training or validation "
                "in every row; without one, a fifth of the conclusions is for validation."
            )
        kept = tuple(arguments[row] for row in chosen)
        return DataSet(split, kept, truth[chosen], sha256, directory, official=False)

    return part("training"), part("validation")


def _label_columns(columns: list[str], name: str) -> LabelColumns:
    """Return the columns of the labels; all values must have one."""
    try:
        found = LabelColumns.found_in(columns, name)
    except ValueEvalError as error:
        raise ValueEvalError(str(error).replace("--labels: ", "")) from None
    missing = [v for v, there in zip(VALUE_NAMES, found.present.tolist(), strict=True) if not there]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise ValueEvalError(
            f"{name}: no column for {', '.join(map(repr, missing[:_SHOWN]))}{more}. A model learns "
            "all 20 values: give each a column, with 1 or 0."
        )
    return found


def _split_of(row: Record, column: str, name: str) -> str:
    given = as_text(row.cells.get(column)).strip()
    if (split := _SPLITS.get(given.casefold())) is None:
        raise ValueEvalError(
            f"{name}, {row.where}, column {column!r}: {given[:40]!r}; allowed: training, "
            "validation, test"
        )
    return split


def _by_conclusion(
    arguments: list[Argument],
    labels: npt.NDArray[np.bool_],
    name: str,
    elsewhere: Mapping[str, str],
) -> npt.NDArray[np.str_]:
    """Return ``training`` or ``validation`` for each argument; a conclusion is in one of them.

    A conclusion that ``elsewhere`` names gets the split given there.
    """
    try:
        folds = assign_folds([argument.group for argument in arguments], labels, _FOLDS)
    except ValueEvalError:
        what = "conclusions" if arguments[0].conclusion else "texts"
        raise ValueEvalError(
            f"{name}: fewer than {_FOLDS} different {what}, too few to leave a fifth of them out "
            f"for validation. Add arguments, or a column {SPLIT_COLUMN!r} with training or "
            "validation."
        ) from None
    own = np.where(folds == 0, "validation", "training").tolist()
    keys = [conclusion_key(argument.group) for argument in arguments]
    return np.array([elsewhere.get(key, split) for key, split in zip(keys, own, strict=True)])
