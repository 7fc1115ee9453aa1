"""The arguments of the page's browser: texts, labels, and what each system predicts.

The texts come from the reader's own copy of the data at the moment when the page is made, and are
then in the page; they are in no repository.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from valueeval.leaderboard.reading.predictions import (
    BoolArray,
    Predictions,
    SamplesError,
    read_checked,
)
from valueeval.leaderboard.reading.run_files import load_data
from valueeval.leaderboard.table.table import Board, Row, Table
from valueeval.tasks.data.dataset import DataSet
from valueeval.tasks.errors import ValueEvalError


def browsable(table: Table) -> list[dict[str, Any]]:
    """Return the arguments of each board whose data are at hand.

    Each board: its title, ``arguments`` (id, premise, conclusion, stance, labels) and ``systems``
    (name, predicted). Labels and predictions are numbers, bit i for the value with index i. A
    system of several seeds predicts what more than half of them do.

    Raises:
        ValueEvalError: There is no board with samples and data.
    """
    found, reasons = [], []
    for board in table.boards:
        rows = _with_samples(board)
        if not rows:
            continue
        try:
            data = load_data(board.dataset)
            if data.sha256 != board.data_sha256:
                raise ValueEvalError(f"the data at hand are {data.sha256[:12]}")
        except ValueEvalError as error:
            reasons.append(f"{board.title}: {error}")
            continue
        found.append(_browsable(board, rows, data))
    if not found:
        reason = "; ".join(reasons) or "no results have samples (lm_eval --log_samples)"
        raise ValueEvalError(f"--samples: there are no arguments to show ({reason})")
    return found


def _with_samples(board: Board) -> list[tuple[Row, list[Predictions]]]:
    found = []
    for row in board.rows:
        try:
            found.append((row, [read_checked(run) for run in row.runs]))
        except SamplesError:
            continue  # said already where the table is made
    return found


def _browsable(
    board: Board, rows: Sequence[tuple[Row, list[Predictions]]], data: DataSet
) -> dict[str, Any]:
    first = rows[0][1][0]
    by_id = dict(zip(data.ids, data.arguments, strict=True))
    systems = [
        {"name": f"{row.name} · {row.prompt}" if row.prompt else row.name,
         "predicted": _bits(np.mean([each.prediction for each in runs], axis=0) > 0.5)}
        for row, runs in rows
        if all(each.same_arguments(first) for each in runs)
    ]  # fmt: skip
    arguments = [
        {"id": id, "premise": by_id[id].premise, "conclusion": by_id[id].conclusion,
         "stance": by_id[id].stance, "labels": labels}
        for id, labels in zip(first.ids, _bits(first.truth), strict=True)
        if id in by_id
    ]  # fmt: skip
    return {"board": board.title, "arguments": arguments, "systems": systems}


def _bits(decided: BoolArray) -> list[int]:
    """Return (n, 20) decisions as n numbers."""
    return [int(number) for number in decided @ (1 << np.arange(decided.shape[1]))]
