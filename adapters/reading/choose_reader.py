"""Which reader a model allows, by its architecture and the lengths of its prompts.

Evaluation and training choose by the same function: tree attention where a model takes our mask,
copies of a cache where it keeps one, else no reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from valueeval.adapters.reading.cache_copy import CacheCopyScorer
from valueeval.adapters.reading.causal import CausalReader
from valueeval.adapters.reading.encoder_decoder import EncoderDecoderReader
from valueeval.adapters.reading.equivalence import rope_limit, unsupported_reason, window
from valueeval.adapters.reading.soft_prompts import virtual_tokens
from valueeval.adapters.reading.tree_attention import TreeAttentionScorer
from valueeval.adapters.reading.types import LoadedModel
from valueeval.adapters.runtime.batch_sizes import BatchLimits

Reader = CausalReader | EncoderDecoderReader


class ReadingPass(NamedTuple):
    """Documents that are read in the same way.

    Attributes:
        rows: Their places.
        reader: What reads them; None: each prompt must be read by itself.
        beyond_rope: Whether they are longer than `ReaderChoice.rope_limit`: each prompt needs a
            forward pass of its own, in a model that has forgotten earlier lengths.
    """

    rows: list[int]
    reader: Reader | None
    beyond_rope: bool


@dataclass(frozen=True)
class ReaderChoice:
    """The readers of a model, by the length of its prompts.

    Attributes:
        near: Reads prompts within the window; None: each prompt must be read by itself.
        far: Reads longer prompts; None likewise. Used only where there is a window.
        window: How many tokens back the attention of all layers reaches; None: to the beginning.
        rope_limit: Tokens up to which prompts can share a forward pass; None: any number.
        virtual_tokens: Number of virtual tokens before the text.
        reason: Why the preferred way of reading is not possible; None if it is.
    """

    near: Reader | None
    far: Reader | None
    window: int | None
    rope_limit: int | None
    virtual_tokens: int
    reason: str | None

    def describe(self) -> dict[str, str | None]:
        """Return the name of the way of reading, and why it is not the preferred one.

        The names are ``shared_passes`` (tree attention, or an encoder that reads once),
        ``cache_copies`` and ``one_by_one``.
        """
        copies = isinstance(self.near, CausalReader) and self.near.copies_cache
        name = "one_by_one" if self.near is None else "cache_copies" if copies else "shared_passes"
        return {"name": name, "reason": self.reason}

    @property
    def any_length(self) -> Reader | None:
        """The reader of prompts of any length."""
        return self.near if self.window is None else self.far

    def plan(self, lengths: Sequence[int]) -> list[ReadingPass]:
        """Divide documents by how they are read.

        Args:
            lengths: Tokens of each document's longest prompt, virtual tokens aside.
        """
        limit = self.rope_limit
        beyond = [limit is not None and n + self.virtual_tokens > limit for n in lengths]
        within = [row for row, is_beyond in enumerate(beyond) if not is_beyond]
        passes = []
        if within:
            longest = max(lengths[row] for row in within) + self.virtual_tokens
            fits = self.window is None or longest <= self.window
            passes.append(ReadingPass(within, self.near if fits else self.far, False))
        if len(within) < len(lengths):
            rows = [row for row, is_beyond in enumerate(beyond) if is_beyond]
            passes.append(ReadingPass(rows, None, True))
        return passes


def choose_reader(loaded: LoadedModel, limits: BatchLimits) -> ReaderChoice:
    """Choose how a model reads prompts that share a beginning; each way is tried on random tokens.

    Args:
        loaded: The model, in evaluation mode.
        limits: Limits of a batch.
    """
    virtual = virtual_tokens(loaded.model)
    reason = unsupported_reason(loaded)
    if loaded.backend == "seq2seq":
        near = EncoderDecoderReader(loaded, limits) if reason is None else None
        return ReaderChoice(near, None, None, None, virtual, reason)
    limit, reach = rope_limit(loaded.model.config), window(loaded.model.config)
    if reason is None and reach is None:
        tree = CausalReader(TreeAttentionScorer(loaded), limits)
        return ReaderChoice(tree, None, None, limit, virtual, None)
    no_copy = unsupported_reason(loaded, CacheCopyScorer)
    copy = CausalReader(CacheCopyScorer(loaded), limits) if no_copy is None else None
    if reason is None:
        tree = CausalReader(TreeAttentionScorer(loaded), limits)
        return ReaderChoice(tree, copy, reach, limit, virtual, no_copy)
    return ReaderChoice(copy, None, None, limit, virtual, reason)
