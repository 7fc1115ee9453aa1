"""Verify numerically that reading with a shared prefix matches the model's own forward pass.

In float32 both must give the same numbers. In half precision each rounds in its own way, by as much
as the model's weights make of it, so both are compared with a pass in float32: reading together
must be about as near to it as the model's own pass is.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from valueeval.adapters.reading.causal import CausalReader
from valueeval.adapters.reading.encoder_decoder import EncoderDecoderReader
from valueeval.adapters.reading.float32_pass import NoFloat32PassError, in_float32
from valueeval.adapters.reading.tree_attention import TreeAttentionScorer
from valueeval.adapters.reading.types import EncodedPair, LoadedModel
from valueeval.adapters.runtime.batch_sizes import BatchLimits
from valueeval.adapters.runtime.out_of_memory import is_out_of_memory

logger = logging.getLogger(__name__)

# Attention that sees the nearest tokens only, counted along the batch and not along a path.
_LOCAL_ATTENTION = ("gpt_neo",)
_MASKS = ("eager", "sdpa")
# Largest difference allowed, as a share of the spread of log-probabilities over the vocabulary.
_TOLERANCE = 1e-3
_TOLERANCE_WITHOUT_REFERENCE = 5e-2
# How much farther from float32 than the model's own pass, in root mean square. Of two ways that
# round alike, one is three times as far as the other by chance about once in 300 comparisons of
# ten prompts; a token that attends to a wrong one is hundreds of times as far.
_FARTHER = 3.0


def unsupported_reason(
    loaded: LoadedModel, scorer: type[TreeAttentionScorer] = TreeAttentionScorer
) -> str | None:
    """Return why prompts of a model cannot share what they begin with; None if they can.

    A few random tokens are scored together, and one by one by the model's own forward pass.

    Args:
        loaded: The model.
        scorer: How a causal model is to be read.
    """
    config = loaded.model.config
    attention = getattr(config, "_attn_implementation", None)
    if loaded.backend == "causal" and scorer is TreeAttentionScorer:
        if attention not in _MASKS:
            return (
                f"attn_implementation={attention}: prompts share a pass with "
                f"{' and '.join(_MASKS)} alone"
            )
        if config.model_type in _LOCAL_ATTENTION:
            return f"{config.model_type} has local attention"
    try:
        found = _compare(loaded, scorer)
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError) as failure:
        if is_out_of_memory(failure):  # says nothing about the model
            raise
        logger.debug("reading together failed", exc_info=failure)
        return (
            f"{config.model_type} cannot share what prompts begin with ({type(failure).__name__})"
        )
    if found.equivalent():
        return None
    return f"{config.model_type} answers differently when prompts share what they begin with"


def window(config: Any) -> int | None:
    """Return how many tokens back the attention of some layers reaches; None: to the beginning.

    A mask of ours is exact for prompts within that distance; in longer ones it would let tokens
    attend too far.
    """
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    reaches = [getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min((int(reach) for reach in reaches if reach), default=None)


def rope_limit(config: Any) -> int | None:
    """Return the length up to which rotary embeddings do not depend on it; None: any length.

    In a longer forward pass LongRope rotates all positions by other factors, and dynamic NTK
    scaling by factors that depend on the longest pass so far. So a longer prompt must not share a
    pass with a shorter one, nor be read in two.
    """
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    given = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    nested = [value for value in given.values() if isinstance(value, dict)]  # by kind of layer
    limits = []
    for rope in nested or [given]:
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind == "longrope":
            original = rope.get("original_max_position_embeddings") or getattr(
                text, "original_max_position_embeddings", text.max_position_embeddings
            )
            limits.append(int(original))
        elif kind == "dynamic":
            limits.append(text.max_position_embeddings - 1)
    return min(limits, default=None)


@dataclass(frozen=True)
class _Comparison:
    """Log-probabilities of the same continuations, read in several ways.

    Attributes:
        together: Read together, in the model's precision.
        alone: Each by the model's own forward pass, in its precision.
        reference: Likewise in float32; None if there is no rounding, or no such pass.
        rounded: True if the model computes in half precision.
        spread: Standard deviation of log-probabilities over the vocabulary.
    """

    together: list[float]
    alone: list[float]
    reference: list[float] | None
    rounded: bool
    spread: float

    def equivalent(self) -> bool:
        """Return whether reading together gives the model's own answers, up to rounding."""
        if self.reference is not None:
            own = _root_mean_square(self.alone, self.reference)
            tolerance = max(_FARTHER * own, _TOLERANCE * self.spread)
            return _root_mean_square(self.together, self.reference) <= tolerance
        tolerance = _TOLERANCE_WITHOUT_REFERENCE if self.rounded else _TOLERANCE
        pairs = zip(self.together, self.alone, strict=True)
        return max(abs(a - b) for a, b in pairs) <= tolerance * self.spread


