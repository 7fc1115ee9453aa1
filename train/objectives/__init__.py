"""Losses, contrastive learning, distillation and cross-encoders.

`LOSSES` and `CONTRASTIVE` name what can be chosen; those modules import nothing heavy.
"""

from valueeval.train.config.choice import Contrastive, Loss
from valueeval.train.objectives.bce import Bce
from valueeval.train.objectives.contrastive_stages import Joint, Pretrain
from valueeval.train.objectives.distribution_balanced import DistributionBalanced
from valueeval.train.objectives.focal import Focal

LOSSES: dict[str, type[Loss]] = {loss.name: loss for loss in (Bce, Focal, DistributionBalanced)}
CONTRASTIVE: dict[str, type[Contrastive]] = {stage.name: stage for stage in (Pretrain, Joint)}
