"""Method ``prompt-tuning``: virtual tokens before the text, nothing but their embeddings trained.

Lester et al., 2021, «The power of scale for parameter-efficient prompt tuning». Only the text's own
hidden states are pooled. Where the embeddings start matters (section 3.2 there): see
`valueeval.train.methods.prompt_initialisation`. Trainable: n d, with n virtual tokens and width d
of the
word embeddings, and the head.
"""

from __future__ import annotations

from peft import PromptTuningConfig
from torch import nn

from valueeval.adapters.directory.base import Base
from valueeval.train.config.config import TrainConfig
from valueeval.train.methods.peft import attach, prompt_embedding, soft_prompt_sizes, task_type
from valueeval.train.methods.prompt_initialisation import starting_embeddings


def prepare(backbone: nn.Module, config: TrainConfig, base: Base) -> nn.Module:
    """The model with virtual tokens, whose embeddings start as ``--init`` says."""
    tokens, start = config.virtual_tokens or 0, starting_embeddings(backbone, config, base)
    prompt = PromptTuningConfig(
        task_type=task_type(backbone),
        num_virtual_tokens=tokens,
        num_transformer_submodules=1,  # of an encoder-decoder the encoder (Lester et al., 2021)
        **soft_prompt_sizes(backbone, start.shape[1]),
    )
    model = attach(backbone, prompt, "prompt-tuning")
    prompt_embedding(model).weight.data.copy_(start)
    return model
