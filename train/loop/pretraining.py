"""Pretrain contrastively, in a stage before the classifier's training (``--contrastive pretrain``).

Every argument is read twice, under two draws of dropout: two views of it. The option
``--contrastive_positives`` says which views attract each other:

``views``
    The two views of one argument alone; labels are not used. This is unsupervised SimCSE (Gao et
    al., 2021, section 3), with the views of both draws among the negatives.
``labels``
    Also the views of arguments with values in common, weighted by how much they share; the queue
    holds views of earlier batches.

The loss is that of `valueeval.train.objectives.contrastive`; with ``views`` each argument has a
label of its own. The head's pooling and the parameters of the method are trained, the head's linear
layer is not. Checkpoints are in the folder ``pretraining`` of the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import nn

from valueeval.adapters.classifier.classifier import Batch, ValueClassifier
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_NAMES
from valueeval.train.config.config import TrainConfig
from valueeval.train.data.inputs import Split
from valueeval.train.loop.optimizer import parameter_groups
from valueeval.train.loop.tracking import named
from valueeval.train.loop.training import RunContext, Stage, Training
from valueeval.train.objectives.contrastive import ContrastiveLoss, WithFeatures, contrastive_loss
from valueeval.train.objectives.contrastive_stages import Pretrain
from valueeval.train.runtime.progress import TrainingProgress
from valueeval.train.storage.atomic_writing import writing
from valueeval.train.storage.metrics import append_metrics

FOLDER = "pretraining"
_STAGE = "contrastive"  # its name in logs


class Pretraining(Training):
    """The contrastive stage: every batch is read twice, and nothing is evaluated.

    Args:
        config: The run's options.
        options: The stage's options.
        classifier: The model.
        training: The arguments to learn from.
        context: The run; the stage has a folder in the run's folder.
    """

    def __init__(
        self,
        config: TrainConfig,
        options: Pretrain,
        classifier: ValueClassifier,
        training: Split,
        context: RunContext,
    ) -> None:
        folder = context.folder / FOLDER
        with writing(context.folder):
            folder.mkdir(exist_ok=True)
        model = WithFeatures(classifier, options.queue)
        groups = _without_layer(parameter_groups(classifier, config.optimisation), model)
        loss: nn.Module = ContrastiveLoss(model, options.temperature)
        if options.positives == "views":
            loss = ViewsLoss(options.temperature)
        super().__init__(
            # Another seed, or both stages would draw the same orders and the same dropout.
            replace(
                config,
                optimisation=replace(config.optimisation, epochs=options.epochs),
                seed=config.seed ^ 0x9E3779B9,
            ),
            Stage(model, groups, loss, training, compares=True),
            replace(context, folder=folder, log=named(context.log, _STAGE)),
        )
        self.earlier_seconds = self.state.seconds

    def check_views(self) -> None:
        """Refuse a model without dropout, for which both views of an argument are the same.

        Raises:
            ValueEvalError: The model has no dropout.
        """
        self.model.train()
        with torch.no_grad():
            first, second = self._read([0])[:, len(VALUE_NAMES) :].chunk(2)
        # Dropout in LoRA's updates, which start at zero, changes nothing before the first step.
        backbone = cast(WithFeatures, self.model).classifier.backbone
        dropout = (module for module in backbone.modules() if isinstance(module, nn.Dropout))
        if torch.equal(first, second) and not any(module.p > 0 for module in dropout):
            raise ValueEvalError(
                "contrastive_positives: 'views' has no meaning with this base model, which has no "
                "dropout: both views of an argument are the same; use labels, or --method lora"
            )

    def outputs(self, batch: Batch) -> torch.Tensor:
        """Return both views, (2 batch, 20 + width): first views, then second ones."""
        return torch.cat([super().outputs(batch), super().outputs(batch)])

    def targets(self, rows: Sequence[int]) -> torch.Tensor:
        """Return the labels of both views, (2 batch, 20)."""
        return self.labels[rows].repeat(2, 1)

    def joined(self, outputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Join the parts of a batch: all first views, then all second ones."""
        first, second = zip(*(views.chunk(2) for views in outputs), strict=True)
        return torch.cat([*first, *second])

    def _end_epoch(self, loss: float, progress: TrainingProgress) -> None:
        epoch = self.state.step // self.steps_per_epoch
        self._account()
        line = {"stage": _STAGE, **self._line(epoch, loss)}
        with self.processes.together():
            if self.processes.is_main:
                append_metrics(self.folder, line)
        self._log({"epoch": epoch}, self.state.step)
        progress.console.print(f"contrastive epoch {epoch}: loss {loss:.4f}")


class ViewsLoss(nn.Module):
    """The contrastive loss with the two views of an argument as the only positives."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar, of outputs (2 batch, 20 + width): first, then second views."""
        features = outputs[:, len(VALUE_NAMES) :]
        own = torch.eye(len(features) // 2, device=features.device).repeat(2, 1)
        nothing = features[:0].detach(), own[:0]
        return contrastive_loss(features, own, *nothing, self.temperature)


def _without_layer(groups: Sequence[dict[str, Any]], model: WithFeatures) -> list[dict[str, Any]]:
    head = model.classifier.head
    layer = {id(head.weight), id(head.bias)}
    kept = [
        {**group, "params": [p for p in cast(Any, group["params"]) if id(p) not in layer]}
        for group in groups
    ]
    return [group for group in kept if group["params"]]
