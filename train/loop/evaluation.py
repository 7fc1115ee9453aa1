"""Evaluate a model on validation: scores to compare epochs by, and thresholds for the manifest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import nn

from valueeval.adapters.classifier.classifier import read_batches
from valueeval.adapters.classifier.encoding import batches_by_length
from valueeval.adapters.directory.manifest import Thresholds
from valueeval.adapters.runtime.devices import device_of
from valueeval.tasks.scores.scoring import score
from valueeval.train.config.config import ThresholdsName
from valueeval.train.data.inputs import Split
from valueeval.train.loop.thresholds import choose_thresholds
from valueeval.train.runtime.processes import Processes
from valueeval.train.runtime.progress import Pulse

# Arguments read at once, where nothing is kept for a backward pass.
_BATCH = 64
TEXT_ALONE_SCORE = "macro_f1_text_alone"
"""The score of premises alone, with the thresholds of whole arguments."""


@dataclass(frozen=True)
class Evaluation:
    """Thresholds tuned on validation, and the scores there with them.

    Attributes:
        thresholds: The thresholds; of split ``"none"`` where answers are text.
        scores: By metric; ``macro_f1`` and ``official_f1`` are among them.
        prediction: True for predicted values, (arguments, 20).
        finite: True if all logits are finite.
        of_this_model: True if the scores are the model's own. Where they are its teachers', no
            epoch is better than another, and the last one is kept.
    """

    thresholds: Thresholds
    scores: dict[str, float | None]
    prediction: npt.NDArray[np.bool_]
    finite: bool = True
    of_this_model: bool = True

    @property
    def own_scores(self) -> dict[str, float | None]:
        """Return the model's own scores; empty where they are its teachers'."""
        return self.scores if self.of_this_model else {}

    @property
    def macro_f1(self) -> float:
        """Return the score that epochs are compared by; 0 where it is undefined."""
        return self.scores["macro_f1"] or 0.0


Evaluate = Callable[[nn.Module], Evaluation]
"""Evaluates a model that is in evaluation mode and on its training device.

Every process calls it; the main process's result counts.
"""


@dataclass(frozen=True)
class OutOfFold:
    """Tune thresholds for a model that has seen all labels, on out-of-fold answers of teachers.

    Args:
        labels: The labels of the training data, (arguments, 20).
        logits: Out-of-fold logits, (arguments, 20): each argument is answered by teachers that
            were not trained on it.
        thresholds: The way to choose thresholds.
    """

    labels: npt.NDArray[np.bool_]
    logits: npt.NDArray[np.float32]
    thresholds: ThresholdsName

    def __call__(self, model: nn.Module) -> Evaluation:
        """Return thresholds and the teachers' scores with them, the same for every model."""
        thresholds = choose_thresholds(self.thresholds, self.labels, self.logits, "training")
        prediction = thresholds.decide(self.logits)
        return Evaluation(
            thresholds, score(self.labels, prediction), prediction, of_this_model=False
        )


@dataclass(frozen=True)
class EvaluateLogits:
    """Evaluates a model that gives logits (batch, 20).

    Args:
        validation: The arguments to read and score.
        thresholds: The way to choose thresholds.
        processes: The processes that share the reading.
        name: The manifest's name for these arguments.
    """

    validation: Split
    thresholds: ThresholdsName
    processes: Processes
    name: str = "validation"

    def __call__(self, model: nn.Module) -> Evaluation:
        """Choose thresholds on validation and score the model with them."""
        truth, logits = self.validation.labels, self._logits(model)
        thresholds = choose_thresholds(self.thresholds, truth, logits, self.name)
        prediction = thresholds.decide(logits)
        finite = bool(np.isfinite(logits).all())
        return Evaluation(thresholds, score(truth, prediction), prediction, finite)

    def macro_f1(self, model: nn.Module, thresholds: Thresholds) -> float | None:
        """Return a model's macro_f1 with given thresholds, without tuning any."""
        prediction = thresholds.decide(self._logits(model))
        return score(self.validation.labels, prediction)["macro_f1"]

    def _logits(self, model: nn.Module) -> npt.NDArray[np.float32]:
        """Return the logits of all arguments, (arguments, 20).

        Each process reads its share of the batches; a batch is halved where memory runs out.
        """
        inputs, device = self.validation.inputs, device_of(model)
        batches = list(batches_by_length(inputs.lengths, _BATCH))
        shared = self.processes.share(batches)
        pulse = Pulse(self.name, sum(map(len, shared)))
        own = []
        for answers in read_batches(
            model, shared, lambda rows: inputs.batch(rows, device), "arguments"
        ):
            own.append(answers)
            pulse.advance(len(answers))
        logits = np.zeros(self.validation.labels.shape, dtype=np.float32)
        for rows, answers in zip(batches, self.processes.collect(own), strict=True):
            logits[rows] = answers
        return logits
