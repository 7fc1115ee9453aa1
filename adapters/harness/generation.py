"""Requests of type ``generate_until``: greedy texts; what else is asked, Transformers generates."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

from valueeval.adapters.harness.choose_reader import Reader, Readers
from valueeval.adapters.harness.documents import Document, unflatten
from valueeval.adapters.reading.stopping import Stop, not_greedy
from valueeval.tasks.errors import ValueEvalError

logger = logging.getLogger(__name__)


class GenerationRequests:
    """How they are answered (see :class:`valueeval.adapters.harness.answering.RequestType`).

    Args:
        lm: The model, for its tokens and for what ``hf``'s own code must generate.
        readers: How it reads prompts.
    """

    kind = "generate_until"

    def __init__(self, lm: HFLM, readers: Readers) -> None:
        self._lm, self._readers = lm, readers

    def limit(self, request: Instance) -> int:
        """Tokens of context that leave room for the answer.

        Raises:
            ValueEvalError: There is none.
        """
        lm = self._lm
        steps = normalize_gen_kwargs(request.args[1], lm.max_gen_toks)["max_gen_toks"]
        room = int(lm.max_length if lm.backend == "seq2seq" else lm.max_length - steps)
        if room < 1:
            raise ValueEvalError(
                f"{request.task_name}: {steps} tokens to generate leave no room for the prompt: "
                f"{lm.max_length} fit in all. Lower max_gen_toks (--gen_kwargs)."
            )
        return room

    def answer(self, family: str, documents: Sequence[Document]) -> list[list[str]]:
        """The texts that follow; all requests have the same settings (see `chunks`)."""
        lm = self._lm
        request = documents[0][0][1]
        kwargs = normalize_gen_kwargs(request.args[1], lm.max_gen_toks)
        reason = not_greedy(kwargs, getattr(lm.model, "generation_config", None))
        if lm.think_end_token is not None:
            reason = "think_end_token"
        room, steps = self.limit(request), kwargs["max_gen_toks"]
        contexts = [
            [lm.tok_encode(r.args[0])[-room:] for _, r in document] for document in documents
        ]
        lengths = [max(map(len, row)) + steps for row in contexts]
        eos = lm.tok_decode(lm.eot_token_id, skip_special_tokens=False)
        stop = Stop(lm.tokenizer, handle_stop_sequences(kwargs["until"], eos=eos), self._ends())

        def together(reader: Reader | None, rows: Sequence[int]) -> list[list[str]]:
            if reason is not None or reader is None:
                return self._as_hf([documents[row] for row in rows], reason)
            grown = reader.generate(family, [contexts[row] for row in rows], steps, stop)
            return [[stop.text(tokens) for tokens in document] for document in grown]

        def alone(request: Instance) -> str:
            return self._as_hf([[(0, request)]], reason)[0][0]

        return self._readers.answer(documents, lengths, together, alone)

    def _as_hf(self, documents: Sequence[Document], reason: str | None) -> list[list[str]]:
        flat = [request for document in documents for _, request in document]
        if reason is not None:
            logger.info("generation with %s: by Transformers' generate()", reason)
        size = self._lm.batch_size_per_gpu
        if self._readers.virtual_tokens and self._lm.backend == "causal":
            # PEFT puts virtual tokens before the padding of a batch.
            self._lm.batch_size_per_gpu = 1
        try:
            # Not lm.generate_until, which asks here.
            return unflatten(documents, HFLM.generate_until(self._lm, flat, disable_tqdm=True))
        finally:
            self._lm.batch_size_per_gpu = size

    def _ends(self) -> set[int]:
        ends = getattr(self._lm.model.generation_config, "eos_token_id", None)
        listed = ends if isinstance(ends, list) else [ends]
        return {end for end in (*listed, self._lm.eot_token_id) if end is not None}

    def apply_threshold(self, request: Instance, answer: str) -> str:
        """The text is every request's own."""
        return answer
