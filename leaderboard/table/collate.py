"""From runs to the table: which stand in one ranking, and which apart.

Only runs that answer the same question stand in one ranking: the same published data (by hash), all
of it, at the newest version of the tasks that is present, in the first wording of a template that a
system was run with. Everything else is kept, and shown apart without a rank.
"""

from __future__ import annotations

import hashlib
import os
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from valueeval.leaderboard.published.systems import Published, published
from valueeval.leaderboard.reading.runs import METRICS, SETS, Problem, Run
from valueeval.leaderboard.table.table import (
    LIMITED,
    OTHER_VERSION,
    OWN_DATA,
    RANKED,
    SAMPLE,
    SEEN,
    UNKNOWN_SIZE,
    WORDING,
    Board,
    Row,
    Score,
    Table,
)  # fmt: skip
from valueeval.leaderboard.text import clean

_ORDER = (RANKED, WORDING, OTHER_VERSION, OWN_DATA, SEEN, LIMITED, UNKNOWN_SIZE, SAMPLE)


def collate(runs: Sequence[Run], problems: Sequence[Problem] = ()) -> Table:
    """Return the table of `runs`; its order depends on nothing but their content."""
    newest, notes = _newest(runs)
    notes += [
        f"{run.model}, {run.task}: {run.source} does not say how many arguments were evaluated; "
        f"its samples are {run.arguments}"
        for run in newest
        if run.counted_in_samples
    ]
    versions = _newest_versions(newest)
    groups: dict[tuple[object, ...], list[list[Run]]] = defaultdict(list)
    wordings = _first_wordings(newest, versions)
    for same in _by_configuration(newest):
        run = same[0]
        status = _status(run, versions, wordings)
        part = run.arguments if run.limited else None
        older = "" if _is_newest(run, versions) else run.version
        groups[status, run.dataset, run.data_sha256, older, part].append(same)
    names = _names(groups)
    boards = [_board(str(status), same, names) for (status, *_), same in groups.items()]
    boards += _published_only(boards)
    boards = _told_apart(sorted(boards, key=_board_order))
    return Table(tuple(boards), tuple(problems), tuple(notes))


def _same_measurement(run: Run) -> tuple[object, ...]:
    """Return a key that runs share which differ only in their seed and date."""
    part = run.arguments if run.limited else None
    return (run.task, run.dataset, run.data_sha256, run.version, run.limited, part, run.system)


def _newest(runs: Iterable[Run]) -> tuple[list[Run], list[str]]:
    """Return the newest of repeated runs, and a note on each that was left out."""
    repeated: dict[tuple[object, ...], list[Run]] = defaultdict(list)
    for run in runs:
        repeated[(*_same_measurement(run), run.seed)].append(run)
    newest, notes = [], []
    for same in repeated.values():
        *older, kept = sorted(same, key=lambda run: (run.date, run.source))
        newest.append(kept)
        if older:
            left = ", ".join(run.source for run in reversed(older))
            notes.append(
                f"{kept.model}, {kept.task}: kept the newest of {len(same)} runs, "
                f"{kept.source} ({kept.date or 'no date'}); left out {left}"
            )
    return sorted(newest, key=lambda run: (run.task, run.system, run.seed or 0)), sorted(notes)


def _by_configuration(runs: Iterable[Run]) -> list[list[Run]]:
    configurations: dict[tuple[object, ...], list[Run]] = defaultdict(list)
    for run in runs:
        configurations[_same_measurement(run)].append(run)
    return list(configurations.values())


def version_key(version: str) -> tuple[int, ...]:
    """Return a key that sorts versions as numbers: 1.10 is newer than 1.9."""
    return tuple(int(number) for number in re.findall(r"\d{1,9}", version))


Versions = Mapping[tuple[str, str, str], str]
"""Newest version that is present, by set, data and template: each task has a version of its own."""


def _newest_versions(runs: Iterable[Run]) -> Versions:
    newest: dict[tuple[str, str, str], str] = {}
    for run in runs:
        key = (run.dataset, run.data_sha256, run.template)
        newest[key] = max(newest.get(key, run.version), run.version, key=version_key)
    return newest


def _is_newest(run: Run, versions: Versions) -> bool:
    return run.version == versions[run.dataset, run.data_sha256, run.template]


def _first_wordings(
    runs: Iterable[Run], versions: Versions
) -> dict[tuple[str, str, str, str], int]:
    """Return the first wording of each system that was run in full, by template, set and data."""
    first: dict[tuple[str, str, str, str], int] = {}
    for run in runs:
        if _comparable(run) and _is_newest(run, versions):
            key = (run.system, run.template, run.dataset, run.data_sha256)
            first[key] = min(first.get(key, run.paraphrase), run.paraphrase)
    return first


def _comparable(run: Run) -> bool:
    own = not run.official or run.dataset not in SETS
    return not (own or run.sample or run.limited or run.seen or run.arguments is None)


