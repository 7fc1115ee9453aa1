"""Decide from a model's answers about one argument which values it predicts.

Used by the tasks while lm-eval runs and by re-scoring of sample files; imports no lm_eval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores import scoring
from valueeval.tasks.templates import bca, cls, cot, mbc, oa
from valueeval.tasks.templates.wording import Ask
from valueeval.tasks.values import VALUES

TEMPLATES = ("cls", "mbc", "bca", "oa", "cot")
"""Templates that ask once about an argument, or once about each value."""

SECOND_TURNS = ("cot2", "cot2list")
"""Second turns of cot, which ask about the model's own reply as bca and mbc ask."""

ALL_TEMPLATES = (*TEMPLATES, *SECOND_TURNS)

VOTING = ("cot", *SECOND_TURNS)
"""Templates that can decide by a vote over several sampled chains of thought."""

_SCORES: dict[str, Callable[[Sequence[Any]], tuple[Any, ...]]] = {
    "cls": cls.scores,
    "bca": bca.scores,
    "cot2": bca.scores,
}
_ANSWER_MASSES = {"cls": cls.answer_mass, "bca": bca.answer_mass, "cot2": bca.answer_mass}
_PARSERS = {"mbc": mbc.parse, "cot": cot.parse, "cot2list": mbc.parse}
_NOTHING = (False,) * len(VALUES)

ASKS: dict[str, tuple[Ask, ...]] = {
    "cls": cls.ASKS,
    "bca": bca.ASKS,
    "oa": tuple(Ask(v, v, "answer") for v in range(len(VALUES))),
    "mbc": (Ask(0, None, "answer"),),
    "cot": (Ask(0, None, "answer"),),
    "cot2": bca.ASKS,
    "cot2list": (Ask(0, None, "answer"),),
}
"""The requests of each template about one argument, in the order in which they are sent."""

_NUMBERS_OF_RESPONSES = {
    **{template: (len(asks),) for template, asks in ASKS.items()},
    "bca": (len(bca.ASKS), 2 * len(VALUES)),
}


def gold(template: str, labels: Sequence[int], value: int | None) -> str:
    """Return the right answer in the template's own format, as few-shot examples show it.

    Args:
        template: One of :data:`TEMPLATES`.
        labels: 20, each 0 or 1.
        value: Index of the value asked about (cls: shown); ``None`` for mbc and cot.
    """
    if value is None:
        return {"mbc": mbc.gold, "cot": cot.gold}[template](labels)
    return {"cls": cls.gold, "bca": bca.gold, "oa": oa.gold}[template](labels, value)


class Decision(NamedTuple):
    """The decision about one argument.

    Attributes:
        prediction: 20, whether each value was predicted.
        scores: 20 numbers, predicted where > 0: differences of log-likelihoods in nats; of a vote,
            the share of votes for the value less a half. ``None`` for parsed text, and where a
            model returned something that is no finite number.
        unparsed: Share of the argument's answers that could not be read.
        answer_mass: Probability that the model says one of the answers that are scored, the mean
            over votes; ``None`` for parsed text, classifiers, and where a model returned something
            that is no number.
    """

    prediction: tuple[bool, ...]
    scores: tuple[float, ...] | None
    unparsed: float
    answer_mass: float | None = None


def decide(template: str, responses: Sequence[Any]) -> Decision:
    """Return the decision of one template about one argument.

    Args:
        template: One of :data:`ALL_TEMPLATES`.
        responses: One for each of ``ASKS[template]``, in that order: (log-likelihood, is_greedy)
            or the generated text. Strings stand for numbers in samples files; both are read. Those
            of bca may be the 40 that version 1.0 of the task asked for. For a vote
            (self-consistency; Wang et al., 2022): of cot, the list of its texts in place of one; of
            second turns, the responses about each reply, one reply after the other.

    Raises:
        ValueEvalError: the number of responses is not the template's.
    """
    ballots = _ballots(template, responses)
    if len(ballots) != 1:
        return _vote([decide(template, ballot) for ballot in ballots])
    (responses,) = ballots
    if len(responses) not in _NUMBERS_OF_RESPONSES[template]:
        raise ValueEvalError(
            f"template {template}: {len(ASKS[template])} responses expected, got {len(responses)}"
        )
    if template in _SCORES:
        return _by_loglikelihood(template, [float(response[0]) for response in responses])
    if template == "oa":
        return _by_value([str(response) for response in responses])
    return _whole(template, str(responses[0]))


