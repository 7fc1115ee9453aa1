"""A run: one task of one results file, or a run file, with what that says about the system."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from valueeval.leaderboard.reading.system import System
from valueeval.tasks.data.dataset import CV
from valueeval.tasks.display import error_message
from valueeval.tasks.values import VALUE_SLUGS

SETS = ("main", "validation", "zhihu", "nahjalbalagha", "nyt", CV)
RUN_FILE = ".tsv"  # ending of run files of the shared task

SCORES = ("macro_f1", "official_f1", "macro_ap", "micro_f1", "macro_precision",
          "macro_recall", "subset_accuracy", "predicted_rate", "unparsed",
          "answer_mass")  # fmt: skip
_INTERVALS = tuple(f"{score}_{end}" for score in ("macro_f1", "official_f1")
                   for end in ("stderr", "ci_low", "ci_high"))  # fmt: skip
METRICS = (*SCORES, *_INTERVALS, *(f"f1_{slug}" for slug in VALUE_SLUGS))


@dataclass(frozen=True)
class Problem:
    """A file, or a part of one, that could not be used; both are printable text."""

    source: str
    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", error_message(self.reason))


@dataclass(frozen=True)
class Run(System):
    """One task of one results file, with what that says about the system.

    Attributes:
        source: The file, as a path below the folder that was given.
        path: Where it is.
        task: Name of the task, e.g. ``valueeval_bca_p2_zhihu``.
        template: One of `TEMPLATES`, or ``""`` for a run file of the shared task.
        paraphrase: Which wording of the template, from 1.
        dataset: One of `SETS`, ``sample…``, or the name of a user's own set.
        version: Version of the task.
        data_sha256: Hash of the data that it ran on.
        official: Whether those are the published files.
        sample: Whether they are the sample set of the package.
        limited: Whether it ran on a part of them.
        arguments: How many arguments were scored; ``None`` if neither file nor samples say it.
        counted_in_samples: Whether that number is the samples', since the results do not say it.
        shots: Few-shot examples in the prompt.
        metrics: Score by name, `METRICS`; missing, not applicable and NaN are ``None``.
        date: When it was made, UTC, ``YYYY-MM-DDTHH:MM:SS``.
        versions: Version by library.
        warnings: Reasons to doubt the result.
        seen: Whether it has seen labels of the arguments that it is tested on.
        samples: The file of samples beside it, or the run file that an archive has instead of them
            (``.tsv``; :mod:`valueeval.leaderboard.commands.archive`), if there is one.
    """

    source: str
    path: Path
    task: str
    template: str
    paraphrase: int
    dataset: str
    version: str
    data_sha256: str
    official: bool
    sample: bool
    limited: bool
    arguments: int | None
    shots: int
    metrics: Mapping[str, float | None]
    date: str
    versions: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    seen: bool = False
    samples: Path | None = None
    counted_in_samples: bool = False


def merged(problems: Iterable[Problem], shown: int = 3) -> list[Problem]:
    """Return one problem for all files that have the same, with the first few named."""
    sources: dict[str, list[str]] = {}
    for problem in problems:
        sources.setdefault(problem.reason, []).append(problem.source)
    return [
        Problem(", ".join(of[:shown]) + (f" and {rest} more" if rest > 0 else ""), reason)
        for reason, of in sources.items()
        for rest in [len(of) - shown]
    ]
