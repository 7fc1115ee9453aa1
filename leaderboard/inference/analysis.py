"""Puts intervals and standings into the rows of a table, where samples are at hand."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from valueeval.leaderboard.published.systems import Published
from valueeval.leaderboard.reading.predictions import (
    BoolArray,
    Predictions,
    SamplesError,
    read_checked,
)
from valueeval.leaderboard.reading.runs import Problem, Run
from valueeval.leaderboard.table.table import RANKED, Board, Row, Score, Standing, Table
from valueeval.leaderboard.text import clean
from valueeval.tasks.scores.average_precision import leave_one_out_ap
from valueeval.tasks.scores.influence import influence
from valueeval.tasks.scores.intervals import Interval, interval
from valueeval.tasks.scores.jackknife import LeaveOneOut, leave_one_out
from valueeval.tasks.scores.many_systems import differences_from, rank_systems
from valueeval.tasks.scores.scoring import score


def analyse(
    table: Table, reference: str | None = None, advance: Callable[[], None] = lambda: None
) -> Table:
    """Return `table` with intervals and standings in every row whose samples can be read.

    Args:
        table: The result of `collate`.
        reference: Name of the row to compare the others with; boards without it get no differences.
        advance: Called after each samples file, for a progress bar.
    """
    problems: list[Problem] = []
    # The matrices are small: threads of the linear algebra would wait for one another, and on a
    # busy machine they do little else.
    with threadpool_limits(limits=1):
        boards = [_analyse_board(board, reference, problems, advance) for board in table.boards]
    return replace(table, boards=tuple(boards), problems=(*table.problems, *problems))


def _analyse_board(
    board: Board, reference: str | None, problems: list[Problem], advance: Callable[[], None]
) -> Board:
    read = [_read_row(row, problems, advance) for row in board.rows]
    usable = _on_same_arguments(board, read, problems)
    if not usable:
        return board
    predictions = [run for index in usable for run in read[index]]
    systems, start = [], 0
    for index in usable:
        systems.append(range(start, start := start + len(read[index])))
    first = predictions[0]
    decided = [each.prediction for each in predictions]
    macro, official = (
        leave_one_out(first.truth, decided, first.clusters, metric)
        for metric in ("macro_f1", "official_f1")
    )
    done = list(board.rows)
    for index, runs in zip(usable, systems, strict=True):
        done[index] = _with_statistics(board.rows[index], read[index], runs, macro, official)
    if board.status == RANKED:
        rows = [done[index] for index in usable]
        for index, standing in zip(
            usable, _standings(rows, macro, systems, reference), strict=True
        ):
            done[index] = replace(done[index], standing=standing)
    board = replace(board, rows=tuple(done), clusters=len(macro.keys))
    if any(row.run.prompted for row in board.rows) and not board.has_every_value:
        board = replace(board, published=(*board.published, _every_value(board, first.truth)))
    return board


def _every_value(board: Board, truth: BoolArray) -> Published:
    """Return the line that every prompted row must be read against: predicting every value."""
    found = score(truth, np.ones_like(truth))
    return Published(
        system="Predicting every value", kind="computed", method="heuristic", base="",
        parameters=None, trainable=0, dataset=board.dataset, macro_f1=found["macro_f1"],
        official_f1=found["official_f1"], other="", per_value=(),
        source="computed from the labels of this set", note="",
    )  # fmt: skip


# ------------------------------------------------------------------------------- samples


def _read_row(row: Row, problems: list[Problem], advance: Callable[[], None]) -> list[Predictions]:
    """Return the predictions of each of its runs; nothing if one lacks usable samples."""
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
    """Return the rows that agree with the first on arguments and labels: they can be compared."""
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


def _standings(
    rows: Sequence[Row], macro: LeaveOneOut, systems: Sequence[range], reference: str | None
) -> list[Standing]:
    ranking = rank_systems(macro, systems) if len(rows) > 1 else None
    place = next((place for place, row in enumerate(rows) if row.is_called(reference)), None)
    differences = None if place is None else differences_from(macro, systems, place)
    return [
        Standing(
            can_be_best=None if ranking is None else bool(ranking.can_be_best[index]),
            ranks=None
            if ranking is None
            else (int(ranking.rank_low[index]), int(ranking.rank_high[index])),
            is_reference=index == place,
            difference=None if differences is None else differences[index],
        )
        for index in range(len(rows))
    ]


def _with_statistics(
    row: Row,
    predictions: Sequence[Predictions],
    runs: range,
    macro: LeaveOneOut,
    official: LeaveOneOut,
) -> Row:
    first = predictions[0]
    decided, seeds = [run.prediction for run in predictions], range(len(predictions))
    as_if_independent = leave_one_out(first.truth, decided, first.ids)
    precision, recall = _precision_recall(predictions)
    of_macro = interval(macro, runs)
    return _with_average_precision(
        replace(
            row,
            macro_interval=_ends(of_macro),
            official_interval=_ends(interval(official, runs)),
            stderr=of_macro.stderr,
            interval_by_samples=True,
            scores=_with_predicted_rate(row, predictions),
            argument_interval=_ends(interval(as_if_independent, seeds)),
            influence=influence(macro, runs),
            precision=precision,
            recall=recall,
        ),
        predictions,
    )


def _with_predicted_rate(row: Row, predictions: Sequence[Predictions]) -> Mapping[str, Score]:
    """Return the scores of `row` with the share of decisions that predict a value."""
    if "predicted_rate" in row.scores:
        return row.scores
    # Results of before the tasks had this metric.
    rates = [float(run.prediction.mean()) for run in predictions]
    sd = statistics.stdev(rates) if len(rates) > 1 else None
    found = Score(statistics.fmean(rates), sd, len(rates))
    return {**row.scores, "predicted_rate": found}


def _with_average_precision(row: Row, predictions: Sequence[Predictions]) -> Row:
    """Return `row` with the macro_ap of its scores, where every one of its runs has scores."""
    scores = [run.scores for run in predictions if run.scores is not None]
    if len(scores) < len(predictions):
        return row
    first, seeds = predictions[0], range(len(predictions))
    left = leave_one_out_ap(first.truth, scores, first.clusters)
    found = interval(left, seeds)
    if found.estimate is None:
        return row
    of_seeds = row.scores.get("macro_ap")
    if of_seeds is None:  # results of before the tasks had this metric
        sd = float(left.value.std(ddof=1)) if len(seeds) > 1 else None
        of_seeds = Score(found.estimate, sd, len(seeds))
    return replace(row, scores={**row.scores, "macro_ap": of_seeds}, ap_interval=_ends(found))


def _precision_recall(
    predictions: Sequence[Predictions],
) -> tuple[tuple[float | None, ...], tuple[float | None, ...]]:
    """Return both per value, mean over the seeds; ``None`` for a value with no positive.

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


def _ends(found: Interval) -> tuple[float, float] | None:
    low, high = found.ci_low, found.ci_high
    return None if low is None or high is None else (low, high)
