"""Attach a PEFT adapter to a model; everything else is frozen."""

from __future__ import annotations

from typing import Any, cast

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from torch import nn

from valueeval.adapters.classifier.backbones import kind_of
from valueeval.adapters.classifier.peft_encoder import TASK_TYPE, quiet_peft
from valueeval.adapters.runtime.out_of_memory import is_out_of_memory
from valueeval.tasks.errors import ValueEvalError, first_line
from valueeval.train.runtime.evaluation_mode import evaluating
from valueeval.train.runtime.padding_check import read_beside_padding


def task_type(model: nn.Module) -> str:
    """Return PEFT's name for a model's use: hidden states, or the text of a language model."""
    known = cast(Any, model)
    if known.get_output_embeddings() is None:
        return TASK_TYPE
    return "SEQ_2_SEQ_LM" if known.config.is_encoder_decoder else "CAUSAL_LM"


def attach(backbone: nn.Module, config: PeftConfig, method: str) -> PeftModel:
    """Return the model with a new adapter, after checking that it changes the output.

    Raises:
        ValueEvalError: PEFT does not support the method on this architecture.
    """
    headed = config.task_type == TASK_TYPE
    try:
        with quiet_peft():
            model = cast(PeftModel, get_peft_model(cast(Any, backbone), config))
        answer = read_beside_padding(model) if headed else _read_two_tokens(model)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        reason = first_line(error)
        raise _refusal(method, backbone, headed, f"PEFT fails: {reason}") from error
    if not answer.requires_grad:
        raise _refusal(method, backbone, headed, "it leaves PEFT's keys and values unread")
    return model


def word_embeddings(backbone: nn.Module) -> torch.Tensor:
    """Return the embedding of each word as the model reads it: (vocabulary, width).

    Some are narrower than hidden states. Gemma's are their weights times a number, and what takes
    their place before a text has to be as well.
    """
    embedding = cast(Any, backbone).get_input_embeddings()
    weights = cast(torch.Tensor, embedding.weight.detach())
    words = torch.arange(len(weights), device=weights.device)
    with torch.no_grad():
        if torch.equal(embedding(words[:100]), weights[:100]):
            return weights
        return cast(torch.Tensor, embedding(words))


def prompt_embedding(model: PeftModel) -> nn.Embedding:
    """Return the trained embeddings of a soft prompt without a network, a row a virtual token."""
    return cast(nn.Embedding, cast(Any, model).prompt_encoder["default"].embedding)


def soft_prompt_sizes(backbone: nn.Module, token_width: int) -> dict[str, Any]:
    """Return the sizes of a soft prompt; PEFT does not know every architecture's names."""
    if task_type(backbone) != TASK_TYPE:
        return {}  # PEFT finds those of language models, grouped queries included
    config = cast(Any, backbone).config
    return {
        "token_dim": token_width,
        "num_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
    }


def _read_two_tokens(model: PeftModel) -> torch.Tensor:
    """Return a language model's logits for two tokens."""
    tokens = torch.zeros(1, 2, dtype=torch.long)
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    if model.peft_config["default"].task_type == "SEQ_2_SEQ_LM":
        inputs["decoder_input_ids"] = tokens
    with evaluating(model):
        output = model(**inputs)
    return cast(torch.Tensor, output.logits)


def _refusal(method: str, backbone: nn.Module, headed: bool, reason: str) -> ValueEvalError:
    config = cast(Any, backbone).config
    full = "full" if headed else "prompt+full"
    instead = {
        "lora": full,
        "prefix-tuning": "p-tuning (virtual tokens before the text) or lora",
    }.get(method, f"lora or {full}")
    kind = kind_of(config) if headed else "language model"
    return ValueEvalError(
        f"--method {method} does not work on {config.model_type} {kind}s ({reason}): take "
        f"{instead}, or another --base"
    )
