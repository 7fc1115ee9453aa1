"""Method ``lora``: low-rank updates of every linear layer; the encoder itself is frozen.

Hu et al., 2022, «LoRA: low-rank adaptation of large language models». A layer with weights W
(out, in) becomes W + alpha / r B A with B (out, r) and A (r, in); A is random and B zero, so it
starts at the pretrained model. All linear layers have one, which Dettmers et al., 2023, section 4,
found necessary to match full fine-tuning, and which means the same on every architecture.

Trainable: r (in + out) for every linear layer, and the head.
"""

from __future__ import annotations

from peft import LoraConfig
from torch import nn

from valueeval.adapters.directory.base import Base
from valueeval.train.config.config import TrainConfig
from valueeval.train.methods.peft import attach, task_type


def prepare(backbone: nn.Module, config: TrainConfig, base: Base) -> nn.Module:
    """The encoder with a LoRA adapter."""
    lora = LoraConfig(
        task_type=task_type(backbone),
        r=config.lora_rank or 0,
        lora_alpha=config.lora_alpha or 0,
        lora_dropout=config.lora_dropout or 0.0,
        target_modules="all-linear",
    )
    return attach(backbone, lora, "lora")
