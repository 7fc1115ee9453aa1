"""Whether a model can be read in a way that shares what prompts begin with: tried, not believed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

from valueeval.adapters.reading.causal import CausalReader, EncodedPair
from valueeval.adapters.reading.encoder_decoder import EncoderDecoderReader
from valueeval.adapters.reading.tree_attention import TreeAttentionScorer
from valueeval.adapters.runtime.out_of_memory import is_out_of_memory

logger = logging.getLogger(__name__)

# Attention that sees the nearest tokens only, counted along the batch and not along a path.
_LOCAL_ATTENTION = ("gpt_neo",)
_MASKS = ("eager", "sdpa")


def unsupported_reason(
    model: Any,
    backend: str,
    device: torch.device,
    context: Callable[[], Any],
    scorer: type[TreeAttentionScorer] = TreeAttentionScorer,
) -> str | None:
    """Why prompts cannot share what they begin with; None if they can.

    A few random tokens are scored together, and by the model's own forward pass one by one.

    Args:
        model: A Transformers model, or PEFT's wrapper of one.
        backend: ``causal`` or ``seq2seq``.
        device: Where inputs go.
        context: Makes a context manager to run the model in (autocast).
        scorer: How a causal model is to be read.
    """
    config = model.config
    attention = getattr(config, "_attn_implementation", None)
    if backend == "causal" and scorer is TreeAttentionScorer:
        if attention not in _MASKS:
            return (
                f"attn_implementation={attention} takes no mask of ours "
                "(attn_implementation=sdpa does)"
            )
        if config.model_type in _LOCAL_ATTENTION:
            return f"{config.model_type} has local attention"
    try:
        error, scale = _compare(model, backend, device, context, scorer)
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError) as failure:
        if is_out_of_memory(failure):  # says nothing about the model
            raise
        logger.debug("reading together failed", exc_info=failure)
        return (
            f"{config.model_type} cannot share what prompts begin with ({type(failure).__name__})"
        )
    with context():
        rounded = torch.is_autocast_enabled(device.type)
    exact = not rounded and next(model.parameters()).dtype in (torch.float32, torch.float64)
    if error > scale * (1e-3 if exact else 5e-2):
        return f"{config.model_type} answers differently when prompts share what they begin with"
    return None


def window(config: Any) -> int | None:
    """How far back the attention of some layers reaches; None: to the beginning.

    Within that distance a mask of ours is the whole truth; farther apart it would show too much.
    """
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    reaches = [getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min((int(reach) for reach in reaches if reach), default=None)


def rope_limit(config: Any) -> int | None:
    """Tokens up to which rotary positions turn the same for prompts of any length; None: always.

    Beyond it LongRope turns all positions of a forward pass in another way, and dynamic NTK scaling
    in one that depends on the longest so far. So a longer prompt must not share a pass with a
    shorter one, nor be read in two.
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


def _compare(
    model: Any,
    backend: str,
    device: torch.device,
    context: Callable[[], Any],
    scorer: type[TreeAttentionScorer],
) -> tuple[float, float]:
    """Largest difference in log-probability, and how far these differ between tokens."""
    generator = torch.Generator().manual_seed(0)
    # Not by the embeddings: PEFT may have wrapped them.
    size = min(model.config.get_text_config().vocab_size, 1000)

    def tokens(n: int) -> list[int]:
        return torch.randint(size // 10, size, (n,), generator=generator).tolist()

    shared = tokens(12)
    asked = [EncodedPair(shared + tokens(n), tokens(2)) for n in (3, 1, 2, 4)]
    parts = (model, device, None, context)
    if backend == "seq2seq":
        documents = EncoderDecoderReader(*parts, 2, 0).score("", [asked])
    else:
        documents = CausalReader(scorer(*parts), 2, 0).score("", [asked[:2], asked[2:]])
    together = [answer for document in documents for answer in document]
    alone = [_alone(model, backend, device, context, *encoded) for encoded in asked]
    error = max(abs(a - b) for (a, _), (b, _) in zip(together, alone, strict=True))
    return error, max(deviation for _, deviation in alone)


@torch.no_grad()
def _alone(
    model: Any,
    backend: str,
    device: torch.device,
    context: Callable[[], Any],
    before: list[int],
    asked: list[int],
) -> tuple[float, float]:
    """Log-probability by the model's own forward pass, and standard deviation of its logits."""
    with context():
        if backend == "seq2seq":
            ids, labels = torch.tensor([before]), torch.tensor([asked])
            mask = torch.ones_like(ids)
            logits = model(
                input_ids=ids.to(device), attention_mask=mask.to(device), labels=labels.to(device)
            ).logits[0]
        else:
            ids = torch.tensor([(before + asked)[:-1]], device=device)
            logits = model(input_ids=ids).logits[0, -len(asked) :]
    scores = logits.float().log_softmax(dim=-1).cpu()
    picked = scores.gather(1, torch.tensor(asked)[:, None])
    return float(picked.sum()), float(scores.std())
