"""From runs to the table that every output is written from.

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
from dataclasses import dataclass, replace

from valueeval.leaderboard.published import Published, published
from valueeval.leaderboard.read import METRICS, SETS, Problem, Run
from valueeval.leaderboard.text import clean

# official_f1 above macro_f1 by more than this is what gaming official_f1 looks like.
GAMING_MARGIN = 0.05

RANKED, WORDING, OTHER_VERSION, OWN_DATA, LIMITED, SAMPLE = (
    "ranked", "other wording", "other version", "own data", "limited", "sample",
)  # fmt: skip
_ORDER = (RANKED, WORDING, OTHER_VERSION, OWN_DATA, LIMITED, SAMPLE)
SET_TITLES = {
    "main": "Main test set",
    "validation": "Validation set",
    "zhihu": "Zhihu (validation)",
    "nahjalbalagha": "Nahj al-Balagha",
    "nyt": "New York Times",
}
REASONS = {
    RANKED: "",
    WORDING: "Further wordings of the same templates. Unranked, so that nobody gains by choosing "
    "a wording on the test set.",
    OTHER_VERSION: "An older version of the tasks: not comparable, unranked.",
    OWN_DATA: "Not the published files: not comparable, unranked.",
    LIMITED: "Only a part of the set was evaluated: not comparable, unranked.",
    SAMPLE: "The small sample set that ships with the package, for demos and tests: "
    "its numbers say nothing about the real sets. Unranked.",
}


@dataclass(frozen=True)
class Score:
    """A score over the seeds of a configuration: mean, standard deviation (None for one), n."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True)
class RowTests:
    """A ranked row against the best one (the first by macro_f1 that has samples).

    Attributes:
        is_best: Whether it is that row.
        like_best: Whether it cannot be told apart from it at 5 %, Holm-corrected; ``None`` if there
            are too few conclusions for a test.
        difference: In macro_f1, this row less the best.
        difference_interval: 95 % interval of it, over conclusions, not corrected.
        p, p_holm: Studentised paired cluster bootstrap on macro_f1, as it is and corrected.
        p_randomisation: Approximate randomisation over conclusions; ``None`` for rows of seeds.
        p_official, p_official_holm, p_official_randomisation: The same on official_f1.
        ranks: 95 % interval of its rank among the rows with samples.
    """

    is_best: bool
    like_best: bool | None
    difference: float
    difference_interval: tuple[float, float] | None
    p: float | None
    p_holm: float | None
    p_randomisation: float | None
    p_official: float | None
    p_official_holm: float | None
    p_official_randomisation: float | None
    ranks: tuple[int, int] | None


@dataclass(frozen=True)
class Row:
    """One configuration on one task: one run, or one a seed.

    Attributes:
        rank: Place by macro_f1 among the ranked rows of its board, from 1; equal scores share it.
        name: Name to show.
        runs: The runs, by seed; what they share can be read from any of them.
        scores: Score by metric; a metric that a run lacks is not there.
        macro_interval, official_interval: 95 % interval over conclusions, or ``None``.
        interval_by_samples: Whether it was computed here; else it is the one in the results.
        stderr: Standard error of macro_f1 over conclusions and seeds, from samples.
        argument_interval: 95 % interval of macro_f1 as if arguments were independent.
        precision, recall: Per value, from samples; empty without.
        tests: Against the best row; only in rankings, and only with samples.
    """

    rank: int | None
    name: str
    runs: tuple[Run, ...]
    scores: Mapping[str, Score]
    macro_interval: tuple[float, float] | None
    official_interval: tuple[float, float] | None
    interval_by_samples: bool = False
    stderr: float | None = None
    argument_interval: tuple[float, float] | None = None
    precision: tuple[float | None, ...] = ()
    recall: tuple[float | None, ...] = ()
    tests: RowTests | None = None

    @property
    def run(self) -> Run:
        """The first of its runs, for what all of them share."""
        return self.runs[0]

    @property
    def macro_f1(self) -> float:
        """Mean of macro_f1 over the seeds; what rows are ranked by."""
        return self.scores["macro_f1"].mean

    def mean(self, metric: str) -> float | None:
        """Mean of a metric over the seeds, or ``None``."""
        score = self.scores.get(metric)
        return None if score is None else score.mean

    @property
    def gamed(self) -> bool:
        """Whether official_f1 exceeds macro_f1 by so much that it may have been gamed."""
        official = self.mean("official_f1")
        return official is not None and official - self.macro_f1 > GAMING_MARGIN

    @property
    def prompt(self) -> str:
        """Template and wording, e.g. ``bca`` or ``bca p2``."""
        run = self.run
        return run.template + (f" p{run.paraphrase}" if run.paraphrase > 1 else "")


