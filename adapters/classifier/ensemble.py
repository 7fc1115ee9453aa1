"""Several adapters as one model: ``adapter=A+B+C``, or a directory that lists them.

Averaging the outputs of separately trained networks is the plainest ensemble (Lakshminarayanan et
al., 2017; the winner of the shared task averages twelve). Here it is a mean of logits z, and of the
members' thresholds τ as logits, so that a value is predicted where the mean of z - τ is above 0: a
member's own tuned threshold decides what its logit means, and nothing is tuned anew. All members
are in memory at once; each reads the argument in its own way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from valueeval.adapters.classifier.classifier import Classifier, load_classifier
from valueeval.adapters.directory.ensemble import Members, find_members
from valueeval.adapters.directory.manifest import Manifest
from valueeval.tasks.data.dataset import Argument


class Average:
    """The mean of several classifiers; to be used as one of them (see `Classifier`).

    Attributes:
        members: The classifiers.
        manifest: What describes them together; ``config.members`` lists them.
        tokenizer: The first one's.
        model: All their networks.
        device: Where they run.
    """

    def __init__(self, members: Sequence[Classifier], manifest: Manifest) -> None:
        self.members = tuple(members)
        self.manifest = manifest
        self.tokenizer = self.members[0].tokenizer
        self.model = nn.ModuleList(member.model for member in self.members)
        self.device = self.members[0].device

    @property
    def cut(self) -> list[Argument]:
        """Arguments that a member has cut so far, each once."""
        return list(dict.fromkeys(argument for member in self.members for argument in member.cut))

    @property
    def truncated(self) -> int:
        """How many arguments a member has cut so far."""
        return len(self.cut)

    def logits(self, arguments: Sequence[Argument], batch_size: int = 32) -> np.ndarray:
        """The mean of the members' logits: float32, shape (arguments, 20)."""
        each = [member.logits(arguments, batch_size) for member in self.members]
        return np.asarray(np.mean(each, axis=0, dtype=np.float64), dtype=np.float32)


def load_adapter(adapter: str, device: str | torch.device | None = None) -> Classifier | Average:
    """Loads an adapter with a head, or several as one.

    Args:
        adapter: A path or a name on the hub (``org/name``, ``org/name@revision``); several joined
            by ``+``; or the directory of an average.
        device: Where to run; None picks CUDA, MPS or the CPU, in that order of preference.

    Raises:
        ValueEvalError: One cannot be used, or they do not go together.
    """
    return load_members(find_members(adapter), device)


def load_members(
    members: Members, device: str | torch.device | None = None
) -> Classifier | Average:
    """As `load_adapter`, of adapters that have been read (and checked) already."""
    pairs = zip(members.folders, members.manifests, strict=True)
    classifiers = [load_classifier(folder, device, manifest) for folder, manifest in pairs]
    return classifiers[0] if len(classifiers) == 1 else Average(classifiers, members.manifest)
