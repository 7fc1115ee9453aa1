"""Template bca: for each value a yes/no question, answered by log-likelihood.

A model may write an answer in several ways: most chat models say "Yes", most base models "yes". So
each answer's probability is the sum over its :data:`SPELLINGS` (Holtzman et al., 2021, «Surface
form competition», sum over forms of one answer).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from valueeval.tasks.templates.wording import Ask
from valueeval.tasks.values import VALUES

SPELLINGS = {"no": ("no", "No"), "yes": ("yes", "Yes")}
"""The words that count as each answer."""

ASKS = tuple(
    Ask(v, v, answer, word)
    for v in range(len(VALUES))
    for answer, words in SPELLINGS.items()
    for word in words
)
"""One prompt a value; the spellings of its two answers side by side."""

_PER_VALUE = sum(map(len, SPELLINGS.values()))
_PER_ANSWER = len(SPELLINGS["no"])
_ONE_SPELLING = 2 * len(VALUES)


def scores(loglikelihoods: Sequence[Any]) -> tuple[Any, ...]:
    """Return ll(yes) - ll(no) of each value, in nats.

    Args:
        loglikelihoods: The 80 of :data:`ASKS`: numbers, or tensors of one shape; or the 40 of
            version 1.0 of the task, which asked for "no" and "yes" alone.
    """
    if len(loglikelihoods) == _ONE_SPELLING:
        no, yes = loglikelihoods[::2], loglikelihoods[1::2]
        return tuple(y - n for y, n in zip(yes, no, strict=True))
    by_value = _by_value(loglikelihoods)
    return tuple(_log_odds(of_one[_PER_ANSWER:], of_one[:_PER_ANSWER]) for of_one in by_value)


def answer_mass(loglikelihoods: Sequence[float]) -> float | None:
    """Return the mean probability, over values, of saying one of the words that are scored.

    ``None`` where the answers are no probabilities of text, as those of classifiers.
    """
    if len(loglikelihoods) == _ONE_SPELLING:
        return None
    masses = [sum(map(math.exp, of_one)) for of_one in _by_value(loglikelihoods)]
    if max(masses) > 1 + 1e-3:
        return None
    return sum(masses) / len(masses)


def gold(labels: Sequence[int], value: int) -> str:
    """Return the right answer to the question about one value."""
    return "yes" if labels[value] else "no"


def _by_value(loglikelihoods: Sequence[Any]) -> list[Sequence[Any]]:
    return [
        loglikelihoods[start : start + _PER_VALUE]
        for start in range(0, len(loglikelihoods), _PER_VALUE)
    ]


def _log_odds(yes: Sequence[Any], no: Sequence[Any]) -> Any:
    """Return log(sum of exp(yes)) - log(sum of exp(no)).

    Numbers whose spellings are all alike differ exactly as one spelling would.
    """
    if hasattr(yes[0], "logaddexp"):  # tensors, with their gradients
        return yes[0].logaddexp(yes[1]) - no[0].logaddexp(no[1])
    if any(math.isnan(each) for each in (*yes, *no)):
        return math.nan
    best_yes, best_no = max(yes), max(no)
    return (best_yes - best_no) + (_log_sum(yes, best_yes) - _log_sum(no, best_no))


def _log_sum(numbers: Sequence[float], best: float) -> float:
    """Return log(sum of exp(number - best)); 0 where all are minus infinity."""
    if best == -math.inf:
        return 0.0
    return math.log(sum(math.exp(number - best) for number in numbers))
