"""Method ``lora``: low-rank updates of every linear layer; the encoder itself is frozen.

Hu et al., 2022, «LoRA: low-rank adaptation of large language models». A layer with weights W
(out, in) becomes W + alpha / r B A with B (out, r) and A (r, in); A is random and B zero, so it
starts at the pretrained model. All linear layers have one, which Dettmers et al., 2023, section 4,
found necessary to match full fine-tuning, and which means the same on every architecture.

Trainable: r (in + out) for every linear layer, and the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from valueeval.train.config.choice import ONE_OR_MORE, SHARE, Method, option

if TYPE_CHECKING:
    from torch import nn

    from valueeval.adapters.directory.base import Base


@dataclass(frozen=True)
class Lora(Method):
    """Low-rank updates of the linear layers."""

    name: ClassVar = "lora"
    summary: ClassVar = "low-rank updates of the linear layers (Hu et al., 2022)"
    epochs: ClassVar = 10
    learning_rate: ClassVar = 5e-4
    layer_decay: ClassVar = 1.0
    sized_by: ClassVar = "rank"

    rank: int = option(
        8,
        "Rank of the updates. Source: Hu et al., 2022, D.1.",
        within=ONE_OR_MORE,
        flag="lora_rank",
        basic=True,
    )
    alpha: int = option(
        16,
        "Updates are scaled by lora_alpha / lora_rank. Source: our choice, as Hu et al., 2022, "
        "have for the larger RoBERTa.",
        within=ONE_OR_MORE,
        flag="lora_alpha",
    )
    dropout: float = option(
        0.1,
        "Share of what the updates read that is dropped in training. Source: Hu et al.'s released "
        "code, for GPT-2.",
        within=SHARE,
        flag="lora_dropout",
    )

    def prepare(self, backbone: nn.Module, base: Base, instruction: str) -> nn.Module:
        """Return the model with a LoRA adapter."""
        from peft import LoraConfig

        from valueeval.train.methods.peft import attach, task_type

        config = LoraConfig(
            task_type=task_type(backbone),
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules="all-linear",
        )
        return attach(backbone, config, self.name)
