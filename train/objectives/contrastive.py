"""Contrastive learning: its loss and queue; beside the classifier's loss (``--contrastive joint``).

Arguments with values in common attract each other, others repel. With features u of length 1 (the
head's pooled vectors), the label sets Y, a temperature T, and for argument i the others k of the
batch and of the queue:

    J_ij = |Y_i and Y_j| / |Y_i or Y_j|                                   (Jaccard)
    loss_i = -sum_j J_ij / (sum_k J_ik) log( exp(u_i u_j / T) / sum_k exp(u_i u_k / T) )

and its mean over the arguments that share a value with any other: the supervised contrastive loss
(Khosla et al., 2020, equation 2) with positives weighted by how much they share (Lin et al., 2023,
«An effective deployment of contrastive learning in multi-label text classification», JSCL).
The queue holds the latest features and labels, so that positives need not be in the batch; they are
constants there (Wang et al., 2020, «Cross-batch memory»). With ``joint`` the whole is

    loss = classifier's loss + weight · contrastive loss;

a batch that is read in parts (``--max_tokens_per_microbatch``), or by several processes, has the
loss of the whole batch all the same (`valueeval.train.loop.gradient_cache`);
`valueeval.train.loop.pretraining` has it in a stage of its own.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn.functional import normalize

from valueeval.adapters.classifier.classifier import ValueClassifier
from valueeval.tasks.values import VALUE_NAMES

_VALUES = len(VALUE_NAMES)


class WithFeatures(nn.Module):
    """A classifier that, in training, returns its features beside its logits; with their queue.

    The queue is among the tensors of a checkpoint, so a resumed run continues with it.

    Args:
        classifier: The classifier; in evaluation mode this module returns its logits alone.
        queue: Number of remembered arguments.
    """

    past_features: torch.Tensor
    past_labels: torch.Tensor
    seen: torch.Tensor

    def __init__(self, classifier: ValueClassifier, queue: int) -> None:
        super().__init__()
        self.classifier = classifier
        width = classifier.head.weight.shape[1]
        self.register_buffer("past_features", torch.zeros(queue, width))
        self.register_buffer("past_labels", torch.zeros(queue, _VALUES))
        self.register_buffer("seen", torch.tensor(0))

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, 20), in training with features of length 1: (batch, 20 + width)."""
        head = self.classifier.head
        pooled = head.pool(self.classifier.hidden(**inputs), inputs["attention_mask"])
        logits = head.classify(pooled)
        if not self.training:
            return logits
        one = pooled.mean(dim=1) if pooled.ndim == 3 else pooled  # one vector per value: their mean
        return torch.cat([logits.float(), normalize(one.float(), dim=1)], dim=1)

    def past(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features and labels in the queue: (n, width), (n, 20)."""
        n = min(int(self.seen), len(self.past_features))
        return self.past_features[:n], self.past_labels[:n]

    def remember(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        """Put arguments into the queue, replacing the oldest ones."""
        size = len(self.past_features)
        features, labels = features.detach()[-size:], labels[-size:]
        places = (torch.arange(len(features), device=features.device) + self.seen) % size
        self.past_features[places] = features
        self.past_labels[places] = labels
        self.seen += len(features)


class ContrastiveLoss(nn.Module):
    """The contrastive loss of the outputs of `WithFeatures`.

    Args:
        memory: The model, whose queue is read and filled.
        temperature: T.
    """

    def __init__(self, memory: WithFeatures, temperature: float) -> None:
        super().__init__()
        self._memory = (memory,)  # not a part of this module
        self.temperature = temperature

    def forward(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar, of outputs (batch, 20 + width) and labels (batch, 20).

        Further columns of the labels (a teacher's probabilities) are ignored.
        """
        (memory,), features, labels = self._memory, outputs[:, _VALUES:], labels[:, :_VALUES]
        loss = contrastive_loss(features, labels, *memory.past(), self.temperature)
        memory.remember(features, labels)
        return loss


class JointLoss(nn.Module):
    """The classifier's loss plus the contrastive loss, of the outputs of `WithFeatures`.

    Args:
        loss: The loss of logits and labels.
        contrast: The contrastive loss.
        weight: The weight of the contrastive loss.
    """

    def __init__(self, loss: nn.Module, contrast: ContrastiveLoss, weight: float) -> None:
        super().__init__()
        self.loss = loss
        self.contrast = contrast
        self.weight = weight

    def forward(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the sum, a scalar, of outputs (batch, 20 + width) and labels (batch, 20)."""
        plain = self.loss(outputs[:, :_VALUES], labels)
        return cast(torch.Tensor, plain + self.weight * self.contrast(outputs, labels))


def contrastive_loss(
    features: torch.Tensor,
    labels: torch.Tensor,
    past_features: torch.Tensor,
    past_labels: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """Return the contrastive loss of a batch, a scalar; 0 if no two arguments share a value.

    Args:
        features: Vectors of length 1, (batch, width).
        labels: (batch, labels), floats; 20 labels, or any others.
        past_features: Features of the queue, (n, width).
        past_labels: (n, labels).
        temperature: T.
    """
    others = torch.cat([features, past_features])
    other_labels = torch.cat([labels, past_labels])
    if len(others) == 1:
        return features.sum() * 0.0
    itself = torch.eye(len(features), len(others), dtype=torch.bool, device=features.device)
    similarity = features @ others.T / temperature
    similarity = similarity.masked_fill(itself, float("-inf"))
    log_share = (similarity - similarity.logsumexp(dim=1, keepdim=True)).masked_fill(itself, 0.0)
    shared = labels @ other_labels.T
    union = labels.sum(dim=1, keepdim=True) + other_labels.sum(dim=1) - shared
    jaccard = (shared / union.clamp(min=1)).masked_fill(itself, 0.0)
    total = jaccard.sum(dim=1)
    has_positives = total > 0
    losses = -(jaccard * log_share).sum(dim=1) / total.clamp(min=1e-9)
    return losses[has_positives].sum() / has_positives.sum().clamp(min=1)
