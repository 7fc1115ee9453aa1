"""Template bca: for each value a yes/no question, answered by log-likelihood."""

from __future__ import annotations

from collections.abc import Sequence

from valueeval.tasks.templates.wording import Ask
from valueeval.tasks.values import VALUES

ASKS = tuple(Ask(v, v, answer, answer) for v in range(len(VALUES)) for answer in ("no", "yes"))
"""One prompt a value; its two answers side by side."""


def scores(loglikelihoods: Sequence[float]) -> tuple[float, ...]:
    """Return ll(yes) - ll(no) of each value, in nats, from the 40 of :data:`ASKS`."""
    no, yes = loglikelihoods[::2], loglikelihoods[1::2]
    return tuple(y - n for y, n in zip(yes, no, strict=True))


def gold(labels: Sequence[int], value: int) -> str:
    """Return the right answer to the question about one value."""
    return "yes" if labels[value] else "no"
