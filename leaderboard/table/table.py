"""The table that every output is written from: boards, their rows, and what they are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from valueeval.leaderboard import text
from valueeval.leaderboard.published.systems import Published
from valueeval.leaderboard.reading.runs import Problem, Run
from valueeval.leaderboard.text import prompt
from valueeval.tasks.scores.differences import Difference
from valueeval.tasks.scores.influence import Influence
from valueeval.tasks.values import VALUE_SLUGS

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
    "cv": "Cross-validation over all labelled arguments",
}
REASONS = {
    RANKED: "",
    WORDING: "Further wordings of the same templates. Unranked, so that nobody gains by choosing "
    "a wording on the test set.",
    OTHER_VERSION: "An older version of the tasks: not comparable, unranked.",
    OWN_DATA: "Not the published files: not comparable, unranked.",
    SEEN: "Labels of these very arguments were seen in training, so they do not show how it judges "
    "new ones: unranked.",
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
class Standing:
    """A ranked row among the others that have samples, from all of their differences together.

    Attributes:
        can_be_best: Whether it can be the best of them (95 % for all rows together); ``None`` where
            nothing can be said.
        ranks: The ranks that it can have among them (likewise).
        is_reference: Whether it is the row that the others are compared with.
        difference: Its macro_f1 less that of the reference row, with an interval and a p that are
            corrected for the number of rows; ``None`` without a reference.
    """

    can_be_best: bool | None
    ranks: tuple[int, int] | None
    is_reference: bool = False
    difference: Difference | None = None


@dataclass(frozen=True)
class Row:
    """One configuration on one task: one run, or one a seed.

    Attributes:
        rank: Place by macro_f1 among the ranked rows of its board, from 1; equal scores share it.
        name: Name to show.
        runs: The runs, by seed; what they share can be read from any of them.
        scores: Score by metric; a metric that a run lacks is not there.
        macro_interval, official_interval, ap_interval: 95 % interval over conclusions and seeds, or
            ``None``.
        interval_by_samples: Whether it was computed here; else it is the one in the results.
        stderr: Standard error of macro_f1 over conclusions and seeds, from samples.
        argument_interval: 95 % interval of macro_f1 as if arguments were independent.
        influence: What single conclusions do to macro_f1, from samples.
        precision, recall: Per value, from samples; empty without.
        standing: Among the other rows; only in rankings, and only with samples.
        folder: Name by the folders of its runs, which it can be called by as well.
        link: Where to read more.
        variant_of: Name of the row that it is a variant of: a fold, or one setting changed.
    """

    rank: int | None
    name: str
    runs: tuple[Run, ...]
    scores: Mapping[str, Score]
    macro_interval: tuple[float, float] | None
    official_interval: tuple[float, float] | None
    ap_interval: tuple[float, float] | None = None
    interval_by_samples: bool = False
    stderr: float | None = None
    argument_interval: tuple[float, float] | None = None
    influence: Influence | None = None
    precision: tuple[float | None, ...] = ()
    recall: tuple[float | None, ...] = ()
    standing: Standing | None = None
    folder: str = ""
    link: str | None = None
    variant_of: str | None = None

    @property
    def run(self) -> Run:
        """The first of its runs, for what all of them share."""
        return self.runs[0]

    @property
    def macro_f1(self) -> float:
        """Mean of macro_f1 over the seeds; what rows are ranked by."""
        return self.scores["macro_f1"].mean

    def mean(self, metric: str) -> float | None:
        """Return the mean of a metric over the seeds, or ``None``."""
        score = self.scores.get(metric)
        return None if score is None else score.mean

    def is_called(self, name: str | None) -> bool:
        """Return whether `name` is its name, alone or with its template (``gpt2 bca``)."""
        own = [each for each in (self.name, self.folder) if each]
        return name is not None and name in (*own, *(f"{each} {self.prompt}" for each in own))

    @property
    def gamed(self) -> bool:
        """Return True if official_f1 exceeds macro_f1 by more than `GAMING_MARGIN`."""
        official = self.mean("official_f1")
        return official is not None and official - self.macro_f1 > GAMING_MARGIN

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons to doubt the result, of any of its runs."""
        return tuple(sorted({warning for run in self.runs for warning in run.warnings}))

    @property
    def values(self) -> int | None:
        """Number of values that macro_f1 is the mean of; ``None`` if the results do not say it."""
        return sum(f"f1_{slug}" in self.scores for slug in VALUE_SLUGS) or None

    @property
    def trained_on(self) -> str:
        """Return the training data where that is another set than training; else ""."""
        data = self.run.training_data or ""
        return "" if data == "training" or data in self.name else data

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
        dataset, data_sha256, arguments: What they have in common.
        version: The versions of their tasks, of which each has its own.
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
        """The heading above the table, which no other board of the table has."""
        return f"{self._title} ({self.mark})" if self.mark else self._title

    @property
    def values(self) -> int | None:
        """Number of values that scores are means over; ``None`` where it is unknown or differs."""
        told = {row.values for row in self.rows if row.values is not None}
        return told.pop() if len(told) == 1 else None

    @property
    def compared(self) -> tuple[Row, ...]:
        """The rows that have samples, and so a standing among the others."""
        return tuple(row for row in self.rows if row.standing is not None)

    @property
    def reference(self) -> Row | None:
        """The row that the others are compared with, if there is one."""
        found = [row for row in self.compared if row.standing and row.standing.is_reference]
        return found[0] if found else None

    @property
    def summary(self) -> str:
        """Return what the table shows in a sentence or two; empty where nothing is ranked."""
        if self.status != RANKED or not self.rows:
            return ""
        first = self.rows[0]
        size = "" if self.arguments is None else f" on {self.arguments} arguments"
        if self.clusters is not None:
            size += f" with {self.clusters} conclusions"
        interval = text.interval(first.macro_interval)
        told = (
            f"{self.title}: {_systems(len(self.rows))} measured{size}, ranked by macro F1. "
            f"{'The best is' if len(self.rows) > 1 else 'It is'} {first.name}, with "
            f"{text.score(first.macro_f1)}{f' (95 % {interval})' if interval else ''}"
        )
        others = [each for each in self.listed if not each.oracle and each.kind != "computed"]
        if others:
            best = max(others, key=lambda each: each.macro_f1 or 0.0)
            told += f"; the best published one is {best.system}, with {text.score(best.macro_f1)}"
        return f"{told}."

    @property
    def finding(self) -> str:
        """Return a sentence or two about the rows; empty where nothing is ranked."""
        rows = self.compared
        if self.status != RANKED or not self.rows:
            return ""
        left = len(self.rows) - len(rows)
        without = f" {_systems(left)} without usable samples {_are(left)} not compared."
        rest = without if left else ""
        if len(rows) < 2:
            return f"{_systems(len(self.rows))} measured: there is nothing to compare.{rest}"
        best = sum(bool(row.standing and row.standing.can_be_best) for row in rows)
        if rows[0].standing is None or rows[0].standing.can_be_best is None:
            return (
                f"These {len(rows)} systems cannot be compared: the {self.clusters} conclusions of "
                f"this set are too few to say how scores vary.{rest}"
            )
        if best == len(rows):
            return f"Any of the {best} systems can be the best (95 %).{rest}"
        verb = "can be" if best > 1 else "is"
        return (
            f"{best} of {len(rows)} systems {verb} the best (95 %, for all of them together); the "
            f"others are worse than at least one system.{rest}"
        )

    @property
    def has_every_value(self) -> bool:
        """Return True if some row, measured or published, predicts every value."""
        measured = any(row.run.predicts_every_value for row in self.rows)
        return measured or any(system.system == "1-Baseline" for system in self.listed)

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


def _systems(number: int) -> str:
    return f"{number} system" + ("" if number == 1 else "s")


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
