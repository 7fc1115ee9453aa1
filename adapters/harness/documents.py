"""Requests of lm-eval, sorted into documents: what is asked about one argument stays together."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from lm_eval.api.instance import Instance

T = TypeVar("T")

Document = list[tuple[int, Instance]]
"""The requests about one argument, each with its place among all requests of a run."""


def document_key(request: Instance) -> Any:
    """What tells the argument that a request is about from others of its task."""
    return request.args[0] if request.doc_id is None else request.doc_id


def is_sampled(request: Instance) -> bool:
    """Whether each answer is drawn anew."""
    asked = request.args[1]
    return not isinstance(asked, str) and bool(asked.get("do_sample"))


def same_requests(requests: Sequence[Instance]) -> dict[int, list[int]]:
    """The first of requests that ask the same → all of them."""
    firsts: dict[Any, int] = {}
    same: dict[int, list[int]] = {}
    for index, request in enumerate(requests):
        context, asked = request.args
        if not isinstance(asked, str):
            # samples drawn for the same prompt differ
            own = index if is_sampled(request) else None
            asked = (json.dumps(asked, sort_keys=True, default=str), own)
        first = firsts.setdefault((context, asked), index)
        same.setdefault(first, []).append(index)
    return same


def chunks(
    requests: Sequence[Instance], same: Mapping[int, list[int]], size: int
) -> Iterator[tuple[str, list[Document]]]:
    """Documents with their distinct requests, longest first, some at a time.

    Documents of a chunk are of one task and, where they generate, of the same settings.
    """
    families: dict[str, dict[Any, Document]] = defaultdict(lambda: defaultdict(list))
    for index in same:
        request = requests[index]
        asked = request.args[1]
        settings = "" if isinstance(asked, str) else json.dumps(asked, sort_keys=True, default=str)
        family = f"{request.task_name} {settings}"
        families[family][document_key(request)].append((index, request))
    for family, by_document in families.items():
        documents = sorted(
            by_document.values(), key=lambda d: -max(len(request.args[0]) for _, request in d)
        )
        for start in range(0, len(documents), size):
            # Copies: a document's requests may be shortened.
            yield family, [list(document) for document in documents[start : start + size]]


def unflatten(documents: Sequence[Document], flat: Sequence[T]) -> list[list[T]]:
    """A flat list in the shape of the documents."""
    items = iter(flat)
    return [[next(items) for _ in document] for document in documents]
