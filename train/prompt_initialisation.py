"""Where a soft prompt starts (``--init``).

``random``
    Numbers drawn from a normal distribution with mean and deviation of the word embeddings.
``vocabulary``
    Embeddings of words drawn from the vocabulary, special tokens left out.
``template``
    The words of the task ``valueeval_cls``; with ``--template`` the instruction of that template.
``values``
    Virtual token i is the mean embedding of the words that describe value i (from the first again
    after the twentieth).
any other text
    Its words.

A text's tokens fill the virtual tokens in turn, from its beginning again if it is short, cut if it
is long. Lester et al., 2021, section 3.2, compare the first two; the virtual tokens of a prefix are
keys and values in every layer: those that the model itself has for these embeddings (Li and Liang,
2021, section 7.4).
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from valueeval.adapters.backbones import load_tokenizer
from valueeval.adapters.base import Base
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUES
from valueeval.train.config import TrainConfig
from valueeval.train.peft_methods import word_embeddings
from valueeval.train.questions import instruction

# The words of valueeval_cls around an argument.
TEMPLATE = (
    "Arguments appeal to human values: to what people hold to be good and worth striving for. "
    "Which human value does this argument appeal to?"
)


def starting_embeddings(backbone: nn.Module, config: TrainConfig, base: Base) -> torch.Tensor:
    """What the virtual tokens of a run start as: (virtual tokens, width).

    Raises:
        ValueEvalError: The text has no token.
    """
    init, tokens = config.init or "", config.virtual_tokens or 0
    if init == "template" and config.template is not None:
        init = instruction(config.template, config.paraphrase or 1)
    return initial_embeddings(init, tokens, word_embeddings(backbone), load_tokenizer(base.path))


def initial_embeddings(
    init: str, tokens: int, words: torch.Tensor, tokenizer: PreTrainedTokenizerBase
) -> torch.Tensor:
    """What the virtual tokens start as: (tokens, width).

    Args:
        init: ``random``, ``vocabulary``, ``template``, ``values``, or a text.
        tokens: Number of virtual tokens.
        words: The word embeddings, (vocabulary, width).
        tokenizer: Turns words into their numbers.

    Raises:
        ValueEvalError: The text has no token.
    """
    if init == "random":
        return words.mean() + words.std() * torch.randn(tokens, words.shape[1])
    if init == "vocabulary":
        special = torch.tensor(tokenizer.all_special_ids)
        plain = torch.arange(min(len(tokenizer), len(words)))
        plain = plain[~torch.isin(plain, special)]
        return words[plain[torch.randint(len(plain), (tokens,))]]
    if init == "values":
        means = torch.stack(
            [words[_numbers(value.short, tokenizer)].mean(dim=0) for value in VALUES]
        )
        return means[torch.arange(tokens) % len(means)]
    numbers = _numbers(TEMPLATE if init == "template" else init, tokenizer)
    return words[numbers[torch.arange(tokens) % len(numbers)]]


def _numbers(text: str, tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    numbers = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not numbers:
        raise ValueEvalError(f"init: {text!r}; allowed: a text with at least one token")
    return torch.tensor(numbers)
