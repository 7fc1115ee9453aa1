"""The faster dropout is dropout."""

import pytest
import torch
from torch import nn

from valueeval.train.runtime.dropout import Dropout, use_fast_dropout


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_drops_its_share_and_keeps_the_mean(share: float) -> None:
    torch.manual_seed(0)
    out = Dropout(share)(torch.ones(1000, 1000))
    # a million draws: the standard deviation of the share is below 0.0005
    assert (out == 0).float().mean().item() == pytest.approx(share, abs=0.002)
    assert out.mean().item() == pytest.approx(1.0, abs=0.004)
    assert out.max().item() == pytest.approx(1 / (1 - share), rel=1e-3)


def test_gradient_is_that_of_what_was_kept() -> None:
    given = torch.ones(50, 50, requires_grad=True)
    out = Dropout(0.5)(given)
    out.sum().backward()
    assert given.grad is not None
    assert torch.equal(given.grad, out.detach())


def test_follows_the_seed_of_torch() -> None:
    layer, ones = Dropout(0.3), torch.ones(8, 64)
    torch.manual_seed(5)
    first, second = layer(ones), layer(ones)
    torch.manual_seed(5)
    assert torch.equal(layer(ones), first)
    assert not torch.equal(first, second)


def test_bfloat16_stays_bfloat16() -> None:
    assert Dropout(0.1)(torch.ones(4, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nothing_and_everything(share: float) -> None:
    assert torch.equal(Dropout(share)(torch.ones(3, 3)), torch.full((3, 3), 1 - share))


def test_evaluation_leaves_everything_as_it_is() -> None:
    given = torch.randn(4, 4)
    assert torch.equal(Dropout(0.5).eval()(given), given)


def test_takes_the_place_of_torchs_own_in_the_same_mode() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(0.2), nn.Dropout2d(0.3)))
    model.eval()
    use_fast_dropout(model)
    replaced, other = model[1]
    assert isinstance(replaced, Dropout)
    assert (replaced.p, replaced.training) == (0.2, False)
    assert type(other) is nn.Dropout2d
