"""A run's requests of one type: each distinct one is answered once, from the cache or by reading.

What they lost where they were too long is counted on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from lm_eval.api.instance import Instance
from tqdm import tqdm

from valueeval.adapters.harness.answer_cache import AnswerCache
from valueeval.adapters.harness.cuts import Cuts
from valueeval.adapters.harness.documents import Document, chunks, is_sampled, same_requests

T = TypeVar("T")


class RequestType(Protocol[T]):
    """How requests of a type are answered.

    Attributes:
        kind: lm-eval's name of the type.
    """

    kind: str

    def limit(self, request: Instance) -> int:
        """Tokens of a request's arguments that the model reads at most."""

    def answer(self, family: str, documents: Sequence[Document]) -> list[list[T]]:
        """Answers to documents of a family (see `chunks`)."""

    def apply_threshold(self, request: Instance, answer: T) -> T:
        """A request's own answer, from that to all that ask the same."""


def answer_requests(
    request_type: RequestType[T],
    requests: Sequence[Instance],
    fit: Callable[[Sequence[Document], Callable[[Instance], int]], dict[int, str]],
    chunk: int,
    cuts: Cuts,
    cache: AnswerCache | None,
    show: bool,
) -> list[T]:
    """Answers to requests, in their order.

    Args:
        request_type: Their type.
        requests: All of a run.
        fit: Shortens documents to a limit, and tells what requests lost by their place in the run.
        chunk: Arguments that are tokenised at a time.
        cuts: Counts what was lost.
        cache: Of ``--use_cache``; None without it.
        show: Whether to show a bar.
    """
    answers: dict[int, T] = {}
    same = same_requests(requests)
    kind = request_type.kind
    with tqdm(total=len(requests), disable=not show, desc=f"Running {kind} requests") as bar:

        def enter(index: int, result: T, lost: str | None) -> None:
            for twin in same[index]:
                cuts.note(lost, requests[twin])
                answers[twin] = request_type.apply_threshold(requests[twin], result)
            bar.update(len(same[index]))

        known = {} if cache is None else cache.find_all(kind, requests, same)
        for index, (result, lost) in known.items():
            enter(index, result, lost)
        left = {index: twins for index, twins in same.items() if index not in known}
        for family, documents in chunks(requests, left, chunk):
            cut = fit(documents, request_type.limit)
            results = request_type.answer(family, documents)
            for document, its in zip(documents, results, strict=True):
                for (index, _), result in zip(document, its, strict=True):
                    enter(index, result, cut.get(index))
                    if cache is not None and not is_sampled(requests[index]):
                        cache.keep(kind, requests[index].args, result, cut.get(index))
    return [answers[index] for index in range(len(requests))]
