"""Method ``prefix-tuning``: virtual keys and values in front of the text's in every layer.

Li and Liang, 2021, «Prefix-tuning: optimizing continuous prompts for generation»; for
classification by an encoder Liu et al., 2022, «P-tuning v2». With a hidden size the keys and values
come out of a two-layer perceptron while they are trained (Li and Liang, section 4.3; P-tuning v2
finds that it may help or hurt); without one they are trained themselves. What is saved is the keys
and values. PEFT does not support it on every architecture (not on DeBERTa v2, ModernBERT or the
encoder of a T5).

``--init random`` starts from PEFT's normal distribution; the others from the keys and values that
the model has for some words (`valueeval.train.methods.prompt_initialisation`), so that the prefix
of a
decoder is a text before the text.

Trainable, with n virtual tokens, l layers, width d of the keys: 2 n l d, and the head; with a
perceptron of width h instead n d + d h + h + 2 l d (h + 1).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from peft import PrefixTuningConfig
from torch import nn
from transformers import DynamicCache

from valueeval.adapters.directory.base import Base
from valueeval.adapters.reading.tree_attention import layers_of
from valueeval.tasks.errors import ValueEvalError
from valueeval.train.config.config import TrainConfig
from valueeval.train.methods.peft import attach, prompt_embedding, soft_prompt_sizes, task_type
from valueeval.train.methods.prompt_initialisation import starting_embeddings
from valueeval.train.runtime.evaluation_mode import evaluating


def prepare(backbone: nn.Module, config: TrainConfig, base: Base) -> nn.Module:
    """The model with a prefix in every layer.

    Raises:
        ValueEvalError: Its prefix cannot start from words.
    """
    if config.init != "random" and task_type(backbone) == "SEQ_2_SEQ_LM":
        raise ValueEvalError(
            f"init: {config.init!r} has no meaning with --method prefix-tuning on an "
            "encoder-decoder, whose prefix stands before the answer, not the text: take --init "
            "random, or --method prompt-tuning"
        )
    hidden, width = config.prompt_hidden_size, cast(Any, backbone).config.hidden_size
    prefix = PrefixTuningConfig(
        task_type=task_type(backbone),
        num_virtual_tokens=config.virtual_tokens or 0,
        prefix_projection=hidden is not None,
        encoder_hidden_size=hidden or width,  # read with prefix_projection only
        **soft_prompt_sizes(backbone, width),
    )
    model = attach(backbone, prefix, "prefix-tuning")
    if config.init != "random":
        start = keys_and_values(backbone, starting_embeddings(backbone, config, base))
        prompt_embedding(model).weight.data.copy_(start)
    return model


def keys_and_values(backbone: nn.Module, embeddings: torch.Tensor) -> torch.Tensor:
    """A model's keys and values of some inputs, as PEFT keeps a prefix.

    Args:
        backbone: A model without a decoder of its own.
        embeddings: Of the inputs, (n, width).

    Returns:
        For each input keys and values of the first layer, of the second …, (n, 2 l d).
    """
    cache = DynamicCache()
    with torch.no_grad(), evaluating(backbone):
        backbone(inputs_embeds=embeddings.unsqueeze(0), past_key_values=cache)
    states = [state for layer in layers_of(cache) for state in layer]  # (1, heads, n, width)
    return torch.cat([state[0].transpose(0, 1).flatten(1) for state in states], dim=1)
