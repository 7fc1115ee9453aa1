"""Starting points of a soft prompt (``--init``).

``random``
    Numbers drawn from a normal distribution with mean and deviation of the word embeddings.
``vocabulary``
    Embeddings of words drawn from the vocabulary: of tokens that a text can consist of by itself,
    without special ones, those that stand for nothing (``[unused1]``) and pieces of words.
``template``
    The words of the task ``valueeval_cls``; with ``--template`` the instruction of that template.
``values``
    Virtual token i is the mean embedding of the words that describe value i (from the first again
    after the twentieth).
any other text
    Its words.

A text's tokens fill the virtual tokens in turn, from its beginning again if it is short, cut if it
is long. Lester et al., 2021, section 3.2, compare the first two (they draw from the 5000 most
common tokens, but few tokenizers say which these are). The virtual tokens of a prefix are keys and
values in every layer: those that the model itself has for these embeddings (Li and Liang, 2021,
section 7.4).
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from valueeval.adapters.classifier.backbones import load_tokenizer
from valueeval.adapters.directory.base import Base
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUES
from valueeval.train.methods.peft import word_embeddings


def starting_embeddings(
    backbone: nn.Module, init: str, tokens: int, base: Base, instruction: str
) -> torch.Tensor:
    """Return what virtual tokens start as: (tokens, width).

    Args:
        backbone: The model whose word embeddings they start from.
        init: ``random``, ``vocabulary``, ``template``, ``values``, or a text.
        tokens: Number of virtual tokens.
        base: The model's origin, whose tokenizer turns words into their numbers.
        instruction: The text that ``template`` stands for.

    Raises:
        ValueEvalError: The text has no token.
    """
    text = instruction if init == "template" else init
    return initial_embeddings(text, tokens, word_embeddings(backbone), load_tokenizer(base.path))


def initial_embeddings(
    init: str, tokens: int, words: torch.Tensor, tokenizer: PreTrainedTokenizerBase
) -> torch.Tensor:
    """Return what virtual tokens start as: (tokens, width).

    Args:
        init: ``random``, ``vocabulary``, ``values``, or a text.
        tokens: Number of virtual tokens.
        words: The word embeddings, (vocabulary, width).
        tokenizer: Turns words into their numbers.

    Raises:
        ValueEvalError: The text has no token.
    """
    if init == "random":
        return words.mean() + words.std() * torch.randn(tokens, words.shape[1])
    if init == "vocabulary":
        return words[_drawn_words(tokens, min(len(tokenizer), len(words)), tokenizer)]
    if init == "values":
        means = torch.stack(
            [words[_numbers(value.short, tokenizer)].mean(dim=0) for value in VALUES]
        )
        return means[torch.arange(tokens) % len(means)]
    numbers = _numbers(init, tokenizer)
    return words[numbers[torch.arange(tokens) % len(numbers)]]


def _drawn_words(tokens: int, vocabulary: int, tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """Draw words without replacement; repeat them in turn if there are too few."""
    special = {*tokenizer.all_special_ids}
    found: list[int] = []
    for number in torch.randperm(vocabulary).tolist():
        if number not in special and _is_a_word(number, tokenizer):
            found.append(number)
        if len(found) == tokens:
            break
    if not found:
        raise ValueEvalError("init: 'vocabulary': this tokenizer has no words; take random")
    return torch.tensor(found)[torch.arange(tokens) % len(found)]


def _is_a_word(number: int, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return True if a token's text becomes this token again."""
    text = str(tokenizer.decode([number]))
    return bool(text.strip()) and tokenizer(text, add_special_tokens=False)["input_ids"] == [number]


def _numbers(text: str, tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    numbers = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not numbers:
        raise ValueEvalError(f"init: {text!r}; allowed: a text with at least one token")
    return torch.tensor(numbers)