def _root_mean_square(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the root mean square of the differences; infinite if one is not a number."""
    mean = sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / len(a)
    return math.inf if math.isnan(mean) else math.sqrt(mean)


def _compare(loaded: LoadedModel, scorer: type[TreeAttentionScorer]) -> _Comparison:
    """Score continuations of random tokens, about two arguments that share a prefix."""
    generator = torch.Generator().manual_seed(0)
    # Not by the embeddings: PEFT may have wrapped them.
    size = min(loaded.model.config.get_text_config().vocab_size, 1000)

    def tokens(n: int) -> list[int]:
        return torch.randint(size // 10, size, (n,), generator=generator).tolist()

    shared = tokens(12)
    pairs = [EncodedPair(shared + tokens(n), tokens(2)) for n in (3, 1, 2, 4)]
    with loaded.autocast():
        autocast = torch.is_autocast_enabled(loaded.device.type)
    rounded = autocast or next(loaded.model.parameters()).dtype not in (
        torch.float32,
        torch.float64,
    )
    if rounded:
        # More of them, since the two ways are compared by how far off they are on average.
        about = [shared + tokens(9), shared + tokens(5)]
        pairs = [EncodedPair(one + tokens(n), tokens(2)) for one in about for n in (6, 3, 1, 2, 4)]
    half = len(pairs) // 2
    limits = BatchLimits(2)
    if loaded.backend == "seq2seq":
        documents = EncoderDecoderReader(loaded, limits).score("", [pairs])
    else:
        documents = CausalReader(scorer(loaded), limits).score("", [pairs[:half], pairs[half:]])
    together = [score for document in documents for score, _ in document]
    alone = [_score_alone(loaded, pair) for pair in pairs]
    return _Comparison(
        together,
        [score for score, _ in alone],
        _reference(loaded, pairs) if rounded else None,
        rounded,
        max(deviation for _, deviation in alone),
    )


@torch.no_grad()
def _reference(loaded: LoadedModel, pairs: Sequence[EncodedPair]) -> list[float] | None:
    """Return the scores of the model's own forward pass in float32; None if there is none.

    All are rows of one batch, so that the weights are converted once.
    """
    device = loaded.device
    sequence2sequence = loaded.backend == "seq2seq"
    rows = [
        pair.context if sequence2sequence else (pair.context + pair.continuation)[:-1]
        for pair in pairs
    ]
    ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True).to(device)
    mask = pad_sequence([torch.ones(len(row)) for row in rows], batch_first=True).to(device)
    try:
        with in_float32(loaded.model):
            if sequence2sequence:
                labels = torch.tensor([pair.continuation for pair in pairs], device=device)
                logits = loaded.model(input_ids=ids, attention_mask=mask, labels=labels).logits
            else:
                # What is padded comes last, where no token sees it: no mask, which some refuse.
                logits = loaded.model(input_ids=ids).logits
    except NoFloat32PassError as reason:
        logger.debug("%s: no pass in float32 to compare with", reason)
        return None
    scores = []
    for row, pair in enumerate(pairs):
        end = len(pair.continuation) if sequence2sequence else len(rows[row])
        said = logits[row, end - len(pair.continuation) : end].float().log_softmax(dim=-1).cpu()
        scores.append(float(said.gather(1, torch.tensor(pair.continuation)[:, None]).sum()))
    return scores


@torch.no_grad()
def _score_alone(loaded: LoadedModel, pair: EncodedPair) -> tuple[float, float]:
    """Return the model's own log-probability, and the standard deviation over the vocabulary."""
    device = loaded.device
    with loaded.autocast():
        if loaded.backend == "seq2seq":
            ids = torch.tensor([pair.context], device=device)
            labels = torch.tensor([pair.continuation], device=device)
            logits = loaded.model(
                input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels
            ).logits[0]
        else:
            ids = torch.tensor([(pair.context + pair.continuation)[:-1]], device=device)
            logits = loaded.model(input_ids=ids).logits[0, -len(pair.continuation) :]
    scores = logits.float().log_softmax(dim=-1).cpu()
    picked = scores.gather(1, torch.tensor(pair.continuation)[:, None])
    return float(picked.sum()), float(scores.std())
