"""Defaults of a classifier that depend on the base model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from torch import nn

from valueeval.adapters.classifier.backbones import is_causal
from valueeval.adapters.directory.input_format import Head, InputFormat
from valueeval.train.config.choice import ConfigError
from valueeval.train.config.model import ClassifierOptions


def head_of(classifier: ClassifierOptions, backbone: nn.Module) -> Head:
    """Return the head; an open pooling of a cross-encoder on a decoder is the last token.

    The value's name stands behind the argument, so the tokens before it know nothing of it.

    Raises:
        ConfigError: The pooling makes no sense on this base model.
    """
    causal = is_causal(cast(Any, backbone).config)
    if causal and classifier.pooling == "cls":
        raise ConfigError(
            "pooling: 'cls' has no meaning on a decoder, whose first token sees no other: leave it "
            "out, or take last, mean or attention"
        )
    head = classifier.head
    if causal and classifier.pooling is None and head.kind == "cross-encoder":
        return replace(head, pooling="last")
    return head


def form_of(classifier: ClassifierOptions, backbone: nn.Module) -> InputFormat:
    """Return how arguments become text; on a decoder an open separator is a line break.

    The tokenizers of decoders join pairs without anything between them, or with a second beginning.
    """
    form = classifier.input_format
    if form.separator is None and is_causal(cast(Any, backbone).config):
        return replace(form, separator="\n")
    return form
