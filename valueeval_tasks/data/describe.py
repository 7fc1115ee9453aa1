"""Descriptive statistics of a data set: stances, conclusions, text lengths, value frequencies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from valueeval.tasks.data.conclusions import normalise_conclusion
from valueeval.tasks.data.dataset import DataSet
from valueeval.tasks.values import VALUE_SLUGS


@dataclass(frozen=True)
class Lengths:
    """Lengths of texts in words, which are separated by white space.

    Attributes:
        median: The median length.
        p95: The smallest length that 95 % of the texts do not exceed.
        max: The greatest length.
    """

    median: float
    p95: int
    max: int


@dataclass(frozen=True)
class Description:
    """Descriptive statistics of a data set.

    Attributes:
        name: The name of the set.
        official: True if its files are those published.
        sha256: The data set's digest (`DataSet.sha256`).
        arguments: Number of arguments, n.
        in_favor: Number of arguments in favour of their conclusion.
        conclusions: Number of different conclusions.
        largest_cluster: Number of arguments that share the most frequent conclusion.
        unlabelled: Number of arguments without any value.
        values_per_argument: Mean number of values of an argument.
        premise: Lengths of the premises.
        conclusion: Lengths of the conclusions, counted once per argument.
        value_counts: (20,), number of arguments that have each value, in the order of `VALUES`.
    """

    name: str
    official: bool
    sha256: str
    arguments: int
    in_favor: int
    conclusions: int
    largest_cluster: int
    unlabelled: int
    values_per_argument: float
    premise: Lengths
    conclusion: Lengths
    value_counts: tuple[int, ...]

    @property
    def against(self) -> int:
        """Return the number of arguments against their conclusion."""
        return self.arguments - self.in_favor

    def share(self, count: int) -> float:
        """Return ``count`` as a share of the arguments, in [0, 1]."""
        return count / self.arguments

    def as_json(self) -> dict[str, Any]:
        """Return the statistics as plain JSON types, values by slug."""
        return {
            "official": self.official,
            "sha256": self.sha256,
            "arguments": self.arguments,
            "stance": {"in favor of": self.in_favor, "against": self.against},
            "conclusions": self.conclusions,
            "largest_cluster": self.largest_cluster,
            "unlabelled": self.unlabelled,
            "values_per_argument": self.values_per_argument,
            "words": {"premise": vars(self.premise), "conclusion": vars(self.conclusion)},
            "values": {
                slug: {"count": count, "share": self.share(count)}
                for slug, count in zip(VALUE_SLUGS, self.value_counts, strict=True)
            },
        }


def describe(data: DataSet) -> Description:
    """Compute the statistics of a data set, which has at least one argument."""
    clusters = Counter(map(normalise_conclusion, data.conclusions))
    values_of_argument = data.labels.sum(axis=1)
    return Description(
        name=data.name,
        official=data.official,
        sha256=data.sha256,
        arguments=len(data.arguments),
        in_favor=sum(argument.stance == "in favor of" for argument in data.arguments),
        conclusions=len(clusters),
        largest_cluster=max(clusters.values()),
        unlabelled=int((values_of_argument == 0).sum()),
        values_per_argument=float(values_of_argument.mean()),
        premise=_lengths(argument.premise for argument in data.arguments),
        conclusion=_lengths(data.conclusions),
        value_counts=tuple(int(count) for count in data.labels.sum(axis=0)),
    )


def _lengths(texts: Iterable[str]) -> Lengths:
    words = np.array([len(text.split()) for text in texts])
    # A length that occurs, not one interpolated between two.
    p95 = np.percentile(words, 95, method="inverted_cdf")
    return Lengths(float(np.median(words)), int(p95), int(words.max()))