@dataclass(frozen=True)
class Board:
    """Rows that may be compared with one another.

    Attributes:
        status: One of ``ranked``, ``other wording``, ``other version``, ``own data``,
            ``limited``, ``sample``.
        dataset, data_sha256, version, arguments: What they have in common.
        rows: Best macro_f1 first.
        published: Published systems on the same set; only beside ranked rows.
        clusters: How many conclusions its arguments share, if samples tell.
        mark: What tells it from boards that would have the same title.
    """

    status: str
    dataset: str
    data_sha256: str
    version: str
    arguments: int | None
    rows: tuple[Row, ...]
    published: tuple[Published, ...] = ()
    clusters: int | None = None
    mark: str = ""

    @property
    def title(self) -> str:
        """What it is called above the table; unlike that of every other board of a table."""
        return f"{self._title} ({self.mark})" if self.mark else self._title

    @property
    def _title(self) -> str:
        name = SET_TITLES.get(self.dataset, self.dataset)
        if self.status == SAMPLE:
            split = self.dataset.removeprefix("sample").strip("_") or "test"
            name = f"Sample set ({split})"
            return f"{name}, limited to {self.arguments} arguments" if self._part else name
        extra = {
            WORDING: "other wordings",
            OTHER_VERSION: f"version {self.version} of the tasks",
            OWN_DATA: f"own data {self.data_sha256[:8]}",
            LIMITED: f"limited to {'?' if self.arguments is None else self.arguments} arguments",
        }.get(self.status)
        return f"{name}: {extra}" if extra else name

    @property
    def _part(self) -> bool:
        return bool(self.rows) and self.rows[0].run.limited


@dataclass(frozen=True)
class Table:
    """Everything that a leaderboard shows.

    Attributes:
        boards: Ranked ones first, in the order of `SETS`; then those apart; last the main set, if
            nothing was measured on it, for what others have published.
        problems: What could not be used.
        notes: What was decided on the way that a reader should know.
    """

    boards: tuple[Board, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]


def collate(runs: Sequence[Run], problems: Sequence[Problem] = ()) -> Table:
    """The table of `runs`; its order depends on nothing but their content."""
    newest, notes = _newest(_with_versions(runs))
    versions = _newest_versions(newest)
    groups: dict[tuple[object, ...], list[list[Run]]] = defaultdict(list)
    wordings = _first_wordings(newest, versions)
    for same in _by_configuration(newest):
        run = same[0]
        status = _status(run, versions, wordings)
        part = run.arguments if run.limited else None
        groups[status, run.dataset, run.data_sha256, run.version, part].append(same)
    names = _names(groups)
    boards = [_board(str(status), same, names) for (status, *_), same in groups.items()]
    boards += _published_only(boards)
    boards = _told_apart(sorted(boards, key=_board_order))
    return Table(tuple(boards), tuple(problems), tuple(notes))


# ------------------------------------------------------------------------------- grouping


def _same_measurement(run: Run) -> tuple[object, ...]:
    """Equal for runs that differ in nothing but their seed (and when they were made)."""
    part = run.arguments if run.limited else None
    return (run.task, run.dataset, run.data_sha256, run.version, run.limited, part, run.system)


def _newest(runs: Iterable[Run]) -> tuple[list[Run], list[str]]:
    """The newest of repeated runs, and a note on each that was left out."""
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
    """For comparing versions as numbers: 1.10 is newer than 1.9."""
    return tuple(int(number) for number in re.findall(r"\d{1,9}", version))


def _with_versions(runs: Sequence[Run]) -> list[Run]:
    """Run files have no version of a task: they go with the newest on the same data."""
    versions = _newest_versions(runs)
    return [
        run if run.template else replace(run, version=versions[run.dataset, run.data_sha256])
        for run in runs
    ]


def _newest_versions(runs: Iterable[Run]) -> dict[tuple[str, str], str]:
    """The newest version of the tasks that is present, by set and data."""
    newest: dict[tuple[str, str], str] = {}
    for run in runs:
        key = (run.dataset, run.data_sha256)
        newest[key] = max(newest.get(key, run.version), run.version, key=version_key)
    return newest


