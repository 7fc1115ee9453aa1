"""Options shared by the three soft prompts: virtual tokens before the text."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import ClassVar

from valueeval.train.config.choice import ONE_OR_MORE, ConfigError, Method, option

INITS = ("random", "vocabulary", "template", "values")
"""Where a soft prompt can start, besides a text."""

INIT_HELP = (
    "Where the virtual tokens of prompt-tuning and prefix-tuning start: random (numbers), "
    "vocabulary (words drawn from it), template (the words of valueeval_cls; with --template the "
    "task's instruction), values (each the mean of a value's description), or any other text. A "
    "prefix starts from the model's keys and values for these words (that of an encoder-decoder, "
    "which stands before its answer, from random ones alone). Default: vocabulary for "
    "prompt-tuning, random for prefix-tuning. Source: Lester et al., 2021, 3.2; Li and Liang, "
    "2021, 7.4; values: our choice."
)
HIDDEN_SIZE_HELP = (
    "Width of the network that makes the virtual tokens of p-tuning and prefix-tuning. null is "
    "that of the word embeddings for p-tuning, and no network for prefix-tuning. Source: Liu et "
    "al., 2021; Liu et al., 2022 («P-tuning v2»), 3.3."
)


@dataclass(frozen=True)
class SoftPromptMethod(Method):
    """Virtual tokens before the text; the pretrained weights are frozen."""

    epochs: ClassVar = 10
    learning_rate: ClassVar = 3e-2
    head_learning_rate: ClassVar = 1e-3
    sized_by: ClassVar = "virtual_tokens"

    virtual_tokens: int = option(
        20,
        "Virtual tokens of a soft prompt. Source: Lester et al., 2021, 3.2: more than 20 gain "
        "little.",
        within=ONE_OR_MORE,
        basic=True,
    )

    @property
    def prompt_length(self) -> int:
        """Virtual tokens that a text shares the model's context with."""
        return self.virtual_tokens


def check_init(init: str) -> None:
    """Refuse an empty text, and a slip for a keyword: it would be a text, and nobody would see.

    Raises:
        ConfigError: It is one of these.
    """
    if not init.strip():
        raise ConfigError(f"init: {init!r}; allowed: {', '.join(INITS)} or a text")
    if init in INITS or len(init.split()) > 1 or init != init.strip():
        return
    word = init.casefold()
    begun = [known for known in INITS if len(word) > 2 and known.startswith(word)]
    meant = begun or get_close_matches(word, INITS, n=1, cutoff=0.75)
    if meant:
        raise ConfigError(
            f"init: {init!r} would be a text to start from; take {meant[0]!r} if you mean that, "
            f"or {init + ' '!r}, with a blank, for the word itself"
        )
