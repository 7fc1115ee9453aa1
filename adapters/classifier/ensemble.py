"""Several adapters as one model: ``adapter=A+B+C``, or a directory that lists them.

Averaging the outputs of separately trained networks is the simplest ensemble (Lakshminarayanan et
al., 2017; the winner of the shared task averages twelve). The logits z and the members' thresholds
τ as logits are averaged, so a value is predicted where the mean of z - τ is above 0: each logit
counts relative to its member's threshold, and nothing is tuned again. All members are in memory at
once; each reads the argument in its own input format.
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


class Ensemble:
    """The mean of several classifiers, with the interface of `Classifier`.

    Attributes:
        members: The classifiers.
        manifest: The manifest of all together; ``config.members`` lists them.
        tokenizer: The first member's tokenizer.
        model: The networks of all members.
        device: The device that they run on.
    """

    def __init__(self, members: Sequence[Classifier], manifest: Manifest) -> None:
        self.members = tuple(members)
        self.manifest = manifest
        self.tokenizer = self.members[0].tokenizer
        self.model = nn.ModuleList(member.model for member in self.members)
        self.device = self.members[0].device

    @property
    def cut(self) -> list[Argument]:
        """Return the arguments that a member has cut so far, each once."""
        return list(dict.fromkeys(argument for member in self.members for argument in member.cut))

    def logits(self, arguments: Sequence[Argument], batch_size: int = 32) -> np.ndarray:
        """Return the mean of the members' logits: float32, shape (arguments, 20)."""
        each = [member.logits(arguments, batch_size) for member in self.members]
        return np.asarray(np.mean(each, axis=0, dtype=np.float64), dtype=np.float32)


def load_adapter(adapter: str, device: str | torch.device | None = None) -> Classifier | Ensemble:
    """Load an adapter with a head, or several as one.

    Args:
        adapter: A path or a name on the hub (``org/name``, ``org/name@revision``); several joined
            by ``+``; or the directory of an average.
        device: The device to run on; None picks CUDA, MPS or the CPU, in that order of preference.

    Raises:
        ValueEvalError: One cannot be used, or they do not match.
    """
    return load_members(find_members(adapter), device)


def load_members(
    members: Members, device: str | torch.device | None = None
) -> Classifier | Ensemble:
    """Load adapters that have been read (and checked) already, as `load_adapter` does."""
    pairs = zip(members.folders, members.manifests, strict=True)
    classifiers = [load_classifier(folder, device, manifest) for folder, manifest in pairs]
    return classifiers[0] if len(classifiers) == 1 else Ensemble(classifiers, members.manifest)
