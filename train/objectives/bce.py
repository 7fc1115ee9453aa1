"""Loss ``bce``: binary cross-entropy, positives weighted by how rare their value is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from valueeval.train.config.choice import Loss, Range, option

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import nn


@dataclass(frozen=True)
class Bce(Loss):
    """Binary cross-entropy."""

    name: ClassVar = "bce"
    summary: ClassVar = "binary cross-entropy"

    pos_weight_power: float = option(
        0.5,
        "A value's positives weigh (negatives / positives) to this power, in loss bce and in "
        "answers to template oa: 0 is plain cross-entropy, 0.5 the square root, 1 balances them. "
        "Source: our choice.",
        within=Range("0 to 1", 0, 1),
    )

    def build(self, labels: npt.NDArray[np.bool_]) -> nn.Module:
        """Return the loss; see `Loss.build`."""
        from valueeval.train.objectives.losses import positive_weights, weighted_bce

        return weighted_bce(positive_weights(labels, self.pos_weight_power))
