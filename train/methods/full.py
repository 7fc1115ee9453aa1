"""Method ``full``: all weights of a model are trained, with a head on top.

The plainest way, and the upper bound that the parameter-efficient methods are measured against
(Devlin et al., 2019, section 3.2). The result is a Transformers model directory with
``head.safetensors`` beside it.
"""

from __future__ import annotations

from torch import nn

from valueeval.adapters.directory.base import Base
from valueeval.train.config.config import TrainConfig


def prepare(backbone: nn.Module, config: TrainConfig, base: Base) -> nn.Module:
    """The model as it is: every weight is trained."""
    return backbone
