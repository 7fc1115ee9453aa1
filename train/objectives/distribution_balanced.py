"""Loss ``distribution-balanced``: rare values weigh more, easy negatives less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from valueeval.train.config.choice import ZERO_OR_MORE, Loss, option
from valueeval.train.objectives.focal import GAMMA_HELP

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import nn


@dataclass(frozen=True)
class DistributionBalanced(Loss):
    """Rebalanced weights and negative-tolerant logits."""

    name: ClassVar = "distribution-balanced"
    summary: ClassVar = (
        "values that are rare beside the argument's own weigh more, and negatives that are "
        "answered well less (Wu et al., 2020)"
    )

    gamma: float = option(0.0, GAMMA_HELP, within=ZERO_OR_MORE, flag="focal_gamma")

    def build(self, labels: npt.NDArray[np.bool_]) -> nn.Module:
        """Return the loss; see `Loss.build`."""
        from valueeval.train.objectives.losses import DistributionBalancedLoss

        return DistributionBalancedLoss(labels, self.gamma)
