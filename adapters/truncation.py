"""Prompts that are longer than a model reads: the argument is cut, never the question about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from lm_eval.api.instance import Instance

from valueeval.adapters.cuts import ARGUMENT, PROMPT
from valueeval.adapters.documents import Document
from valueeval.tasks.requests import ValueRequest


def cut_documents(
    documents: Sequence[Document],
    limit: Callable[[Instance], int],
    length: Callable[[tuple[Any, ...]], int],
) -> dict[int, str]:
    """Cuts arguments of ValueEval requests that are too long.

    Args:
        documents: Requests about arguments; those that are shortened are replaced.
        limit: Tokens of a request's arguments that the model reads at most.
        length: Tokens that it would read for these arguments of a request.

    Returns:
        What requests lost (see :mod:`valueeval.adapters.cuts`), by their place in the run.
    """
    lost: dict[int, str] = {}
    for document in documents:
        long = [i for i, request in document if length(request.args) > limit(request)]
        if long:
            shortened = _shorten(document, limit, length)
            # Else it will be cut on the left, as hf does.
            lost.update(
                dict.fromkeys(long, PROMPT)
                if shortened is None
                else dict.fromkeys(shortened, ARGUMENT)
            )
    return lost


def _shorten(
    document: Document,
    limit: Callable[[Instance], int],
    length: Callable[[tuple[Any, ...]], int],
) -> list[int] | None:
    """Cuts the argument that a document is about; places of the requests that have changed.

    None if that does not help, or another task asks.
    """
    requests = [request for _, request in document]
    first = requests[0]
    if not isinstance(first, ValueRequest):
        return None

    def fits(contexts: list[str]) -> bool:
        return all(
            length((context, request.args[1])) <= limit(request)
            for context, request in zip(contexts, requests, strict=True)
        )

    prompts = [request.args[0] for request in requests]
    # Prompts have it without blanks at its ends.
    premise = first.doc["premise"].strip()
    contexts = cut_argument(prompts, premise, fits, first.around_premise)
    if contexts is None:
        return None
    changed = []
    for place, context in enumerate(contexts):
        index, request = document[place]
        if context != request.args[0]:
            document[place] = (index, replace(request, arguments=(context, request.args[1])))
            changed.append(index)
    return changed


def cut_argument(
    prompts: Sequence[str],
    premise: str,
    fits: Callable[[list[str]], bool],
    around: tuple[str, str] = ("", ""),
) -> list[str] | None:
    """The prompts about one argument with its premise cut at its end, no more than needed.

    All prompts lose the same words, so that they still begin alike. A prompt without the argument
    (an empty one, for a prior) stays as it is.

    Args:
        prompts: Contexts, each with the argument in it once or, after few-shot examples, last.
        premise: The text that may be cut, at white space.
        fits: Whether prompts are short enough.
        around: What the argument's text says before and after its premise: the same words may stand
            in the question, too.

    Returns:
        The shortened prompts; None if they do not fit even without the premise.
    """
    starts = [_start(prompt, premise, *around) for prompt in prompts]

    def shortened(end: int) -> list[str]:
        return [
            prompt if at is None else prompt[: at + end] + prompt[at + len(premise) :]
            for prompt, at in zip(prompts, starts, strict=True)
        ]

    ends = [0, *(match.end() for match in re.finditer(r"\S+", premise))]
    if not fits(shortened(0)):
        return None
    kept, too_many = 0, len(ends)
    while too_many - kept > 1:
        middle = (kept + too_many) // 2
        if fits(shortened(ends[middle])):
            kept = middle
        else:
            too_many = middle
    return shortened(ends[kept])


def _start(prompt: str, premise: str, before: str, after: str) -> int | None:
    """Where the premise of the last argument in a prompt begins; None if there is none."""
    # Chat templates trim a turn, which the argument begins.
    before = before.lstrip()
    at = prompt.rfind(before + premise + after) if premise else -1
    return None if at < 0 else at + len(before)
