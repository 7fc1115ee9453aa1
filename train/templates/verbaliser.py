"""A language model that answers in words: what is trained with ``--template``.

Of each argument the model reads the prompts of the template's task. With log-likelihoods ll, as the
task decides (`valueeval.tasks.templates.decide`), the 20 logits z are

``bca``
    z_v = ll(yes | question about v) - ll(no | question about v), each over all its spellings
``cls``
    z_v = ll(name of v | argument) - ll(name of v | empty argument)

and every ``--loss`` of a classifier's logits is one of these, too: with ``bce``, yes and no alone
share the probability (Schick and Schütze, 2021, «Exploiting cloze questions», section 3.1). The
other templates' answers are text; their loss is the mean of -log p over the tokens of the right
answers, of ``oa`` weighted like a classifier's positives: w_v where the argument has value v, else
1.

An argument is read once for all questions about it, as in evaluation; what all prompts begin with
is read once a batch. Gradients flow through both.
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
    """What is scored about one argument.

    Attributes:
        own: After its prompts.
        empty: After the empty argument (cls), the same for every argument.
        weights: How much each of ``own`` counts.
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
        """Tokens of each argument's prompts; what they begin with counts once."""
        return [_distinct_tokens(one.own) for one in self.asked]

    def batch(self, rows: Sequence[int], device: torch.device) -> dict[str, Any]:
        """``asked``: some of them."""
        return {"asked": [self.asked[row] for row in rows]}


class Verbaliser(nn.Module):
    """A language model and a template.

    Args:
        model: A causal model or an encoder-decoder, or PEFT's wrapper of one.
        template: cls, mbc, bca, oa or cot.

    Raises:
        ValueEvalError: It cannot share what prompts begin with.
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
        """Logits (batch, 20); or, where answers are text, the loss of each argument (batch,)."""
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
    """The mean of what the model gives, which is a loss already."""

    def forward(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """A scalar, of losses (batch,)."""
        return outputs.mean()


def _distinct_tokens(encoded: Sequence[EncodedPair]) -> int:
    tree = TokenTree()
    for one in encoded:
        tree.add(one.context + one.continuation)
    return len(tree)
