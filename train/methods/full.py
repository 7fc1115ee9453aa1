"""Methods ``full`` and ``prompt+full``: all weights of a model are trained.

The plainest way, and the upper bound that the parameter-efficient methods are measured against
(Devlin et al., 2019, section 3.2; Lester et al., 2021, «model tuning»). The result is a directory
of Transformers, for ``full`` with ``head.safetensors`` beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from valueeval.train.config.choice import Method

if TYPE_CHECKING:
    from torch import nn

    from valueeval.adapters.directory.base import Base


@dataclass(frozen=True)
class Full(Method):
    """All weights, with a head on top."""

    name: ClassVar = "full"
    summary: ClassVar = "all weights (Devlin et al., 2019)"
    epochs: ClassVar = 5
    learning_rate: ClassVar = 2e-4
    layer_decay: ClassVar = 0.9
    templates: ClassVar = False
    whole: ClassVar = True

    def prepare(self, backbone: nn.Module, base: Base, instruction: str) -> nn.Module:
        """Return the model as it is: every weight is trained."""
        return backbone


@dataclass(frozen=True)
class PromptFull(Full):
    """All weights of a language model that answers a template."""

    name: ClassVar = "prompt+full"
    summary: ClassVar = (
        "all weights of a language model that answers a --template (Lester et al., 2021, «model "
        "tuning»)"
    )
    epochs: ClassVar = 3
    learning_rate: ClassVar = 5e-5
    layer_decay: ClassVar = 1.0
    own_head_rate: ClassVar = False
    heads: ClassVar = False
    templates: ClassVar = True
