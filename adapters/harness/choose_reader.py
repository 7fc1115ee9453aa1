"""How a language model's prompts are read, as its architecture and their lengths allow.

As a tree, or behind an expanded cache: what they begin with is read once. Where a model takes
neither, or its positions change with the length, each prompt is read by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from valueeval.adapters.harness.documents import Document
from valueeval.adapters.reading.cache_copy import CacheCopyScorer
from valueeval.adapters.reading.causal import CausalReader
from valueeval.adapters.reading.encoder_decoder import EncoderDecoderReader
from valueeval.adapters.reading.equivalence import rope_limit, unsupported_reason, window
from valueeval.adapters.reading.tree_attention import TreeAttentionScorer

logger = logging.getLogger(__name__)

T = TypeVar("T")

Reader = CausalReader | EncoderDecoderReader

# Tokens in one forward pass for batch_size=auto: beyond them it gets no faster.
_AUTO_TOKENS = {"cpu": 1024, "cuda": 32768}


class Readers:
    """What reads a model's prompts, by their lengths; whether the model allows it is tried.

    Args:
        lm: The model.
        virtual_tokens: How many of them stand before the text.

    Attributes:
        near: Reads prompts up to the window; None: ``hf``'s own code must.
        far: Reads longer ones; None likewise.
        window: Tokens that the attention of all layers reaches back; None: to the beginning.
        rope_limit: Tokens up to which prompts can share a pass; None: any number.
        virtual_tokens: As given.
    """

    def __init__(self, lm: HFLM, virtual_tokens: int) -> None:
        self._lm = lm
        self.virtual_tokens = virtual_tokens
        self.near: Reader | None = None
        self.far: CausalReader | None = None
        self.window: int | None = None
        self.rope_limit = rope_limit(lm.config) if lm.backend == "causal" else None
        self.choose()

    def choose(self) -> None:
        """Tries what the model allows; forgets what it has said (with other weights)."""
        self.near = self.far = self.window = None
        reason = self._why_not(TreeAttentionScorer)
        if self._lm.backend == "seq2seq":
            if reason is None:
                self.near = EncoderDecoderReader(*self._parts, *self._batch)
        elif reason is None:
            self.near = self.causal(TreeAttentionScorer)
            self.window = window(self._lm.config)
            if self.window is not None and self._why_not(CacheCopyScorer) is None:
                self.far = self.causal(CacheCopyScorer)
        elif self._why_not(CacheCopyScorer) is None:
            logger.warning("%s: the cache of each argument is copied for its questions", reason)
            self.near = self.causal(CacheCopyScorer)
        if self.near is None:
            logger.warning("%s: every prompt is read by itself, as hf does", reason)

    def _why_not(self, scorer: type[TreeAttentionScorer]) -> str | None:
        lm = self._lm
        return unsupported_reason(lm.model, lm.backend, lm.device, self._autocast, scorer)

    def causal(self, scorer: type[TreeAttentionScorer]) -> CausalReader:
        """Reads a causal model's prompts in this way, whether it allows that or not."""
        return CausalReader(scorer(*self._parts), *self._batch)

    @property
    def _parts(self) -> tuple[Any, torch.device, torch.dtype | None, Callable[[], Any]]:
        return self._lm.model, self._lm.device, self._lm.softmax_dtype, self._autocast

    @property
    def _batch(self) -> tuple[int | None, int]:
        """Arguments in a batch, and tokens where that is ``auto``."""
        size = None if self._lm.batch_size == "auto" else int(self._lm.batch_size)
        return size, _AUTO_TOKENS.get(self._lm.device.type, _AUTO_TOKENS["cpu"])

    def _autocast(self) -> torch.autocast:
        dtype = self._lm.mixed_precision_dtype
        return torch.autocast(self._lm.device.type, dtype=dtype, enabled=dtype is not None)

    def answer(
        self,
        documents: Sequence[Document],
        lengths: Sequence[int],
        together: Callable[[Reader | None, Sequence[int]], list[list[T]]],
        alone: Callable[[Instance], T],
    ) -> list[list[T]]:
        """Answers to documents, of which those beyond the limit of rotary positions are read alone.

        Args:
            documents: Requests about arguments.
            lengths: The most tokens of each document's prompts.
            together: Answers to the documents in these places, by a reader (None: by ``hf``).
            alone: The answer to one request.
        """
        limit = self.rope_limit
        beyond = [limit is not None and n + self.virtual_tokens > limit for n in lengths]
        near = [row for row, far in enumerate(beyond) if not far]
        answers: dict[int, list[T]] = {}
        if near:
            reader = self._of(max(lengths[row] for row in near))
            answers.update(zip(near, together(reader, near), strict=True))
        far = [row for row, far in enumerate(beyond) if far]
        if far:
            logger.info("prompts beyond %s tokens, where positions change: each by itself", limit)
        for row in far:
            answers[row] = []
            for _, request in documents[row]:
                self._forget_lengths()
                answers[row].append(alone(request))
        return [answers[row] for row in range(len(documents))]

    def _of(self, length: int) -> Reader | None:
        """What reads prompts of so many tokens, the longest of them; None: hf's own code."""
        if self.window is None or length + self.virtual_tokens <= self.window:
            return self.near
        if self.far is None:
            logger.info("prompts longer than the window of %d: each by itself", self.window)
        return self.far

    @torch.no_grad()
    def _forget_lengths(self) -> None:
        """Dynamic NTK scaling remembers the longest prompt, up to the next short one."""
        self._lm.model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=self._lm.device))
