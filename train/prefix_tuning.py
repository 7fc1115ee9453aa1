"""Method ``prefix-tuning``: virtual keys and values in front of the text's in every layer.

Li and Liang, 2021, «Prefix-tuning: optimizing continuous prompts for generation»; for
classification by an encoder Liu et al., 2022, «P-tuning v2». With a hidden size the keys and values
come out of a two-layer perceptron while they are trained (Li and Liang, section 4.3; P-tuning v2
finds that it may help or hurt); without one they are trained themselves. What is saved is the keys
and values. PEFT does not support it on every architecture (not on DeBERTa v2, ModernBERT or the
encoder of a T5).

Trainable, with n virtual tokens, l layers, width d of the keys: 2 n l d, and the head; with a
perceptron of width h instead n d + d h + h + 2 l d (h + 1).
"""

from __future__ import annotations

from typing import Any, cast

from peft import PrefixTuningConfig
from torch import nn

from valueeval.adapters.base import Base
from valueeval.train.config import TrainConfig
from valueeval.train.peft_methods import attach, soft_prompt_sizes, task_type


def prepare(backbone: nn.Module, config: TrainConfig, base: Base) -> nn.Module:
    """The model with a prefix in every layer."""
    hidden, width = config.prompt_hidden_size, cast(Any, backbone).config.hidden_size
    prefix = PrefixTuningConfig(
        task_type=task_type(backbone),
        num_virtual_tokens=config.virtual_tokens or 0,
        prefix_projection=hidden is not None,
        encoder_hidden_size=hidden or width,  # read with prefix_projection only
        **soft_prompt_sizes(backbone, width),
    )
    return attach(backbone, prefix, "prefix-tuning")
