"""Prompts that are longer than a model reads: the argument is cut, never the question about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from lm_eval.api.instance import Instance

from valueeval.adapters.harness.cuts import ARGUMENT, PROMPT
from valueeval.adapters.harness.documents import Document
from valueeval.tasks.harness.requests import ValueRequest
from valueeval.tasks.templates.cut_argument import cut_argument


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
        What requests lost (see :mod:`valueeval.adapters.harness.cuts`), by their place in the run.
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
