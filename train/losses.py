"""Losses over 20 independent yes-or-no questions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn


def positive_weights(labels: npt.NDArray[np.bool_], power: float) -> torch.Tensor:
    """How much a positive label weighs against a negative one, for each value.

    Args:
        labels: (arguments, 20).
        power: 0 gives 1 for every value, 1 gives negatives / positives, 0.5 its square root.

    Returns:
        float32, shape (20,). A value with no positive has weight 1.
    """
    positives = labels.sum(axis=0)
    negatives = len(labels) - positives
    ratio = np.where(positives > 0, negatives / np.maximum(positives, 1), 1.0)
    # A value that every argument has would weigh 0 and never be learnt.
    return torch.tensor(np.maximum(ratio, 1e-3) ** power, dtype=torch.float32)


def weighted_bce(weights: torch.Tensor) -> nn.Module:
    """Binary cross-entropy, mean over arguments and values, positives weighted by value.

    loss = -mean(w * y * log s(z) + (1 - y) * log(1 - s(z))) with logits z and labels y of shape
    (batch, 20), weights w of shape (20,), and s the logistic function.
    """
    return nn.BCEWithLogitsLoss(pos_weight=weights)
