"""The requests of a run: sorted into documents, each distinct one answered once.

A document is what is asked about one argument; it stays together, so that the argument is read
once.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

from lm_eval.api.instance import Instance
from lm_eval.models.utils import normalize_gen_kwargs
from tqdm import tqdm

from valueeval.adapters.harness.answer_cache import AnswerCache
from valueeval.adapters.harness.prompts import DistinctRequest, Prompt
from valueeval.adapters.harness.truncation import CutCounter

T = TypeVar("T")


def distinct_requests(requests: Sequence[Instance]) -> list[DistinctRequest]:
    """Return the requests that ask different things, in order of first appearance."""
    known: dict[Any, DistinctRequest] = {}
    for place, request in enumerate(requests):
        context, asked = request.args
        settings, sampled = "", False
        if not isinstance(asked, str):
            settings = json.dumps(asked, sort_keys=True, default=str)
            # A temperature alone makes lm-eval sample.
            sampled = bool(normalize_gen_kwargs(asked)["do_sample"])
        # Samples drawn for the same prompt differ.
        key = (context, settings or asked, place if sampled else None)
        if key not in known:
            document = context if request.doc_id is None else request.doc_id
            known[key] = DistinctRequest(request, [], document, settings, sampled)
        known[key].twins.append(place)
    return list(known.values())


class Answers(Generic[T]):
    """The answers of a run, each distinct request's from the cache or by reading.

    Args:
        kind: lm-eval's name of the type of request.
        requests: All requests of the run.
        cache: Answers of ``--use_cache``; None without it.
        counter: Counts what requests lost.
        show: Whether to show a progress bar.
    """

    def __init__(
        self,
        kind: str,
        requests: Sequence[Instance],
        cache: AnswerCache | None,
        counter: CutCounter,
        show: bool,
    ) -> None:
        self._kind, self._requests = kind, requests
        self._cache, self._counter = cache, counter
        self._answers: dict[int, T] = {}
        self._bar = tqdm(total=len(requests), disable=not show, desc=f"Running {kind} requests")
        distinct = distinct_requests(requests)
        known = {} if cache is None else cache.find_all(kind, distinct)
        for index, (answer, lost) in known.items():
            self._enter(distinct[index], answer, lost)
        self._unread = [one for index, one in enumerate(distinct) if index not in known]

    def unread(self, size: int) -> Iterator[tuple[str, list[list[DistinctRequest]]]]:
        """Yield the documents that must be read, longest first, with their family.

        A family is the requests of one task, with the same generation settings.

        Args:
            size: Number of documents to yield at a time.
        """
        families: dict[str, dict[Any, list[DistinctRequest]]]
        families = defaultdict(lambda: defaultdict(list))
        for one in self._unread:
            families[f"{one.request.task_name} {one.settings}"][one.document].append(one)
        for family, by_document in families.items():
            documents = sorted(
                by_document.values(), key=lambda d: -max(len(one.request.args[0]) for one in d)
            )
            for start in range(0, len(documents), size):
                yield family, documents[start : start + size]

    def record(
        self,
        documents: Sequence[Sequence[DistinctRequest]],
        prompts: Sequence[Sequence[Prompt]],
        answers: Sequence[Sequence[T]],
    ) -> None:
        """Take the answers to some documents.

        Args:
            documents: The documents, as `unread` yielded them.
            prompts: What was read of them, in the same shape.
            answers: What was answered, in the same shape.
        """
        for rows in zip(documents, prompts, answers, strict=True):
            for one, prompt, answer in zip(*rows, strict=True):
                self._enter(one, answer, prompt.lost)
                if self._cache is not None and not one.sampled:
                    self._cache.keep(self._kind, one.request.args, answer, prompt.lost)

    def in_order(self) -> list[T]:
        """Return the answer to each request of the run."""
        self._bar.close()
        return [self._answers[place] for place in range(len(self._requests))]

    def _enter(self, one: DistinctRequest, answer: T, lost: str | None) -> None:
        for place in one.twins:
            self._answers[place] = answer
            if lost is not None:
                twin = self._requests[place]
                document = twin.args[0] if twin.doc_id is None else twin.doc_id
                self._counter.note(lost, str(twin.task_name), document)
        self._bar.update(len(one.twins))


def unflatten(documents: Sequence[Sequence[object]], flat: Sequence[T]) -> list[list[T]]:
    """Return a flat list in the shape of the documents."""
    items = iter(flat)
    return [[next(items) for _ in document] for document in documents]
