"""The 20 value categories: their official names, slugs, and descriptions of our own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import yaml


@dataclass(frozen=True)
class Value:
    """One value category.

    Attributes:
        name: The name in the official files, e.g. ``"Self-direction: thought"``.
        slug: The name in keys, e.g. ``"self_direction_thought"``.
        short: A description in a few words that complete "the value of …".
        long: A description in a sentence or two.
        level1: The finer values of level 1 that the category groups, e.g. ``("Be creative", …)``.
        keywords: Words that describe a person who holds it (what template ``oa`` looks for).
        related: Other forms of the keywords, which count like them ("fairness").
        opposites: Words that deny a keyword ("unfair").
    """

    name: str
    slug: str
    short: str
    long: str
    level1: tuple[str, ...]
    keywords: tuple[str, ...]
    related: tuple[str, ...]
    opposites: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """All words that say something about the value, for it or against it."""
        return self.keywords + self.related + self.opposites


def slug_of(name: str) -> str:
    """Return the key form of a value's name: ``"Power: dominance"`` → ``"power_dominance"``."""
    return name.lower().replace(": ", "_").replace("-", "_")


@cache
def load_values() -> tuple[Value, ...]:
    """Return the 20 values in the order of the official label files (``values.yaml``)."""
    text = resources.files(__package__).joinpath("values.yaml").read_text(encoding="utf-8")
    return tuple(
        Value(
            name=entry["name"],
            slug=slug_of(entry["name"]),
            short=entry["short"],
            long=entry["long"],
            level1=tuple(entry["level1"]),
            keywords=tuple(entry["keywords"]),
            related=tuple(entry["related"]),
            opposites=tuple(entry["opposites"]),
        )
        for entry in yaml.safe_load(text)
    )


VALUES = load_values()
VALUE_NAMES = tuple(value.name for value in VALUES)
VALUE_SLUGS = tuple(value.slug for value in VALUES)
PREDICTED = "predicted_"
"""The prefix of columns with a model's labels in a table that has labels of its own."""
