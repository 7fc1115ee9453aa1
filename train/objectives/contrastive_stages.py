"""Stages of contrastive learning (``--contrastive``): before the classifier, or beside it.

The loss and its queue are in `valueeval.train.objectives.contrastive`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from valueeval.train.config.choice import ABOVE_ZERO, ONE_OR_MORE, ConfigError, Contrastive, option

_QUEUE = 1024
_TEMPERATURE_HELP = (
    "Temperature of the contrastive loss: the lower, the more the nearest count. Default: 0.05 "
    "for pretrain, 0.1 for joint. Source: Gao et al., 2021; Khosla et al., 2020."
)
_QUEUE_HELP = (
    "Readings of arguments in earlier steps to compare with (not with views); pretraining has two "
    "an argument. Source: Wang et al., 2020; number: our choice."
)


@dataclass(frozen=True)
class Pretrain(Contrastive):
    """A stage before the classifier's training."""

    name: ClassVar = "pretrain"
    summary: ClassVar = "in a stage before the classifier's training"

    positives: Literal["labels", "views"] = option(
        "labels",
        "What pretrain draws together: labels (arguments with values in common), or views "
        "(nothing but two readings of an argument under different dropout). Source: Gao et al., "
        "2021 (SimCSE).",
        flag="contrastive_positives",
    )
    epochs: int = option(
        1,
        "Epochs of pretrain. Source: Gao et al., 2021, A.",
        within=ONE_OR_MORE,
        flag="contrastive_epochs",
    )
    temperature: float = option(
        0.05, _TEMPERATURE_HELP, within=ABOVE_ZERO, flag="contrastive_temperature"
    )
    queue: int = option(_QUEUE, _QUEUE_HELP, within=ONE_OR_MORE, flag="contrastive_queue")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.positives == "views" and self.queue != _QUEUE:
            raise ConfigError(
                f"contrastive_queue: {self.queue} has no meaning with --contrastive_positives "
                "views, which are compared within a batch: leave it out, or take "
                "--contrastive_positives labels"
            )


@dataclass(frozen=True)
class Joint(Contrastive):
    """Beside the classifier's loss."""

    name: ClassVar = "joint"
    summary: ClassVar = "beside the classifier's loss"

    weight: float = option(
        0.1,
        "How much the contrastive loss counts in joint. Source: our choice; Gunel et al., 2021, "
        "have the sum of both losses as well.",
        within=ABOVE_ZERO,
        flag="contrastive_weight",
    )
    temperature: float = option(
        0.1, _TEMPERATURE_HELP, within=ABOVE_ZERO, flag="contrastive_temperature"
    )
    queue: int = option(_QUEUE, _QUEUE_HELP, within=ONE_OR_MORE, flag="contrastive_queue")
