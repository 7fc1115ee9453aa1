"""Method ``head``: the model stays as it is, the head alone is trained.

So its features do not change: they are computed once (`valueeval.train.data.features`), and an
epoch costs a small part of one that reads the text. Peters et al., 2019, «To tune or not to tune?»,
compare this with full fine-tuning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from valueeval.train.config.choice import Method

if TYPE_CHECKING:
    from torch import nn

    from valueeval.adapters.directory.base import Base


@dataclass(frozen=True)
class HeadOnly(Method):
    """Nothing but the head."""

    name: ClassVar = "head"
    summary: ClassVar = "nothing but the head; features are computed once (Peters et al., 2019)"
    epochs: ClassVar = 50
    learning_rate: ClassVar = 1e-3
    own_head_rate: ClassVar = False
    templates: ClassVar = False
    frozen: ClassVar = True
    why_no_checkpointing: ClassVar = "keeps nothing of the layers"

    def prepare(self, backbone: nn.Module, base: Base, instruction: str) -> nn.Module:
        """Return the model, frozen."""
        return backbone.requires_grad_(False)
