"""The losses of `--loss`, against numbers worked out by hand."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from valueeval.train.config.config import TrainConfig
from valueeval.train.objectives import LOSSES
from valueeval.train.objectives.losses import (
    DistributionBalancedLoss,
    FocalLoss,
    positive_weights,
    weighted_bce,
)
from valueeval.train.options import configure

LOG3 = log(3)  # the logit of 3/4


def sigmoid(z: float) -> float:
    return 1 / (1 + exp(-z))


def two_values() -> np.ndarray:
    """4 arguments: value 0 in 1 of them, value 1 in 3, value 2 in 2, the others in none."""
    labels = np.zeros((4, 20), dtype=bool)
    labels[0, 0] = labels[:3, 1] = labels[:2, 2] = True
    return labels


def test_focal_by_hand() -> None:
    """Right with 3/4: a quarter squared is left of log(4/3); wrong with 3/4: 9/16 of log 4."""
    logits = torch.full((1, 20), LOG3)
    right = FocalLoss(2.0)(logits, torch.ones(1, 20))
    assert right.item() == pytest.approx(log(4 / 3) / 16)
    wrong = FocalLoss(2.0)(logits, torch.zeros(1, 20))
    assert wrong.item() == pytest.approx(log(4) * 9 / 16)


def test_focal_with_gamma_0_is_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(5, 20), torch.rand(5, 20).round()
    expected = binary_cross_entropy_with_logits(logits, labels)
    assert FocalLoss(0.0)(logits, labels).item() == pytest.approx(expected.item())


def test_rebalanced_weights_by_hand() -> None:
    """Counts 1, 3, 2. An argument with value 1 alone: R is 1 for it, else 3 and 3/2.

    One with values 0 and 1: 1 + 1/3 in all, so R is 3/4, 1/4 and 3/8.
    """
    loss = DistributionBalancedLoss(two_values())
    labels = torch.zeros(2, 20)
    labels[0, 1] = labels[1, 0] = labels[1, 1] = 1.0
    weights = loss.weights(labels)
    for row, ratios in enumerate([(3, 1, 3 / 2), (3 / 4, 1 / 4, 3 / 8)]):
        expected = [0.1 + sigmoid(10 * (ratio - 0.2)) for ratio in ratios]
        assert weights[row, :3].tolist() == pytest.approx(expected)


def test_an_argument_without_values_has_the_largest_weights() -> None:
    loss = DistributionBalancedLoss(two_values())
    assert loss.weights(torch.zeros(1, 20)).tolist() == [pytest.approx([1.1] * 20)]


def test_biases_by_hand() -> None:
    """Value 0 has odds of 3 to 1 against it, value 1 of 1 to 3, value 2 even ones."""
    bias = DistributionBalancedLoss(two_values()).bias
    assert bias[:3].tolist() == pytest.approx([0.025 * LOG3, -0.025 * LOG3, 0.0])


def test_distribution_balanced_by_hand() -> None:
    """Value 2 (no bias) at logit log 3: y = 1 costs log(4/3), y = 0 costs log(1 + 3²) / 2."""
    loss = DistributionBalancedLoss(two_values())
    logits = torch.full((1, 20), -40.0)  # the others cost nothing
    logits[0, 2] = LOG3
    labels = torch.zeros(1, 20)
    labels[0, 2] = 1.0
    expected = (0.1 + sigmoid(8.0)) * log(4 / 3) / 20
    assert loss(logits, labels).item() == pytest.approx(expected, rel=1e-5)
    negative = 1.1 * log(10) / 2 / 20
    assert loss(logits, torch.zeros(1, 20)).item() == pytest.approx(negative, rel=1e-5)
    focal = DistributionBalancedLoss(two_values(), gamma=2.0)
    assert focal(logits, labels).item() == pytest.approx(expected / 16, rel=1e-5)
    # Wrong with a probability of 9/10: 81/100 is left.
    assert focal(logits, torch.zeros(1, 20)).item() == pytest.approx(negative * 0.81, rel=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        configure("x"),
        configure("x", pos_weight_power=0.0),
        configure("x", loss="focal"),
        configure("x", loss="focal", focal_gamma=0.5),
        configure("x", loss="distribution-balanced"),
        configure("x", loss="distribution-balanced", focal_gamma=2.0),
    ],
)
def test_gradients_are_finite_and_pull_towards_the_labels(config: TrainConfig) -> None:
    loss = config.loss.build(two_values())
    labels = torch.zeros(2, 20)
    labels[0, :10] = 1.0  # the second argument has no value at all
    for size in (0.0, 1.0, 30.0, 1e4):
        for logits in (torch.full((2, 20), size), torch.full((2, 20), -size)):
            logits.requires_grad_()
            loss(logits, labels).backward()
            assert logits.grad is not None
            assert torch.isfinite(logits.grad).all()
            up = torch.where(labels > 0, -logits.grad, logits.grad)
            # Where the answer is right and sure, rounding may turn the slope by a hair.
            assert (up >= -1e-8).all()
            if size <= 1:
                assert (up > 0).all()


def test_values_of_no_and_of_every_argument() -> None:
    labels = np.zeros((3, 20), dtype=bool)
    labels[:, 0] = True
    for name in LOSSES:
        loss = configure("x", loss=name).loss.build(labels)
        assert torch.isfinite(loss(torch.randn(3, 20), torch.from_numpy(labels).float()))
    one = np.ones((1, 20), dtype=bool)
    assert torch.isfinite(DistributionBalancedLoss(one)(torch.zeros(1, 20), torch.ones(1, 20)))


def test_positive_weights_by_hand() -> None:
    """4 arguments: value 0 has 1 positive (3 negatives each), value 1 has 2, value 2 none."""
    labels = np.zeros((4, 20), dtype=bool)
    labels[0, 0] = labels[0, 1] = labels[1, 1] = True
    for power, first in ((0.0, 1.0), (0.5, 3**0.5), (1.0, 3.0)):
        weights = positive_weights(labels, power)
        assert weights[:3].tolist() == pytest.approx([first, 1.0, 1.0])


def test_loss_by_hand() -> None:
    """At logit 0 each answer costs log 2, a positive one its weight times that."""
    weights = torch.ones(20)
    weights[0] = 3.0
    labels = torch.zeros(1, 20)
    labels[0, 0] = 1.0
    loss = weighted_bce(weights)(torch.zeros(1, 20), labels)
    assert loss.item() == pytest.approx(np.log(2) * (19 + 3) / 20)
