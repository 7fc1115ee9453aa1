"""Puts the statistics of `statistics` into the rows of a table, where samples are at hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from valueeval.leaderboard.reading.predictions import Predictions, SamplesError, read_checked
from valueeval.leaderboard.reading.runs import Problem, Run
from valueeval.leaderboard.table.table import RANKED, Board, Row, RowTests, Table
from valueeval.leaderboard.text import clean
from valueeval.tasks.scores import uncertainty as statistics
from valueeval.tasks.scores.f1 import count, macro_f1, official_f1
from valueeval.tasks.scores.uncertainty import Estimates

SIGNIFICANCE = 0.05
RESAMPLES = statistics.RESAMPLES


def analyse(table: Table, advance: Callable[[], None] = lambda: None) -> Table:
    """`table` with intervals and tests in every row whose samples can be read.

    Args:
        table: From `collate`.
        advance: Called after each samples file, for a progress bar.
    """
    problems: list[Problem] = []
    # The matrices are small: threads of the linear algebra would wait for one another, and on a
    # busy machine they do little else.
    with threadpool_limits(limits=1):
        boards = [_analyse_board(board, problems, advance) for board in table.boards]
    return replace(table, boards=tuple(boards), problems=(*table.problems, *problems))


def _analyse_board(board: Board, problems: list[Problem], advance: Callable[[], None]) -> Board:
    read = [_read_row(row, problems, advance) for row in board.rows]
    usable = _on_same_arguments(board, read, problems)
    if not usable:
        return board
    predictions = [run for index in usable for run in read[index]]
    rows, start = [], 0
    for index in usable:
        rows.append(list(range(start, start := start + len(read[index]))))
    first = predictions[0]
    counts = count(first.truth, [each.prediction for each in predictions], first.clusters)
    macro = statistics.estimate(counts, rows, macro_f1, resamples=RESAMPLES)
    official = statistics.estimate(counts, rows, official_f1, macro.best, RESAMPLES)
    swapped = {
        name: statistics.randomisation(counts, rows, macro.best, metric, RESAMPLES)
        for name, metric in (("macro_f1", macro_f1), ("official_f1", official_f1))
    }
    tests = _tests(macro, official, swapped) if board.status == RANKED else [None] * len(usable)
    done = list(board.rows)
    for place, index in enumerate(usable):
        done[index] = _with_statistics(
            board.rows[index], read[index], place, macro, official, tests[place]
        )
    return replace(board, rows=tuple(done), clusters=counts.clusters)


# ------------------------------------------------------------------------------- samples


def _read_row(row: Row, problems: list[Problem], advance: Callable[[], None]) -> list[Predictions]:
    """Predictions of each of its runs; nothing if one of them lacks usable samples."""
    found = []
    for run in row.runs:
        try:
            found.append(read_checked(run))
        except SamplesError as error:
            if run.samples is not None:
                problems.append(_ignored(run, str(error)))
        advance()
    return found if len(found) == len(row.runs) else []


def _ignored(run: Run, reason: str) -> Problem:
    name = run.samples.name if run.samples is not None else "samples"
    return Problem(clean(f"{run.source} with {name}"), f"samples ignored: {reason}")


def _on_same_arguments(
    board: Board, read: Sequence[Sequence[Predictions]], problems: list[Problem]
) -> list[int]:
    """Rows that can be compared: those that agree with the first on arguments and labels."""
    usable: list[int] = []
    for index, predictions in enumerate(read):
        if not predictions:
            continue
        first = read[usable[0]][0] if usable else predictions[0]
        if all(first.same_arguments(each) for each in predictions):
            usable.append(index)
        else:
            reason = "other arguments or labels than those of the best row of its table"
            problems.append(_ignored(board.rows[index].run, reason))
    return usable


# ------------------------------------------------------------------------------- rows


def _tests(
    macro: Estimates, official: Estimates, swapped: dict[str, np.ndarray]
) -> list[RowTests | None]:
    """Each row against the best; Holm over all of them."""
    others = [row for row in range(len(macro.value)) if row != macro.best]
    corrected = dict(zip(others, statistics.holm([macro.p[row] for row in others]), strict=True))
    corrected_official = dict(
        zip(others, statistics.holm([official.p[row] for row in others]), strict=True)
    )
    tests: list[RowTests | None] = []
    for row in range(len(macro.value)):
        is_best = row == macro.best
        defined = not np.isnan(macro.p[row])
        tests.append(
            RowTests(
                is_best=is_best,
                like_best=bool(is_best or corrected[row] > SIGNIFICANCE) if defined else None,
                difference=float(macro.difference[row]),
                difference_interval=_pair(macro.difference_low[row], macro.difference_high[row]),
                p=_number(macro.p[row]),
                p_holm=1.0 if is_best else _number(corrected[row]),
                p_randomisation=_number(swapped["macro_f1"][row]),
                p_official=_number(official.p[row]),
                p_official_holm=1.0 if is_best else _number(corrected_official[row]),
                p_official_randomisation=_number(swapped["official_f1"][row]),
                ranks=(int(macro.rank_low[row]), int(macro.rank_high[row])) if defined else None,
            )
        )
    return tests


def _with_statistics(
    row: Row,
    predictions: Sequence[Predictions],
    place: int,
    macro: Estimates,
    official: Estimates,
    tests: RowTests | None,
) -> Row:
    truth = predictions[0].truth
    each = [run.prediction for run in predictions]
    precision, recall = _precision_recall(predictions)
    return replace(
        row,
        macro_interval=_pair(macro.low[place], macro.high[place]),
        official_interval=_pair(official.low[place], official.high[place]),
        stderr=_number(macro.stderr[place]),
        interval_by_samples=True,
        argument_interval=_pair(*statistics.argument_interval(truth, each, macro_f1)[1:]),
        precision=precision,
        recall=recall,
        tests=tests,
    )


def _precision_recall(
    predictions: Sequence[Predictions],
) -> tuple[tuple[float | None, ...], tuple[float | None, ...]]:
    """Per value, mean over the seeds; ``None`` for recall of a value with no positive.

    Precision of a value that is never predicted is 0, as the shared task has it.
    """
    tp, predicted, actual = (
        np.stack(parts) for parts in zip(*(run.totals() for run in predictions), strict=True)
    )
    precision = (tp / np.maximum(predicted, 1)).mean(0)
    recall = (tp / np.maximum(actual, 1)).mean(0)
    known = actual[0] > 0
    return (
        tuple(float(value) if ok else None for value, ok in zip(precision, known, strict=True)),
        tuple(float(value) if ok else None for value, ok in zip(recall, known, strict=True)),
    )


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _pair(low: float, high: float) -> tuple[float, float] | None:
    return None if np.isnan(low) or np.isnan(high) else (float(low), float(high))
