"""``--heads cross-encoder``: an argument is read 20 times, each time with a value beside it.

A pair of texts, the argument and the description of a value, is read together, so that the words
of one attend to those of the other; one linear layer, the same for all values, turns what is pooled
into the value's logit. Nogueira and Cho, 2019, «Passage re-ranking with BERT», section 3, read a
question and a passage so; Chai et al., 2020, «Description based text classification with
reinforcement learning», a text and the description of a class.

It costs 20 readings an argument, in evaluation too: 26 times the tokens of a single head on the
real data, 38 times with the long descriptions. With ``--values_per_step k`` training has k of
them, drawn anew for each argument in each step; the mean loss over k values drawn at random is an
unbiased estimate of that over 20.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from valueeval.adapters.classifier.classifier import Batch
from valueeval.tasks.values import VALUE_NAMES
from valueeval.train.data.inputs import Inputs

_VALUES = len(VALUE_NAMES)
# Inputs read at once in evaluation; in training the loop sees to it that a batch fits in memory.
_EVALUATION_BATCH = 64
# A logit so far on the right side costs nothing, in float32, under every loss.
_CERTAIN = 100.0


@dataclass(frozen=True)
class EachValue:
    """Arguments that have 20 inputs each.

    Attributes:
        inputs: The inputs, those of an argument in the order of the values.
        values_per_step: Number of an argument's values in a batch, drawn at random by PyTorch's
            generator; None is all of them.
    """

    inputs: Inputs
    values_per_step: int | None = None

    @property
    def lengths(self) -> list[int]:
        """Length of what is read of each argument: of all inputs together, on average."""
        each = self.inputs.lengths
        read = self.values_per_step or _VALUES
        return [
            sum(each[first : first + _VALUES]) * read // _VALUES
            for first in range(0, len(each), _VALUES)
        ]

    def batch(self, rows: Sequence[int], device: torch.device) -> Batch:
        """The inputs of some arguments, one after the other.

        If some are left out, ``values`` (rows, k) names those present.
        """
        if self.values_per_step is None:
            return self.inputs.batch(
                [_VALUES * row + v for row in rows for v in range(_VALUES)], device
            )
        values = torch.rand(len(rows), _VALUES).argsort(dim=1)[:, : self.values_per_step]
        first = _VALUES * torch.tensor(rows).unsqueeze(1)
        batch = self.inputs.batch((first + values).flatten().tolist(), device)
        return {**batch, "values": values.to(device)}


class AllValues(nn.Module):
    """A cross-encoder that answers for arguments: takes the batches of `EachValue`.

    Args:
        model: Gives a logit for each input, (inputs, 1).
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, values: torch.Tensor | None = None, **inputs: torch.Tensor) -> torch.Tensor:
        """Logits (arguments, 20); infinite for values that are not among ``values``."""
        logits = self._read(inputs)
        if values is None:
            return logits.view(-1, _VALUES)
        spread = logits.new_full((len(values), _VALUES), float("inf"))
        return spread.scatter(1, values, logits.view(values.shape))

    def _read(self, inputs: Batch) -> torch.Tensor:
        if self.training:
            return cast(torch.Tensor, self.model(**inputs))
        starts = range(0, len(inputs["attention_mask"]), _EVALUATION_BATCH)
        parts = [slice(start, start + _EVALUATION_BATCH) for start in starts]
        return torch.cat([self.model(**{k: t[part] for k, t in inputs.items()}) for part in parts])


class SampledLoss(nn.Module):
    """An unbiased estimate of a loss from the logits of some values.

    Args:
        loss: A mean over arguments and values, of logits (batch, 20) and targets: labels (batch,
            20), with a teacher's probabilities beside them (batch, 40) if there is one.
        values_per_step: Number of finite logits of an argument; the others count as right.
    """

    def __init__(self, loss: nn.Module, values_per_step: int) -> None:
        super().__init__()
        self.loss = loss
        self.factor = _VALUES / values_per_step

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The estimate, a scalar, of logits and targets as the loss takes them."""
        left_out, labels = logits.isinf(), targets[:, :_VALUES]
        right = torch.where(labels > 0, _CERTAIN, -_CERTAIN)
        parts = targets.shape[1] // _VALUES  # a teacher agrees with the label there
        targets = torch.where(left_out.repeat(1, parts), labels.repeat(1, parts), targets)
        loss = self.loss(torch.where(left_out, right, logits), targets)
        return cast(torch.Tensor, loss) * self.factor