def _status(
    run: Run,
    versions: Versions,
    wordings: Mapping[tuple[str, str, str, str], int],
) -> str:
    if run.sample:
        return SAMPLE
    if run.limited:
        return LIMITED
    if run.arguments is None:
        return UNKNOWN_SIZE
    if run.seen:
        return SEEN
    if not _comparable(run):
        return OWN_DATA
    if not _is_newest(run, versions):
        return OTHER_VERSION
    first = wordings[run.system, run.template, run.dataset, run.data_sha256]
    return RANKED if run.paraphrase == first else WORDING


# ------------------------------------------------------------------------------- rows


def _board(
    status: str, groups: Sequence[Sequence[Run]], names: Mapping[str, tuple[str, str]]
) -> Board:
    rows = sorted(
        (_row(runs, *names[runs[0].system]) for runs in groups),
        key=lambda row: (-row.macro_f1, row.name, row.run.task, row.run.system),
    )
    run = rows[0].run
    return Board(
        status=status,
        dataset=run.dataset,
        data_sha256=run.data_sha256,
        version=", ".join(sorted({row.run.version for row in rows} - {""}, key=version_key)),
        arguments=run.arguments,
        rows=tuple(_ranked(rows) if status == RANKED else rows),
        published=_published_on(run.dataset) if status == RANKED else (),
    )


def _ranked(rows: Sequence[Row]) -> list[Row]:
    """Return sorted `rows` with their ranks; rows with the same score share one."""
    scores = [row.macro_f1 for row in rows]
    return [replace(row, rank=scores.index(row.macro_f1) + 1) for row in rows]


def _row(runs: Sequence[Run], name: str, folder: str) -> Row:
    scores = {
        metric: _over_seeds([value for run in runs if (value := run.metrics[metric]) is not None])
        for metric in METRICS
        if all(run.metrics[metric] is not None for run in runs)
    }
    return Row(
        rank=None,
        name=name,
        folder=folder,
        runs=tuple(runs),
        scores=scores,
        macro_interval=_given_interval(runs, "macro_f1"),
        official_interval=_given_interval(runs, "official_f1"),
    )


def _over_seeds(values: Sequence[float]) -> Score:
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Score(statistics.fmean(values), sd, len(values))


def _given_interval(runs: Sequence[Run], metric: str) -> tuple[float, float] | None:
    """Return the interval that the results of a single run hold; over seeds it is computed."""
    low, high = runs[0].metrics[f"{metric}_ci_low"], runs[0].metrics[f"{metric}_ci_high"]
    return (low, high) if len(runs) == 1 and low is not None and high is not None else None


def _published_on(dataset: str) -> tuple[Published, ...]:
    return tuple(system for system in published() if system.dataset == dataset)


def _published_only(boards: Sequence[Board]) -> list[Board]:
    """Return a board of the main set with what others have published, where nothing is measured."""
    if any(board.status == RANKED and board.dataset == "main" for board in boards):
        return []
    return [Board(RANKED, "main", "", "", None, (), _published_on("main"))]


def _told_apart(boards: Sequence[Board]) -> list[Board]:
    """Mark boards that would share a title with their data and version."""
    titles = [board.title for board in boards]
    return [
        replace(board, mark=f"data {board.data_sha256[:8]}, version {board.version}")
        if titles.count(board.title) > 1
        else board
        for board in boards
    ]


def _names(
    groups: Mapping[tuple[object, ...], Sequence[Sequence[Run]]],
) -> dict[str, tuple[str, str]]:
    """Return a name for each system, those that would share one with a mark, and one without."""
    by_system: dict[str, set[str]] = defaultdict(set)
    for configurations in groups.values():
        for runs in configurations:
            by_system[runs[0].system].update(run.model for run in runs)
    shared: dict[str, list[str]] = defaultdict(list)
    for system, models in by_system.items():
        shared[_common_name(models)].append(system)
    return {
        system: (name if len(systems) == 1 else f"{name} [{_digest(system)}]", name)
        for name, systems in shared.items()
        for system in systems
    }


def _common_name(models: set[str]) -> str:
    """Return what the names of the seeds share: ``minilm-s1``, ``minilm-s2`` → ``minilm``."""
    if len(models) == 1:
        return next(iter(models))
    prefix = os.path.commonprefix(sorted(models))  # noqa: RUF071 (characters are meant)
    prefix = prefix.rstrip("0123456789")
    prefix = re.sub(r"[-_. ]*(seed|s)?[-_. =]*$", "", prefix)
    return prefix or clean(" + ".join(sorted(models)))


def _digest(system: str) -> str:
    return hashlib.sha256(system.encode("utf-8", "replace")).hexdigest()[:4]


def _board_order(board: Board) -> tuple[object, ...]:
    place = SETS.index(board.dataset) if board.dataset in SETS else len(SETS)
    newest_first = tuple(-number for number in version_key(board.version))
    # With nothing measured on it, what others published comes last.
    return (not board.rows, _ORDER.index(board.status), place, board.dataset, newest_first,
            -(board.arguments or 0), board.data_sha256)  # fmt: skip
