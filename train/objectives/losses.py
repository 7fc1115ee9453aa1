"""Losses over 20 independent yes-or-no questions, the options of ``--loss``.

z are logits and y labels (0 or 1), both of shape (batch, 20); s is the logistic function; every
loss is a mean over arguments and values. n_k is how many of the N training arguments have value k.

``bce``
    -(w_k y log s(z) + (1 - y) log(1 - s(z))) with w_k = ((N - n_k) / n_k)^power.
``focal``
    -(1 - p)^gamma log p, where p = s(z) if y = 1, else 1 - s(z). Lin et al., 2017, «Focal loss for
    dense object detection», equation 4.
``distribution-balanced``
    -r (y log s(z - b_k) + (1 - y) log(1 - s(l (z - b_k))) / l), where r weighs how rare value k is
    beside the argument's values, b_k shifts it towards its frequency, and l lets negatives that
    are answered well count less. Wu et al., 2020, «Distribution-balanced loss for multi-label
    classification in long-tailed datasets», with the constants of their released code for COCO (its
    factor of the whole loss left out); without their sampling by class, as Huang et al., 2021,
    «Balancing methods for multi-label text classification with long-tailed class distribution»,
    who take m = 0.9 in place of 0.2.

With a teacher, whose logits are t, and its weight v (``--teacher``, ``--teacher_weight``):

    (1 - v) bce(z, y) - v (s(t) log s(z) + (1 - s(t)) log(1 - s(z))),

Hinton et al., 2015, «Distilling the knowledge in a neural network», section 2, with 20 sigmoids in
place of a softmax. With w = 1 it is cross-entropy against (1 - v) y + v s(t). The teacher's part
has no weights w: a teacher that was trained with them says w p / (w p + 1 - p) where p is the
frequency of the value among arguments like this, and weighing that again would square them. There
is no temperature: it brings out the small probabilities of a softmax, of which there are none here.
Beside the other two losses, which are smaller by a factor that changes as training goes on, the
weight would not say how much the teacher counts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid


def positive_weights(labels: npt.NDArray[np.bool_], power: float) -> torch.Tensor:
    """Return how much a positive label weighs against a negative one, for each value.

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


class DistillationLoss(nn.Module):
    """A loss on labels, mixed with cross-entropy against a teacher's probabilities.

    Args:
        loss: The loss of logits and labels.
        weight: The weight of the teacher, v; 1 leaves the labels out.
    """

    def __init__(self, loss: nn.Module, weight: float) -> None:
        super().__init__()
        self.loss = loss
        self.weight = weight

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean loss, a scalar.

        Args:
            logits: (batch, 20).
            targets: Labels, then the teacher's probabilities: (batch, 40).
        """
        labels, probabilities = targets.chunk(2, dim=1)
        soft = binary_cross_entropy_with_logits(logits, probabilities)
        mixed: torch.Tensor = (1 - self.weight) * self.loss(logits, labels) + self.weight * soft
        return mixed


class FocalLoss(nn.Module):
    """Cross-entropy in which what is already answered well counts less (Lin et al., 2017).

    Without their factor alpha: it balances positives against negatives, which thresholds do here.

    Args:
        gamma: 0 is plain cross-entropy; the paper's best is 2.
    """

    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean loss, a scalar, of logits and labels (batch, 20)."""
        entropy = binary_cross_entropy_with_logits(logits, labels, reduction="none")
        return (_focus(logits, labels, self.gamma) * entropy).mean()


class DistributionBalancedLoss(nn.Module):
    """Rebalanced weights and negative-tolerant logits (Wu et al., 2020).

    - r = a + s(b (R - m)) for value k and an argument with the values S, where
      R = (1 / n_k) / (sum over i in S of 1 / n_i): how much rarer k is than the argument's own
      values. Sampling rare values more often also samples the common ones beside them; R undoes
      that.
    - b_k = 0.05 / l log(N / n_k - 1) shifts value k towards its frequency; the slope l saturates
      negatives sooner.

    a = 0.1, b = 10, m = 0.2, l = 2 and 0.05 are those of the released configuration for COCO.

    Args:
        labels: The labels of the training data, (arguments, 20).
        gamma: Above 0, easy answers count less, as in the focal loss: the paper's DB-focal has 2.
    """

    ALPHA, BETA, MU = 0.1, 10.0, 0.2
    LAMBDA, KAPPA = 2.0, 0.05
    rarity: torch.Tensor
    bias: torch.Tensor

    def __init__(self, labels: npt.NDArray[np.bool_], gamma: float = 0.0) -> None:
        super().__init__()
        self.gamma = gamma
        # A value that no or every argument has would have an infinite bias.
        positives = np.clip(labels.sum(axis=0), 1, max(len(labels) - 1, 1))
        odds = np.maximum(len(labels) / positives - 1, 1e-3)
        bias = self.KAPPA / self.LAMBDA * np.log(odds)
        self.register_buffer("rarity", torch.tensor(1 / positives, dtype=torch.float32))
        self.register_buffer("bias", torch.tensor(bias, dtype=torch.float32))

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean loss, a scalar, of logits and labels (batch, 20)."""
        slope = torch.where(labels > 0, 1.0, self.LAMBDA)
        shifted = slope * (logits - self.bias)
        entropy = binary_cross_entropy_with_logits(shifted, labels, reduction="none") / slope
        return (self.weights(labels) * _focus(shifted, labels, self.gamma) * entropy).mean()

    def weights(self, labels: torch.Tensor) -> torch.Tensor:
        """The weight of each value for each argument, between a and 1 + a: (batch, 20)."""
        own = (labels * self.rarity).sum(dim=1, keepdim=True)
        # An argument without any value: its ratio is infinite, its weight the largest.
        return self.ALPHA + torch.sigmoid(self.BETA * (self.rarity / own - self.MU))


def _focus(logits: torch.Tensor, labels: torch.Tensor, gamma: float) -> torch.Tensor | float:
    """(1 - p)^gamma, where p is the probability given to the right answer."""
    if gamma == 0:
        return 1.0
    # As an exponential of a logarithm: its gradient is finite where 1 - p is 0.
    return torch.exp(gamma * logsigmoid(torch.where(labels > 0, -logits, logits)))
