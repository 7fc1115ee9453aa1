"""How good a model is on validation: what epochs are compared by, and what the manifest keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import nn

from valueeval.adapters.classifier.classifier import batches_by_length, read_batches
from valueeval.adapters.directory.manifest import Thresholds
from valueeval.adapters.runtime.devices import device_of
from valueeval.tasks.scores.scoring import score
from valueeval.train.config.config import ThresholdsName
from valueeval.train.data.inputs import Split
from valueeval.train.loop.thresholds import choose_thresholds
from valueeval.train.runtime.processes import Processes

# Arguments read at once, where nothing is kept for a backward pass.
_BATCH = 64


@dataclass(frozen=True)
class Evaluation:
    """Thresholds tuned on validation, and the scores there with them.

    Attributes:
        thresholds: Those of split ``"none"`` for answers that are text, which no threshold touches.
        scores: By metric; ``macro_f1`` and ``official_f1`` are among them.
        prediction: Which values are predicted, (arguments, 20).
        finite: Whether the model gave numbers.
        of_this_model: Whether the scores are the model's. Where they are its teachers', no epoch is
            better than another: the last one is kept.
    """

    thresholds: Thresholds
    scores: dict[str, float | None]
    prediction: npt.NDArray[np.bool_]
    finite: bool = True
    of_this_model: bool = True

    @property
    def own_scores(self) -> dict[str, float | None]:
        """The model's scores; none where they are its teachers'."""
        return self.scores if self.of_this_model else {}

    @property
    def macro_f1(self) -> float:
        """The score that epochs are compared by; 0 where it is undefined."""
        return self.scores["macro_f1"] or 0.0


Evaluate = Callable[[nn.Module], Evaluation]
"""Evaluates a model, which is in evaluation mode and on the device where it is trained.

Of several processes each calls it, and what it gives in the main one counts.
"""


@dataclass(frozen=True)
class OutOfFold:
    """Thresholds for a model that has seen all labels: tuned on answers by others that had not.

    Args:
        labels: Of the training data, (arguments, 20).
        logits: Out of fold, (arguments, 20): each argument's by teachers that it was left out of.
        thresholds: How they are chosen there.
    """

    labels: npt.NDArray[np.bool_]
    logits: npt.NDArray[np.float32]
    thresholds: ThresholdsName

    def __call__(self, model: nn.Module) -> Evaluation:
        """The same for every model: thresholds, and the scores of the teachers with them."""
        thresholds = choose_thresholds(self.thresholds, self.labels, self.logits, "training")
        prediction = thresholds.decide(self.logits)
        return Evaluation(
            thresholds, score(self.labels, prediction), prediction, of_this_model=False
        )


@dataclass(frozen=True)
class EvaluateLogits:
    """Evaluates a model that gives logits (batch, 20).

    Args:
        validation: What is read and scored.
        thresholds: How they are chosen there.
        processes: Those that share the reading.
        name: What the manifest calls it.
    """

    validation: Split
    thresholds: ThresholdsName
    processes: Processes
    name: str = "validation"

    def __call__(self, model: nn.Module) -> Evaluation:
        """Chooses thresholds on validation and scores it with them."""
        truth, logits = self.validation.labels, self._logits(model)
        thresholds = choose_thresholds(self.thresholds, truth, logits, self.name)
        prediction = thresholds.decide(logits)
        finite = bool(np.isfinite(logits).all())
        return Evaluation(thresholds, score(truth, prediction), prediction, finite)

    def _logits(self, model: nn.Module) -> npt.NDArray[np.float32]:
        """Those of all arguments, (arguments, 20); each process reads its share of the batches.

        Where memory runs out, half as many at once.
        """
        inputs, device = self.validation.inputs, device_of(model)
        batches = list(batches_by_length(inputs.lengths, _BATCH))
        own = list(
            read_batches(
                model,
                self.processes.own(batches),
                lambda rows: inputs.batch(rows, device),
                "arguments",
            )
        )
        logits = np.zeros(self.validation.labels.shape, dtype=np.float32)
        for rows, answers in zip(batches, self.processes.collect(own), strict=True):
            logits[rows] = answers
        return logits
