"""Requests as tokens: the same that lm-eval makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from torch.nn.utils.rnn import pad_sequence

from valueeval.adapters.reading.causal import EncodedPair
from valueeval.tasks.errors import ValueEvalError


def encode(lm: HFLM, context: str, continuation: str) -> EncodedPair:
    """A request's tokens as lm-eval's TemplateLM.loglikelihood makes them."""
    if context:
        return EncodedPair(*lm._encode_pair(context, continuation))
    tokens = lm.tok_encode(continuation, add_special_tokens=False)
    if tokens[0] == lm.prefix_token_id:
        return EncodedPair(tokens[:1], tokens[1:])
    return EncodedPair([lm.prefix_token_id], tokens)


def encode_within(lm: HFLM, context: str, continuation: str) -> EncodedPair:
    """Tokens of a request, cut on the left if they are too many (as hf does).

    Raises:
        ValueEvalError: The continuation alone is longer than what the model reads.
    """
    encoded = encode(lm, context, continuation)
    if lm.backend == "seq2seq":
        return EncodedPair(encoded.context[-lm.max_length :], encoded.continuation)
    room = lm.max_length + 1 - len(encoded.continuation)
    if room < 1:
        raise ValueEvalError(
            f"a continuation of {len(encoded.continuation)} tokens is longer than the "
            f"{lm.max_length} that fit"
        )
    return EncodedPair(encoded.context[-room:], encoded.continuation)


def count_read(lm: HFLM, arguments: tuple[Any, ...]) -> int:
    """Tokens that the model would read for these arguments of a request."""
    context, asked = arguments
    if not isinstance(asked, str):
        return len(lm.tok_encode(context))
    encoded = encode(lm, context, asked)
    if lm.backend == "seq2seq":
        return len(encoded.context)
    return len(encoded.context) + len(encoded.continuation) - 1


def pad_right(rows: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens with ``pad`` behind the shorter rows, and the mask of attention: (rows, length)."""
    tensors = [torch.tensor(row) for row in rows]
    return (
        pad_sequence(tensors, batch_first=True, padding_value=pad),
        pad_sequence([torch.ones_like(row) for row in tensors], batch_first=True),
    )
