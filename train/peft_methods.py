"""What the PEFT methods share: an encoder is given an adapter, everything else is frozen."""

from __future__ import annotations

from typing import Any, cast

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from torch import nn

from valueeval.adapters.peft_encoder import quiet_peft
from valueeval.tasks.errors import ValueEvalError


def attach(backbone: nn.Module, config: PeftConfig, method: str) -> PeftModel:
    """The encoder with a new adapter; checks that the adapter has a say in the output.

    Raises:
        ValueEvalError: PEFT does not support the method on this architecture.
    """
    architecture = cast(Any, backbone).config.model_type
    try:
        with quiet_peft():
            model = cast(PeftModel, get_peft_model(cast(Any, backbone), config))
        hidden = _read_two_tokens(model)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise _refusal(method, architecture, f"PEFT fails: {reason}") from error
    if not hidden.requires_grad:
        raise _refusal(method, architecture, "it leaves PEFT's keys and values unread")
    return model


def word_embeddings(backbone: nn.Module) -> torch.Tensor:
    """The word embeddings: (vocabulary, width), of which some are narrower than hidden states."""
    return cast(torch.Tensor, cast(Any, backbone).get_input_embeddings().weight.detach())


def soft_prompt_sizes(backbone: nn.Module, token_width: int) -> dict[str, Any]:
    """The sizes that a soft prompt depends on; not every architecture's names are known to PEFT."""
    config = cast(Any, backbone).config
    return {
        "token_dim": token_width,
        "num_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
    }


def _read_two_tokens(model: PeftModel) -> torch.Tensor:
    training = model.training
    tokens = torch.zeros(1, 2, dtype=torch.long)
    output = model.eval()(input_ids=tokens, attention_mask=torch.ones_like(tokens))
    model.train(training)
    return cast(torch.Tensor, output.last_hidden_state)


def _refusal(method: str, architecture: str, reason: str) -> ValueEvalError:
    instead = "p-tuning (virtual tokens before the text) or lora"
    if method == "lora":
        instead = "full or head"
    return ValueEvalError(
        f"--method {method} does not work on {architecture} encoders ({reason}): take {instead}, "
        "or another --base"
    )
