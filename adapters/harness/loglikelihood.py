"""Requests of type ``loglikelihood``: continuations are scored; an adapter's thresholds apply."""

from __future__ import annotations

from collections.abc import Sequence

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from valueeval.adapters.directory.manifest import Manifest
from valueeval.adapters.harness.choose_reader import Reader, Readers
from valueeval.adapters.harness.documents import Document, unflatten
from valueeval.adapters.harness.encoding import encode_within
from valueeval.adapters.reading.tree_attention import LogLikelihood
from valueeval.tasks.harness.requests import ValueRequest


class LogLikelihoodRequests:
    """How they are answered (see :class:`valueeval.adapters.harness.answering.RequestType`).

    Args:
        lm: The model, for its tokens and for what ``hf``'s own code must read.
        readers: How it reads prompts.
        manifest: The adapter's, if it has one.
    """

    kind = "loglikelihood"

    def __init__(self, lm: HFLM, readers: Readers, manifest: Manifest | None) -> None:
        self._lm, self._readers, self._manifest = lm, readers, manifest

    def limit(self, request: Instance) -> int:
        """Tokens of a request's arguments that the model reads at most."""
        return int(self._lm.max_length)

    def answer(self, family: str, documents: Sequence[Document]) -> list[list[LogLikelihood]]:
        """Log-probability of each request's continuation, and whether it is the greedy one."""
        encoded = [
            [encode_within(self._lm, *r.args) for _, r in document] for document in documents
        ]
        lengths = [max(len(e.context) + len(e.continuation) for e in row) for row in encoded]

        def together(reader: Reader | None, rows: Sequence[int]) -> list[list[LogLikelihood]]:
            if reader is None or self._lm.enable_thinking:
                some = [documents[row] for row in rows]
                return unflatten(some, self._as_hf([r for document in some for _, r in document]))
            return reader.score(family, [encoded[row] for row in rows])

        def alone(request: Instance) -> LogLikelihood:
            (answer,) = self._as_hf([request])
            return answer

        return self._readers.answer(documents, lengths, together, alone)

    def _as_hf(self, requests: list[Instance]) -> list[LogLikelihood]:
        # Not lm.loglikelihood, which asks here.
        answers: list[LogLikelihood] = HFLM.loglikelihood(self._lm, requests, disable_tqdm=True)
        return answers

    def apply_threshold(self, request: Instance, answer: LogLikelihood) -> LogLikelihood:
        """The answer such that a task's difference is less by the value's threshold (a logit)."""
        if self._manifest is None or not isinstance(request, ValueRequest):
            return answer
        if request.template != self._manifest.template or request.value is None:
            return answer
        threshold = float(self._manifest.thresholds.logits[request.value])
        # Log-likelihoods stay below 0: a threshold lowers one of the two, whichever it must.
        less = threshold if request.role in ("name", "yes") else -threshold
        return answer[0] - max(less, 0.0), answer[1]
