"""Heads: poolings by hand, and how the kinds relate."""

from __future__ import annotations

from math import log, sqrt

import pytest
import torch
from torch import nn

from valueeval.adapters.classifier.heads import ValueHead
from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.input_format import Head

# One argument: two tokens of width 2, and padding that must not count.
HIDDEN = torch.tensor([[[1.0, 4.0], [3.0, 8.0], [100.0, 100.0]]])
MASK = torch.tensor([[1, 1, 0]])


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("mean", [2.0, 6.0]),
        ("cls", [1.0, 4.0]),
        ("last", [3.0, 8.0]),
        ("attention", [2.0, 6.0]),
    ],
)
def test_poolings_by_hand(pooling: str, expected: list[float]) -> None:
    """An untrained attention weighs all tokens alike."""
    head = ValueHead("linear", pooling, 2)
    assert head.pool(HIDDEN, MASK).tolist() == [expected]


def test_attention_by_hand() -> None:
    """A query that scores the second token log 3 above the first: it weighs 3/4."""
    head = ValueHead("linear", "attention", 2)
    head.query.data = torch.tensor([[log(3) / 2 * sqrt(2), 0.0]])  # 2 apart in the first feature
    torch.testing.assert_close(head.pool(HIDDEN, MASK), torch.tensor([[2.5, 7.0]]))


def test_each_value_attends_on_its_own() -> None:
    """Value 0 looks at the second token alone, value 1 at the first; classifiers read feature 0."""
    head = ValueHead("multiple", "attention", 2)
    head.query.data[0, 0], head.query.data[1, 0] = 100.0, -100.0
    nn.init.zeros_(head.weight)
    head.weight.data[:, 0] = 1.0
    head.bias.data = torch.arange(20.0)
    logits = head(HIDDEN, MASK)[0]
    assert logits[:3].tolist() == pytest.approx([3.0, 1.0 + 1.0, 2.0 + 2.0])


def test_untrained_multiple_heads_are_a_single_one_on_the_mean() -> None:
    multiple, single = ValueHead("multiple", "attention", 2), ValueHead("linear", "mean", 2)
    single.weight, single.bias = multiple.weight, multiple.bias
    torch.testing.assert_close(multiple(HIDDEN, MASK), single(HIDDEN, MASK))


@pytest.mark.parametrize("kind", ["linear", "multiple", "cross-encoder"])
def test_every_parameter_learns(kind: str) -> None:
    head = ValueHead(kind, "attention", 2)
    head(HIDDEN, MASK)[0, :5].sum().backward()
    for parameter in head.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


def test_counts_by_hand() -> None:
    """Width 2: 20 weights of 2 and 20 biases, or one of each; one query of 2, or 20."""
    sizes = {
        ("linear", "mean"): 60,
        ("linear", "attention"): 62,
        ("multiple", "attention"): 100,
        ("cross-encoder", "mean"): 3,
        ("cross-encoder", "attention"): 5,
    }
    for (kind, pooling), size in sizes.items():
        head = ValueHead(kind, pooling, 2)
        assert sum(parameter.numel() for parameter in head.parameters()) == size


def test_a_cross_encoder_has_one_layer_for_all_values() -> None:
    head = ValueHead("cross-encoder", "last", 2)
    head.weight.data, head.bias.data = torch.tensor([[1.0, 0.5]]), torch.tensor([0.25])
    assert head(HIDDEN, MASK).tolist() == [[3.0 + 4.0 + 0.25]]


def test_multiple_heads_pool_by_attention() -> None:
    with pytest.raises(ManifestError, match=r"head\.pooling: 'mean'; allowed: attention"):
        Head("multiple", "mean")
