"""The table that every output is written from: boards, their rows, and what they are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from valueeval.leaderboard.published.systems import Published
from valueeval.leaderboard.reading.runs import Problem, Run
from valueeval.leaderboard.text import prompt

# official_f1 above macro_f1 by more than this is what gaming official_f1 looks like.
GAMING_MARGIN = 0.05

RANKED, WORDING, OTHER_VERSION, OWN_DATA, SEEN, LIMITED, UNKNOWN_SIZE, SAMPLE = (
    "ranked", "other wording", "other version", "own data", "seen", "limited", "unknown size",
    "sample",
)  # fmt: skip
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
    SEEN: "Trained on these very arguments, so they do not show how it judges new ones: unranked.",
    LIMITED: "Only a part of the set was evaluated: not comparable, unranked.",
    UNKNOWN_SIZE: "Neither results nor samples say how many arguments were evaluated, so it may be "
    "a part of the set: unranked. Run lm_eval with --log_samples.",
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
    def trained_on(self) -> str:
        """What it was trained on, where that is another set than training; else empty."""
        data = self.run.training_data or ""
        return "" if data == "training" else data

    @property
    def prompt(self) -> str:
        """Template and wording, e.g. ``bca`` or ``bca p2``."""
        return prompt(self.run.template, self.run.paraphrase)


@dataclass(frozen=True)
class Board:
    """Rows that may be compared with one another.

    Attributes:
        status: One of ``ranked``, ``other wording``, ``other version``, ``own data``,
            ``seen``, ``limited``, ``unknown size``, ``sample``.
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
    def listed(self) -> tuple[Published, ...]:
        """Published systems with a macro_f1: they stand among the rows."""
        return tuple(system for system in self.published if system.macro_f1 is not None)

    @property
    def official_only(self) -> tuple[Published, ...]:
        """Published systems with an official_f1 but no macro_f1, best first."""
        found = [(system.official_f1, system) for system in self.published
                 if system.macro_f1 is None and system.official_f1 is not None]  # fmt: skip
        return tuple(system for _, system in sorted(found, key=lambda each: -each[0]))

    @property
    def other_only(self) -> tuple[Published, ...]:
        """Published systems with neither."""
        return tuple(system for system in self.published
                     if system.macro_f1 is None and system.official_f1 is None)  # fmt: skip

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
            SEEN: "seen in training",
            UNKNOWN_SIZE: "number of arguments unknown",
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
