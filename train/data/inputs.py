"""The inputs of a model in training, in padded batches: tokens, or features of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.utils.rnn import pad_sequence

from valueeval.adapters.classifier.classifier import Batch, TokenizedArguments, collate


class Inputs(Protocol):
    """Arguments as a model takes them, one input each (a cross-encoder: 20 each)."""

    @property
    def lengths(self) -> list[int]:
        """Return the length of each input, in tokens or features."""

    def batch(self, rows: Sequence[int], device: torch.device) -> Batch:
        """Return some inputs, padded to the longest, as the model's keyword arguments."""


@dataclass(frozen=True)
class Tokens:
    """Arguments as tokens for a whole classifier; padding is the padding token."""

    encoded: TokenizedArguments
    padding: int

    @property
    def lengths(self) -> list[int]:
        """Return the number of tokens of each argument."""
        return self.encoded.lengths

    def batch(self, rows: Sequence[int], device: torch.device) -> Batch:
        """Return ``input_ids`` and the tensors that belong to them, (rows, longest)."""
        return collate(self.encoded, rows, self.padding, device)


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
class Split:
    """Arguments as the model takes them, with their labels.

    Attributes:
        inputs: The arguments.
        labels: (arguments, 20).
        teacher: A teacher's logits, (arguments, 20), if there is one.
    """

    inputs: Inputs
    labels: npt.NDArray[np.bool_]
    teacher: npt.NDArray[np.float32] | None = None

    @property
    def targets(self) -> torch.Tensor:
        """Return the labels as floats, followed by a teacher's probabilities if there is one."""
        labels = torch.from_numpy(self.labels).float()
        if self.teacher is None:
            return labels
        return torch.cat([labels, torch.from_numpy(self.teacher).sigmoid()], dim=1)