def _first_wordings(
    runs: Iterable[Run], versions: Mapping[tuple[str, str], str]
) -> dict[tuple[str, str, str, str], int]:
    """The first wording with which a system was run in full, by system, template, set and data."""
    first: dict[tuple[str, str, str, str], int] = {}
    for run in runs:
        if _comparable(run) and run.version == versions[run.dataset, run.data_sha256]:
            key = (run.system, run.template, run.dataset, run.data_sha256)
            first[key] = min(first.get(key, run.paraphrase), run.paraphrase)
    return first


def _comparable(run: Run) -> bool:
    return run.official and not run.sample and not run.limited and run.dataset in SETS


def _status(
    run: Run,
    versions: Mapping[tuple[str, str], str],
    wordings: Mapping[tuple[str, str, str, str], int],
) -> str:
    if run.sample:
        return SAMPLE
    if run.limited:
        return LIMITED
    if not _comparable(run):
        return OWN_DATA
    if run.version != versions[run.dataset, run.data_sha256]:
        return OTHER_VERSION
    first = wordings[run.system, run.template, run.dataset, run.data_sha256]
    return RANKED if run.paraphrase == first else WORDING


# ------------------------------------------------------------------------------- rows


def _board(status: str, groups: Sequence[Sequence[Run]], names: Mapping[str, str]) -> Board:
    rows = sorted(
        (_row(runs, names[runs[0].system]) for runs in groups),
        key=lambda row: (-row.macro_f1, row.name, row.run.task, row.run.system),
    )
    run = rows[0].run
    return Board(
        status=status,
        dataset=run.dataset,
        data_sha256=run.data_sha256,
        version=run.version,
        arguments=run.arguments,
        rows=tuple(_ranked(rows) if status == RANKED else rows),
        published=_published_on(run.dataset) if status == RANKED else (),
    )


def _ranked(rows: Sequence[Row]) -> list[Row]:
    """`rows`, sorted, with their places; rows with the same score share one."""
    scores = [row.macro_f1 for row in rows]
    return [replace(row, rank=scores.index(row.macro_f1) + 1) for row in rows]


def _row(runs: Sequence[Run], name: str) -> Row:
    scores = {
        metric: _over_seeds([value for run in runs if (value := run.metrics[metric]) is not None])
        for metric in METRICS
        if all(run.metrics[metric] is not None for run in runs)
    }
    return Row(
        rank=None,
        name=name,
        runs=tuple(runs),
        scores=scores,
        macro_interval=_given_interval(runs, "macro_f1"),
        official_interval=_given_interval(runs, "official_f1"),
    )


def _over_seeds(values: Sequence[float]) -> Score:
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Score(statistics.fmean(values), sd, len(values))


def _given_interval(runs: Sequence[Run], metric: str) -> tuple[float, float] | None:
    """The interval in the results of a single run; over seeds it has to be computed."""
    low, high = runs[0].metrics[f"{metric}_ci_low"], runs[0].metrics[f"{metric}_ci_high"]
    return (low, high) if len(runs) == 1 and low is not None and high is not None else None


def _published_on(dataset: str) -> tuple[Published, ...]:
    return tuple(system for system in published() if system.dataset == dataset)


def _published_only(boards: Sequence[Board]) -> list[Board]:
    """The main set is always there, if only with what others have published."""
    if any(board.status == RANKED and board.dataset == "main" for board in boards):
        return []
    return [Board(RANKED, "main", "", "", None, (), _published_on("main"))]


def _told_apart(boards: Sequence[Board]) -> list[Board]:
    """Boards of one title are of other data or another version: their titles say of which."""
    titles = [board.title for board in boards]
    return [
        replace(board, mark=f"data {board.data_sha256[:8]}, version {board.version}")
        if titles.count(board.title) > 1
        else board
        for board in boards
    ]


def _names(groups: Mapping[tuple[object, ...], Sequence[Sequence[Run]]]) -> dict[str, str]:
    """A name for each system; systems that would share one get a mark that tells them apart."""
    by_system: dict[str, set[str]] = defaultdict(set)
    for configurations in groups.values():
        for runs in configurations:
            by_system[runs[0].system].update(run.model for run in runs)
    shared: dict[str, list[str]] = defaultdict(list)
    for system, models in by_system.items():
        shared[_common_name(models)].append(system)
    return {
        system: name if len(systems) == 1 else f"{name} [{_digest(system)}]"
        for name, systems in shared.items()
        for system in systems
    }


def _common_name(models: set[str]) -> str:
    """What the names of the seeds have in common: ``minilm-s1``, ``minilm-s2`` → ``minilm``."""
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
