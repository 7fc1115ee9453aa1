"""What a classifier's options mean where they are left open and depend on the base model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from torch import nn

from valueeval.adapters.classifier.backbones import is_causal
from valueeval.adapters.directory.input_format import Head, InputFormat
from valueeval.train.config.combinations import ConfigError
from valueeval.train.config.config import TrainConfig


def head_of(config: TrainConfig, backbone: nn.Module) -> Head:
    """The head; an open pooling is the last token's on a decoder: that alone has seen all others.

    Raises:
        ConfigError: The pooling makes no sense on this base model.
    """
    causal = is_causal(cast(Any, backbone).config)
    if causal and config.pooling == "cls":
        raise ConfigError(
            "pooling: 'cls' has no meaning on a decoder, whose first token sees no other: leave it "
            "out, or take last, mean or attention"
        )
    if causal and config.pooling is None:
        return replace(config.head, pooling="last")
    return config.head


def form_of(config: TrainConfig, backbone: nn.Module) -> InputFormat:
    """How arguments become text; an open separator is a line break on a decoder.

    The tokenizers of decoders join pairs without anything between them, or with a second beginning.
    """
    form = config.input_format
    if form.separator is None and is_causal(cast(Any, backbone).config):
        return replace(form, separator="\n")
    return form
