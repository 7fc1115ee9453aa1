"""A model that labels without a network: value number i for texts that name it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from valueeval.adapters.predict.labelling import Labels
from valueeval.tasks.data.dataset import Argument
from valueeval.tasks.values import VALUE_NAMES


class NamingModel:
    """Decides on the values whose names occur in the premise; keeps what it has read."""

    def __init__(self) -> None:
        self.read: list[Argument] = []

    def label(self, arguments: Sequence[Argument]) -> Labels:
        """Return 2 as the logit of values that are named, -2 of the others."""
        self.read += arguments
        logits = [
            [2.0 if name in argument.premise else -2.0 for name in VALUE_NAMES]
            for argument in arguments
        ]
        return Labels(np.array(logits), np.zeros(len(VALUE_NAMES)))
