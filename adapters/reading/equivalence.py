"""Verifies numerically that reading with a shared prefix matches the model's own forward pass."""

from __future__ import annotations

import logging
from typing import Any

import torch

from valueeval.adapters.reading.causal import CausalReader
from valueeval.adapters.reading.encoder_decoder import EncoderDecoderReader
from valueeval.adapters.reading.tree_attention import TreeAttentionScorer
from valueeval.adapters.reading.types import EncodedPair, LoadedModel
from valueeval.adapters.runtime.batch_sizes import BatchLimits
from valueeval.adapters.runtime.out_of_memory import is_out_of_memory

logger = logging.getLogger(__name__)

# Attention that sees the nearest tokens only, counted along the batch and not along a path.
_LOCAL_ATTENTION = ("gpt_neo",)
_MASKS = ("eager", "sdpa")


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
                f"attn_implementation={attention} takes no mask of ours "
                "(attn_implementation=sdpa does)"
            )
        if config.model_type in _LOCAL_ATTENTION:
            return f"{config.model_type} has local attention"
    try:
        error, scale = _compare(loaded, scorer)
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError) as failure:
        if is_out_of_memory(failure):  # says nothing about the model
            raise
        logger.debug("reading together failed", exc_info=failure)
        return (
            f"{config.model_type} cannot share what prompts begin with ({type(failure).__name__})"
        )
    with loaded.autocast():
        rounded = torch.is_autocast_enabled(loaded.device.type)
    exact = not rounded and next(loaded.model.parameters()).dtype in (torch.float32, torch.float64)
    if error > scale * (1e-3 if exact else 5e-2):
        return f"{config.model_type} answers differently when prompts share what they begin with"
    return None


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


def _compare(loaded: LoadedModel, scorer: type[TreeAttentionScorer]) -> tuple[float, float]:
    """Return the largest difference in log-probability, and their spread over tokens."""
    generator = torch.Generator().manual_seed(0)
    # Not by the embeddings: PEFT may have wrapped them.
    size = min(loaded.model.config.get_text_config().vocab_size, 1000)

    def tokens(n: int) -> list[int]:
        return torch.randint(size // 10, size, (n,), generator=generator).tolist()

    shared = tokens(12)
    pairs = [EncodedPair(shared + tokens(n), tokens(2)) for n in (3, 1, 2, 4)]
    limits = BatchLimits(2)
    if loaded.backend == "seq2seq":
        documents = EncoderDecoderReader(loaded, limits).score("", [pairs])
    else:
        documents = CausalReader(scorer(loaded), limits).score("", [pairs[:2], pairs[2:]])
    together = [score for document in documents for score in document]
    alone = [_score_alone(loaded, pair) for pair in pairs]
    error = max(abs(a - b) for (a, _), (b, _) in zip(together, alone, strict=True))
    return error, max(deviation for _, deviation in alone)


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
