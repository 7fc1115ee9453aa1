"""Method ``prefix-tuning``: virtual keys and values in front of the text's in every layer.

Li and Liang, 2021, «Prefix-tuning: optimizing continuous prompts for generation»; for
classification by an encoder Liu et al., 2022, «P-tuning v2». With a hidden size the keys and values
come out of a two-layer perceptron while they are trained (Li and Liang, section 4.3; P-tuning v2
finds that it may help or hurt); without one they are trained themselves. What is saved is the keys
and values. PEFT does not support it on every architecture (not on DeBERTa v2, ModernBERT or the
encoder of a T5).

``--init random`` starts from PEFT's normal distribution; the others from the keys and values that
the model has for some words (`valueeval.train.methods.prompt_initialisation`), so that the prefix
of a decoder is a text before the text.

Trainable, with n virtual tokens, l layers, width d of the keys: 2 n l d, and the head; with a
perceptron of width h instead n d + d h + h + 2 l d (h + 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

from valueeval.tasks.errors import ValueEvalError
from valueeval.train.config.choice import ONE_OR_MORE, ConfigError, option
from valueeval.train.methods.soft_prompt import (
    HIDDEN_SIZE_HELP,
    INIT_HELP,
    SoftPromptMethod,
    check_init,
)

if TYPE_CHECKING:
    from torch import nn

    from valueeval.adapters.directory.base import Base


@dataclass(frozen=True)
class PrefixTuning(SoftPromptMethod):
    """Keys and values in every layer."""

    name: ClassVar = "prefix-tuning"
    summary: ClassVar = (
        "keys and values in every layer (Li and Liang, 2021; not on DeBERTa v2, ModernBERT and "
        "the encoder of a T5)"
    )
    why_no_checkpointing: ClassVar = "puts its keys and values where it forgets them"

    prompt_hidden_size: int | None = option(None, HIDDEN_SIZE_HELP, within=ONE_OR_MORE)
    init: str = option("random", INIT_HELP)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_init(self.init)
        if self.prompt_hidden_size is not None and self.init != "random":
            raise ConfigError(
                f"init: {self.init!r} has no meaning with --prompt_hidden_size, by whose network "
                "the prefix is made: leave one of them out"
            )

    def prepare(self, backbone: nn.Module, base: Base, instruction: str) -> nn.Module:
        """Return the model with a prefix in every layer.

        Raises:
            ValueEvalError: Its prefix cannot start from words.
        """
        from peft import PrefixTuningConfig

        from valueeval.train.methods.keys_and_values import keys_and_values
        from valueeval.train.methods.peft import (
            attach,
            prompt_embedding,
            soft_prompt_sizes,
            task_type,
        )
        from valueeval.train.methods.prompt_initialisation import starting_embeddings

        if self.init != "random" and task_type(backbone) == "SEQ_2_SEQ_LM":
            raise ValueEvalError(
                f"init: {self.init!r} has no meaning with --method prefix-tuning on an "
                "encoder-decoder, whose prefix stands before the answer, not the text: take "
                "--init random, or --method prompt-tuning"
            )
        width = cast(Any, backbone).config.hidden_size
        config = PrefixTuningConfig(
            task_type=task_type(backbone),
            num_virtual_tokens=self.virtual_tokens,
            prefix_projection=self.prompt_hidden_size is not None,
            encoder_hidden_size=self.prompt_hidden_size or width,  # read with projection only
            **soft_prompt_sizes(backbone, width),
        )
        model = attach(backbone, config, self.name)
        if self.init != "random":
            start = starting_embeddings(backbone, self.init, self.virtual_tokens, base, instruction)
            prompt_embedding(model).weight.data.copy_(keys_and_values(backbone, start))
        return model
