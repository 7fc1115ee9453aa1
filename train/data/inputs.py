"""The inputs of a model in training, in padded batches: tokens, or features of them.

With ``--text_alone_share`` a model reads each argument in one of two forms: whole, or its premise
alone, as `valueeval predict` reads texts without conclusion and stance. Which one is drawn anew for
every epoch, from the seed. The labels stay those of the argument, and so do a teacher's
probabilities, which come from the whole argument.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.utils.rnn import pad_sequence

from valueeval.adapters.classifier.classifier import Batch, collate
from valueeval.adapters.classifier.encoding import TokenizedArguments
from valueeval.tasks.data.dataset import DataSet

# Tells this draw from the order of an epoch, which comes from seed and epoch.
_TEXT_ALONE = 1


class Inputs(Protocol):
    """Arguments as a model takes them, one input each (a cross-encoder: 20 each)."""

    @property
    def lengths(self) -> list[int]:
        """Return the length of each input, in tokens or features."""

    def batch(self, rows: Sequence[int], device: torch.device) -> Batch:
        """Return some inputs, padded to the longest, as the model's keyword arguments."""


@dataclass(frozen=True)
class Tokens:
    """Arguments as tokens for a whole classifier.

    Attributes:
        encoded: The arguments.
        padding: The padding token.
        multiple: Pad the length of a batch up to a multiple of this number, at most to the longest
            argument of all.
    """

    encoded: TokenizedArguments
    padding: int
    multiple: int = 1

    @property
    def lengths(self) -> list[int]:
        """Return the number of tokens of each argument."""
        return self.encoded.lengths

    def batch(self, rows: Sequence[int], device: torch.device) -> Batch:
        """Return ``input_ids`` and the tensors that belong to them, (rows, longest)."""
        if self.multiple == 1:
            return collate(self.encoded, rows, self.padding, device)
        longest = max(len(self.encoded.inputs[row]["input_ids"]) for row in rows)
        length = min(rounded_up(longest, self.multiple), self._longest)
        return collate(self.encoded, rows, self.padding, device, length)

    @cached_property
    def _longest(self) -> int:
        return max(self.encoded.lengths)


@dataclass(frozen=True)
class Features:
    """Arguments as hidden states for the head alone, each (length, width)."""

    states: list[torch.Tensor]

    @property
    def lengths(self) -> list[int]:
        """Return the number of hidden states of each argument."""
        return [len(states) for states in self.states]

    def batch(self, rows: Sequence[int], device: torch.device) -> Batch:
        """Return ``hidden`` (rows, longest, width) and ``attention_mask`` (rows, longest)."""
        hidden = pad_sequence([self.states[row] for row in rows], batch_first=True)
        lengths = torch.tensor([len(self.states[row]) for row in rows])
        mask = (torch.arange(hidden.shape[1]) < lengths.unsqueeze(1)).long()
        return {"hidden": hidden.to(device), "attention_mask": mask.to(device)}


@dataclass(frozen=True)
class TwoForms:
    """Arguments in two forms, of which each is read in one.

    Attributes:
        inputs: All arguments whole, then all of them as premises alone, (2 arguments).
        alone: True for arguments that are read as premises alone, (arguments,).
    """

    inputs: Inputs
    alone: npt.NDArray[np.bool_]

    @property
    def lengths(self) -> list[int]:
        """Return the length of each argument in the form that is read."""
        both = self.inputs.lengths
        return [both[self._place(row)] for row in range(len(self.alone))]

    def batch(self, rows: Sequence[int], device: torch.device) -> Batch:
        """Return some arguments, padded to the longest, as the model's keyword arguments."""
        return self.inputs.batch([self._place(row) for row in rows], device)

    def _place(self, row: int) -> int:
        return row + len(self.alone) * int(self.alone[row])


@dataclass(frozen=True)
class Split:
    """Arguments as the model takes them, with their labels.

    Attributes:
        inputs: The arguments; with a `text_alone_share` all whole, then all as premises alone.
        labels: (arguments, 20).
        teacher: A teacher's logits, (arguments, 20), if there is one.
        text_alone_share: The share of arguments that an epoch shows as premises alone, if
            `inputs` holds both forms; else None.
    """

    inputs: Inputs
    labels: npt.NDArray[np.bool_]
    teacher: npt.NDArray[np.float32] | None = None
    text_alone_share: float | None = None

    @property
    def targets(self) -> torch.Tensor:
        """Return the labels as floats, followed by a teacher's probabilities if there is one."""
        labels = torch.from_numpy(self.labels).float()
        if self.teacher is None:
            return labels
        return torch.cat([labels, torch.from_numpy(self.teacher).sigmoid()], dim=1)

    def inputs_in(self, epoch: int, seed: int) -> Inputs:
        """Return the arguments as an epoch (from 0) shows them, one input each.

        The draw depends on seed, epoch and row alone, so a resumed run sees the same; with the
        same seed, a larger share shows all that a smaller one shows alone, and more.
        """
        if self.text_alone_share is None:
            return self.inputs
        drawn = np.random.default_rng([seed, epoch, _TEXT_ALONE]).random(len(self.labels))
        return TwoForms(self.inputs, drawn < self.text_alone_share)


def rounded_up(length: int, multiple: int) -> int:
    """Return the smallest multiple that is not below a length."""
    return math.ceil(length / multiple) * multiple


def premises_alone(data: DataSet) -> DataSet:
    """Return a data set without conclusions and stances, as texts that stand alone."""
    arguments = (replace(argument, conclusion="", stance="") for argument in data.arguments)
    return replace(data, arguments=tuple(arguments))


def in_both_forms(data: DataSet) -> DataSet:
    """Return all arguments whole, then all of them as premises alone; labels likewise."""
    return replace(
        data,
        arguments=data.arguments + premises_alone(data).arguments,
        labels=np.concatenate([data.labels, data.labels]),
    )
