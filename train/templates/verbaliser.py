"""A language model that answers in words: the model of a run with ``--template``.

The model reads the prompts of the template's task about each argument. With log-likelihoods ll, as
the task decides (`valueeval.tasks.templates.decide`), the 20 logits z are

``bca``
    z_v = ll(yes | question about v) - ll(no | question about v), each over all its spellings
``cls``
    z_v = ll(name of v | argument) - ll(name of v | empty argument)

and every ``--loss`` of a classifier's logits applies to these: with ``bce``, yes and no alone share
the probability (Schick and Schütze, 2021, «Exploiting cloze questions», section 3.1). The
other templates' answers are text; their loss is the mean of -log p over the tokens of the right
answers, of ``oa`` weighted like a classifier's positives: w_v where the argument has value v, else
1.

An argument is read once for all questions about it, as in evaluation; the common beginning of all
prompts is read once per batch. Gradients flow through both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import nn

from valueeval.adapters.reading.choose_reader import choose_reader
from valueeval.adapters.reading.token_tree import TokenTree
from valueeval.adapters.reading.types import EncodedPair, LoadedModel
from valueeval.adapters.runtime.batch_sizes import BatchLimits
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.templates.decide import differences
from valueeval.train.config.model import GENERATED
from valueeval.train.runtime.evaluation_mode import evaluating


class Asked(NamedTuple):
    """The answers to be scored about one argument.

    Attributes:
        own: Prompts of the argument and their answers.
        empty: Prompts of the empty argument (cls) and their answers, the same for every argument.
        weights: Weight of each of ``own``.
    """

    own: list[EncodedPair]
    empty: list[EncodedPair]
    weights: list[float]


@dataclass(frozen=True)
class Questions:
    """Arguments as a `Verbaliser` takes them."""

    asked: list[Asked]

    @property
    def lengths(self) -> list[int]:
        """Return the number of tokens of each argument's prompts; shared beginnings count once."""
        return [_distinct_tokens(one.own) for one in self.asked]

    def batch(self, rows: Sequence[int], device: torch.device) -> dict[str, Any]:
        """Return some of the arguments as ``asked``."""
        return {"asked": [self.asked[row] for row in rows]}


class Verbaliser(nn.Module):
    """A language model and a template.

    Args:
        model: A causal model or an encoder-decoder, or PEFT's wrapper of one.
        template: cls, mbc, bca, oa or cot.

    Raises:
        ValueEvalError: The model cannot share the beginning of prompts.
    """

    def __init__(self, model: nn.Module, template: str) -> None:
        super().__init__()
        self.model = model
        self.template = template
        known = cast(Any, model)
        backend = "seq2seq" if known.config.is_encoder_decoder else "causal"
        with evaluating(model):
            choice = choose_reader(
                LoadedModel(known, known.device, backend=backend), BatchLimits(1)
            )
        if choice.any_length is None:
            raise ValueEvalError(
                f"--template {template} does not work with this base: {choice.reason}"
            )
        self._reader = choice.any_length

    def forward(self, asked: Sequence[Asked]) -> torch.Tensor:
        """Return logits (batch, 20) or, where answers are text, each argument's loss (batch,)."""
        documents = [one.own for one in asked]
        empty = asked[0].empty
        said = self._reader.log_likelihoods([*documents, empty] if empty else documents)
        own = said[: len(said) - len(empty)].view(len(asked), -1)
        if self.template not in GENERATED:
            prior = said[len(said) - len(empty) :].expand(len(asked), -1)
            columns = torch.cat([own, prior], dim=1).unbind(dim=1)
            return torch.stack(differences(self.template, columns), dim=1)
        weights = own.new_tensor([one.weights for one in asked])
        lengths = own.new_tensor([[len(e.continuation) for e in one.own] for one in asked])
        return -(weights * own).sum(dim=1) / (weights * lengths).sum(dim=1)


class MeanLoss(nn.Module):
    """The mean of the model's outputs, which are losses already."""

    def forward(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean, a scalar, of losses (batch,)."""
        return outputs.mean()


def _distinct_tokens(encoded: Sequence[EncodedPair]) -> int:
    tree = TokenTree()
    for one in encoded:
        tree.add(one.context + one.continuation)
    return len(tree)