def entries_from_sample(sample: Mapping[str, Any], template: str) -> dict[str, Any]:
    """Return the metric entries of one line of a samples file, decided anew from its responses.

    Args:
        sample: The line, with ``doc`` and ``filtered_resps``.
        template: One of :data:`ALL_TEMPLATES`.

    Returns:
        What :func:`valueeval.tasks.scores.scoring.metric_entries` returns.

    Raises:
        ValueEvalError: a field is missing or is not what a ValueEval task writes.
    """
    if template not in ASKS:
        raise ValueEvalError(f"no template {template!r}; there are {', '.join(ALL_TEMPLATES)}")
    try:
        doc, responses = sample["doc"], sample["filtered_resps"]
        return entries(doc, decide(template, responses))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueEvalError(
            f"not a sample of a ValueEval {template} task: {type(error).__name__}: {error}"
        ) from error


def entries(doc: Mapping[str, Any], decision: Decision) -> dict[str, Any]:
    """Return the metric entries of one decided argument."""
    return scoring.metric_entries(
        id=doc["id"],
        conclusion=doc["conclusion"],
        labels=doc["labels"],
        prediction=decision.prediction,
        scores=decision.scores,
        unparsed=decision.unparsed,
        answer_mass=decision.answer_mass,
    )


def differences(template: str, loglikelihoods: Sequence[Any]) -> tuple[Any, ...]:
    """Return the 20 scores of cls or bca, whose signs decide.

    Args:
        template: ``"cls"``, ``"bca"`` or ``"cot2"``.
        loglikelihoods: One for each of ``ASKS[template]``: numbers, or tensors of one shape.
    """
    return _SCORES[template](loglikelihoods)


def _ballots(template: str, responses: Sequence[Any]) -> list[Sequence[Any]]:
    """Return the responses of each sampled chain of thought; there is one without a vote."""
    if template == "cot" and len(responses) == 1 and isinstance(responses[0], (list, tuple)):
        if not responses[0]:
            raise ValueEvalError("template cot: 1 response expected, got none")
        return [[text] for text in responses[0]]
    size = len(ASKS[template])
    if template in SECOND_TURNS and responses and len(responses) % size == 0:
        return [responses[start : start + size] for start in range(0, len(responses), size)]
    return [responses]


def _vote(decisions: Sequence[Decision]) -> Decision:
    """Return the values that more than half predict; an unreadable answer votes for none."""
    shares = [
        sum(votes) / len(votes)
        for votes in zip(*(decision.prediction for decision in decisions), strict=True)
    ]
    masses = [decision.answer_mass for decision in decisions if decision.answer_mass is not None]
    return Decision(
        tuple(share > 0.5 for share in shares),
        tuple(share - 0.5 for share in shares),
        sum(decision.unparsed for decision in decisions) / len(decisions),
        sum(masses) / len(masses) if len(masses) == len(decisions) else None,
    )


def _by_loglikelihood(template: str, loglikelihoods: list[float]) -> Decision:
    scores = differences(template, loglikelihoods)
    finite = all(math.isfinite(score) for score in scores)
    # A difference that is not a number is no answer: neither yes nor no.
    unparsed = sum(math.isnan(score) for score in scores) / len(scores)
    mass = _ANSWER_MASSES[template](loglikelihoods) if finite else None
    return Decision(
        tuple(score > 0 for score in scores), scores if finite else None, unparsed, mass
    )


def _by_value(answers: list[str]) -> Decision:
    read = [oa.parse(answer, value) for value, answer in enumerate(answers)]
    unparsed = sum(answer is None for answer in read) / len(read)
    return Decision(tuple(answer is True for answer in read), None, unparsed)


def _whole(template: str, answer: str) -> Decision:
    prediction = _PARSERS[template](answer)
    if prediction is None:
        return Decision(_NOTHING, None, 1.0)
    return Decision(tuple(prediction), None, 0.0)
