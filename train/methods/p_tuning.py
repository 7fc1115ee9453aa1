"""Method ``p-tuning``: virtual tokens before the text, made by a small network.

Liu et al., 2021, «GPT understands, too»: an embedding for each virtual token goes through a
three-layer perceptron, which ties them together while they are trained. What is saved is what comes
out: as many embeddings as virtual tokens. Only the text's own hidden states are pooled.

Trainable, with n virtual tokens, width d of the word embeddings and h of the perceptron: n d
embeddings, d h + h + h h + h + h d + d of the perceptron, and the head.
"""

from __future__ import annotations

from typing import Any, cast

from peft import PromptEncoderConfig
from torch import nn

from valueeval.adapters.directory.base import Base
from valueeval.train.config.config import TrainConfig
from valueeval.train.methods.peft import attach, soft_prompt_sizes, task_type


def prepare(backbone: nn.Module, config: TrainConfig, base: Base) -> nn.Module:
    """The model with virtual tokens and their network."""
    width = cast(Any, backbone).get_input_embeddings().weight.shape[1]
    p_tuning = PromptEncoderConfig(
        task_type=task_type(backbone),
        num_virtual_tokens=config.virtual_tokens or 0,
        num_transformer_submodules=1,  # of an encoder-decoder the encoder
        encoder_hidden_size=config.prompt_hidden_size or width,
        **soft_prompt_sizes(backbone, width),
    )
    return attach(backbone, p_tuning, "p-tuning")
