"""Method ``prompt-tuning``: virtual tokens before the text, nothing but their embeddings trained.

Lester et al., 2021, «The power of scale for parameter-efficient prompt tuning». Only the text's own
hidden states are pooled. Where the embeddings start matters (section 3.2 there): see
`valueeval.train.methods.prompt_initialisation`. Trainable: n d, with n virtual tokens and width d
of the word embeddings, and the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from valueeval.train.config.choice import option
from valueeval.train.methods.soft_prompt import INIT_HELP, SoftPromptMethod, check_init

if TYPE_CHECKING:
    from torch import nn

    from valueeval.adapters.directory.base import Base


@dataclass(frozen=True)
class PromptTuning(SoftPromptMethod):
    """Embeddings before the text."""

    name: ClassVar = "prompt-tuning"
    summary: ClassVar = "embeddings before the text (Lester et al., 2021)"

    init: str = option("vocabulary", INIT_HELP)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_init(self.init)

    def prepare(self, backbone: nn.Module, base: Base, instruction: str) -> nn.Module:
        """Return the model with virtual tokens, whose embeddings start as ``--init`` says."""
        from peft import PromptTuningConfig

        from valueeval.train.methods.peft import (
            attach,
            prompt_embedding,
            soft_prompt_sizes,
            task_type,
        )
        from valueeval.train.methods.prompt_initialisation import starting_embeddings

        start = starting_embeddings(backbone, self.init, self.virtual_tokens, base, instruction)
        config = PromptTuningConfig(
            task_type=task_type(backbone),
            num_virtual_tokens=self.virtual_tokens,
            num_transformer_submodules=1,  # of an encoder-decoder the encoder (Lester et al., 2021)
            **soft_prompt_sizes(backbone, start.shape[1]),
        )
        model = attach(backbone, config, self.name)
        prompt_embedding(model).weight.data.copy_(start)
        return model
