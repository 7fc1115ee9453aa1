"""Tiny causal models with random weights, straight from their configurations."""

from __future__ import annotations

from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

CPU = torch.device("cpu")
LAYERS = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
}
IDS: dict[str, Any] = {"vocab_size": 60, "bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
MODELS: dict[str, Any] = {
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(n_embd=32, n_layer=2, n_head=2, initializer_range=0.3, **IDS)
    ),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**LAYERS, **IDS)),
    "llama eager": lambda: LlamaForCausalLM(
        LlamaConfig(attn_implementation="eager", **LAYERS, **IDS)
    ),
}


def make(build: Any) -> Any:
    """Return the model that ``build`` makes, with the same random weights every time."""
    torch.manual_seed(0)
    return build().eval()
