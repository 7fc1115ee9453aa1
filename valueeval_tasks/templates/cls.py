"""Template cls: the argument as one text, classified into 20 values at once.

A classifier head answers with its logits. A model without one scores the 20 value names as
continuations of the argument; from each is subtracted its log-likelihood after an empty argument,
since names differ in length and frequency (the calibration of Zhao et al., 2021, with a
difference in place of their affine map). That use of the names is the project's own choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from valueeval.tasks.templates.wording import Ask
from valueeval.tasks.values import VALUE_NAMES

ASKS = (
    *(Ask(0, v, "name", name) for v, name in enumerate(VALUE_NAMES)),
    *(Ask(1, v, "empty", name) for v, name in enumerate(VALUE_NAMES)),
)
"""Prompt 0 is the argument's, prompt 1 the empty argument's."""


def scores(loglikelihoods: Sequence[float]) -> tuple[float, ...]:
    """Return ll(name) - ll(name | empty argument) of each value, in nats, from the 40 of ASKS."""
    names, empty = loglikelihoods[:20], loglikelihoods[20:]
    return tuple(given - prior for given, prior in zip(names, empty, strict=True))


def answer_mass(loglikelihoods: Sequence[float]) -> float | None:
    """Return the probability of answering with one of the 20 names after the argument.

    ``None`` where the answers are no probabilities of text, as those of classifiers.
    """
    names, empty = loglikelihoods[:20], loglikelihoods[20:]
    mass, prior_mass = (sum(map(math.exp, answers)) for answers in (names, empty))
    return None if mass + prior_mass > 2 + 1e-3 else mass


def gold(labels: Sequence[int], value: int) -> str:
    """Return the answer that a few-shot example shows: the name of a value behind the argument."""
    if not labels[value]:
        raise ValueError(f"the argument does not rest on value {value}")
    return VALUE_NAMES[value]
