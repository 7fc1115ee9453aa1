"""``top_logprobs=K``: yes against no from the likeliest first tokens of a chat server's answer.

Chat servers give no log-likelihoods of given texts, but many tell the K likeliest tokens at each
place of what they generate. The first token's are enough for templates that ask for yes or no (bca,
cot2), not for those whose answers are longer (cls: names of values).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from valueeval.tasks.templates.bca import SPELLINGS

TEMPLATES = ("bca", "cot2")
"""Templates whose answers are told apart by their first token."""

_BLANKS = " \t\n\u0120\u2581"  # also as byte-level and SentencePiece vocabularies write them


@dataclass(frozen=True)
class FirstToken:
    """What the likeliest first tokens say of yes and no.

    Attributes:
        logprobs: Log-probability of each spelling, which sums over the tokens that write it (with
            and without a blank); minus infinity for one that is not listed.
        greedy: The spelling that the likeliest token writes; None if that is another word.
        outside: The answers, yes and no, of which no spelling is listed.
    """

    logprobs: dict[str, float]
    greedy: str | None
    outside: tuple[str, ...]


def read_first_token(listed: Sequence[tuple[str, float]]) -> FirstToken:
    """Return what the likeliest first tokens say of yes and no.

    An answer that is not listed gets, by its first spelling, the most that it can have: no more
    than the last token listed, nor than all tokens that are not. So the sign of yes - no is right,
    and its size a lower bound. Where neither is listed, nothing is known: both are NaN.

    Args:
        listed: Tokens with their log-probabilities, in nats.
    """
    logprobs = {
        word: _log_sum([logprob for token, logprob in listed if token.strip(_BLANKS) == word])
        for spellings in SPELLINGS.values()
        for word in spellings
    }
    outside = tuple(
        answer
        for answer, spellings in SPELLINGS.items()
        if all(logprobs[word] == -math.inf for word in spellings)
    )
    if len(outside) == len(SPELLINGS):
        return FirstToken(dict.fromkeys(logprobs, math.nan), None, outside)
    for answer in outside:
        logprobs[SPELLINGS[answer][0]] = _most(listed)
    likeliest = max(listed, key=lambda pair: pair[1])[0].strip(_BLANKS)
    return FirstToken(logprobs, likeliest if likeliest in logprobs else None, outside)


def _most(listed: Sequence[tuple[str, float]]) -> float:
    """Return the log-probability that a token which is not listed has at most."""
    last = min(logprob for _, logprob in listed)
    left = 1 - math.fsum(math.exp(logprob) for _, logprob in listed)
    return min(last, math.log(left)) if left > 0 else last


def _log_sum(logprobs: Sequence[float]) -> float:
    if not logprobs:
        return -math.inf
    best = max(logprobs)
    if best == -math.inf:
        return best
    return best + math.log(math.fsum(math.exp(logprob - best) for logprob in logprobs))
