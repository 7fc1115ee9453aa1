"""Method ``p-tuning``: virtual tokens before the text, made by a small network.

Liu et al., 2021, «GPT understands, too»: an embedding for each virtual token goes through a
three-layer perceptron, which ties them together while they are trained. What is saved is what comes
out: as many embeddings as virtual tokens. Only the text's own hidden states are pooled.

Trainable, with n virtual tokens, width d of the word embeddings and h of the perceptron: n d
embeddings, d h + h + h h + h + h d + d of the perceptron, and the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

from valueeval.train.config.choice import ONE_OR_MORE, option
from valueeval.train.methods.soft_prompt import HIDDEN_SIZE_HELP, SoftPromptMethod

if TYPE_CHECKING:
    from torch import nn

    from valueeval.adapters.directory.base import Base


@dataclass(frozen=True)
class PTuning(SoftPromptMethod):
    """Embeddings before the text, made by a network."""

    name: ClassVar = "p-tuning"
    summary: ClassVar = "the same, made by a network (Liu et al., 2021)"
    learning_rate: ClassVar = 1e-3

    prompt_hidden_size: int | None = option(None, HIDDEN_SIZE_HELP, within=ONE_OR_MORE)

    def prepare(self, backbone: nn.Module, base: Base, instruction: str) -> nn.Module:
        """Return the model with virtual tokens and their network."""
        from peft import PromptEncoderConfig

        from valueeval.train.methods.peft import attach, soft_prompt_sizes, task_type

        width = cast(Any, backbone).get_input_embeddings().weight.shape[1]
        config = PromptEncoderConfig(
            task_type=task_type(backbone),
            num_virtual_tokens=self.virtual_tokens,
            num_transformer_submodules=1,  # of an encoder-decoder the encoder
            encoder_hidden_size=self.prompt_hidden_size or width,
            **soft_prompt_sizes(backbone, width),
        )
        return attach(backbone, config, self.name)
