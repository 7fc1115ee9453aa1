"""Loss ``focal``: what is answered well counts less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from valueeval.train.config.choice import ZERO_OR_MORE, Loss, option

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import nn

GAMMA_HELP = (
    "How much less easy answers count in losses focal and distribution-balanced. Default: 2 for "
    "focal, 0 for distribution-balanced (2 makes it «DB-focal»). Source: the papers."
)


@dataclass(frozen=True)
class Focal(Loss):
    """Cross-entropy in which easy answers count less."""

    name: ClassVar = "focal"
    summary: ClassVar = "what is answered well counts less (Lin et al., 2017)"

    gamma: float = option(2.0, GAMMA_HELP, within=ZERO_OR_MORE, flag="focal_gamma")

    def build(self, labels: npt.NDArray[np.bool_]) -> nn.Module:
        """Return the loss; see `Loss.build`."""
        from valueeval.train.objectives.losses import FocalLoss

        return FocalLoss(self.gamma)
