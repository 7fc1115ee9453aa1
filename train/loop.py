"""The training loop: steps, evaluation after each epoch, checkpoints, progress.

The randomness of a step is a function of the seed and the step's number, nothing else: its batch
comes from `epoch_batches` and its dropout from generators seeded for it. So a run that is killed
and resumed goes through the very same steps as one that is not.
"""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from safetensors.torch import load_file
from torch import nn
from transformers import get_scheduler

from valueeval.adapters.classifier import logits_in_batches
from valueeval.adapters.manifest import Thresholds
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scoring import score
from valueeval.train.batches import epoch_batches
from valueeval.train.checkpoint import (
    Best,
    State,
    best_file,
    load_checkpoint,
    load_model_tensors,
    model_tensors,
    save_checkpoint,
    save_tensors,
    write_text,
    writing,
)
from valueeval.train.config import TrainConfig
from valueeval.train.inputs import Inputs
from valueeval.train.progress import TrainingProgress, note
from valueeval.train.thresholds import choose_thresholds

METRICS_FILE = "metrics.jsonl"
# Arguments read at once in evaluation, where nothing is kept for a backward pass.
_EVALUATION_BATCH = 64
# Most tokens of a training batch that are read together, padding included: a batch of the longest
# arguments would otherwise need several times the memory of any other (2.6 instead of 1.5 GB).
_TOKENS_AT_ONCE = 2048


@dataclass(frozen=True)
class Split:
    """Arguments as the model takes them, with their labels (arguments, 20)."""

    inputs: Inputs
    labels: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Evaluation:
    """Thresholds tuned on validation, and the scores there with them."""

    thresholds: Thresholds
    scores: dict[str, float | None]

    @property
    def macro_f1(self) -> float:
        """The score that epochs are compared by; 0 where it is undefined."""
        return self.scores["macro_f1"] or 0.0


@dataclass(frozen=True)
class Fit:
    """A finished run: the model is at its best epoch.

    Attributes:
        best: That epoch.
        evaluation: Its thresholds and scores.
        state: Where the run ended: steps, seconds, memory.
    """

    best: Best
    evaluation: Evaluation
    state: State


class Training:
    """One run: a model on its way from the first step to the best epoch.

    Args:
        config: The run's options, none left open.
        model: Takes a batch of its inputs, returns logits (batch, 20).
        groups: Its trainable parameters as the optimizer takes them.
        loss: Of logits and labels, both (batch, 20), floats.
        training: What it learns from.
        validation: What epochs and thresholds are chosen on.
        folder: Where checkpoints and metrics.jsonl are.
        started: When this part of the run began, as `time.monotonic` told it.
    """

    def __init__(
        self,
        *,
        config: TrainConfig,
        model: nn.Module,
        groups: list[dict[str, Any]],
        loss: nn.Module,
        training: Split,
        validation: Split,
        folder: Path,
        started: float,
    ) -> None:
        self.config = config
        self.training = training
        self.lengths = training.inputs.lengths
        self.validation = validation
        self.folder = folder
        self.steps_per_epoch = math.ceil(len(training.labels) / config.batch_size)
        assert config.epochs is not None  # noqa: S101 (for the type checker)
        self.total_steps = config.epochs * self.steps_per_epoch
        # Precision is ours, not that of a user's accelerate configuration: see _step.
        self.accelerator = Accelerator(mixed_precision="no")
        if self.accelerator.num_processes > 1:
            raise ValueEvalError("training on several processes is not supported: start one")
        optimizer = torch.optim.AdamW(groups, fused=True)
        scheduler = get_scheduler(
            config.schedule,
            optimizer,
            num_warmup_steps=round(config.warmup * self.total_steps),
            num_training_steps=self.total_steps,
        )
        self.model, self.optimizer, self.scheduler = self.accelerator.prepare(
            model, optimizer, scheduler
        )
        self.loss = loss.to(self.accelerator.device)
        self.labels = torch.from_numpy(training.labels).float()
        self.state = load_checkpoint(folder, self.model, self.optimizer, self.scheduler)
        self._started = started - self.state.seconds
        self._forget_metrics_after(self.state.step)

    def run(self) -> Fit:
        """Trains to the end and returns to the best epoch.

        Raises:
            ValueEvalError: The loss is not a number, or a checkpoint cannot be written.
        """
        self.all_steps()
        best = self.state.best
        assert best is not None  # noqa: S101 (every epoch ends with an evaluation)
        load_model_tensors(self.model, load_file(best_file(self.folder, best.epoch)))
        evaluation = self.evaluate()
        self._account()
        return Fit(best, evaluation, self.state)

    def all_steps(self) -> None:
        """Goes through the steps that are left, with a checkpoint now and then.

        Raises:
            ValueEvalError: As `run`.
        """
        if self.state.step:
            note(f"going on after step {self.state.step} of {self.total_steps}")
        saved = time.monotonic()
        with TrainingProgress(self.total_steps, self.state.step) as progress:
            while self.state.step < self.total_steps:
                mean_loss = self._step()
                progress.step(mean_loss)
                end_of_epoch = self.state.step % self.steps_per_epoch == 0
                if end_of_epoch:
                    self._end_epoch(mean_loss, progress)
                if end_of_epoch or time.monotonic() - saved >= self.config.checkpoint_seconds:
                    self._account()
                    save_checkpoint(
                        self.folder, self.state, self.model, self.optimizer, self.scheduler
                    )
                    saved = time.monotonic()

    def evaluate(self) -> Evaluation:
        """Chooses thresholds on validation and scores it with them."""
        self.model.eval()
        inputs, device = self.validation.inputs, self.accelerator.device
        logits = logits_in_batches(
            self.model, inputs.lengths, _EVALUATION_BATCH, lambda rows: inputs.batch(rows, device)
        )
        truth = self.validation.labels
        thresholds = choose_thresholds(self.config.thresholds, truth, logits)
        return Evaluation(thresholds, score(truth, thresholds.decide(logits)))

    def _step(self) -> float:
        """One optimizer step; returns the mean loss of the epoch so far."""
        epoch, position = divmod(self.state.step, self.steps_per_epoch)
        if position == 0:
            self.state.loss_sum = 0.0
        rows = self._batches(epoch)[position]
        set_seed(_step_seed(self.config.seed, self.state.step))
        self.model.train()
        value = sum(self._backward(part, len(part) / len(rows)) for part in self._parts(rows))
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm)
        # Before the weights change, so that no checkpoint ever holds such weights.
        if not (math.isfinite(value) and torch.isfinite(norm)):
            raise ValueEvalError(
                f"step {self.state.step + 1} of {self.total_steps}: the loss is {value} and its "
                f"gradient {norm.item()}: training diverged. Lower --learning_rate (now "
                f"{self.config.learning_rate}); the last checkpoint is kept in {self.folder}"
            )
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        self.state.step += 1
        self.state.loss_sum += value
        return self.state.loss_sum / (position + 1)

    def _parts(self, rows: list[int]) -> list[list[int]]:
        """A batch in parts that are read one after the other, so that long texts fit in memory."""
        longest = max(self.lengths[row] for row in rows)
        size = max(1, _TOKENS_AT_ONCE // longest)
        return [rows[first : first + size] for first in range(0, len(rows), size)]

    def _backward(self, rows: list[int], share: float) -> float:
        """Adds the gradient of a part's loss, weighted by its share of the batch; returns that."""
        device = self.accelerator.device
        batch = self.training.inputs.batch(rows, device)
        bfloat16 = self.config.precision == "bfloat16"
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            logits = self.model(**batch)
        # Losses are means over arguments, so the parts' shares add up to the batch's mean.
        loss = self.loss(logits.float(), self.labels[rows].to(device)) * share
        self.accelerator.backward(loss)
        return float(loss.item())

    def _batches(self, epoch: int) -> list[list[int]]:
        if getattr(self, "_order", (None,))[0] != epoch:
            batches = epoch_batches(self.lengths, self.config.batch_size, self.config.seed, epoch)
            self._order = (epoch, batches)
        return self._order[1]

    def _end_epoch(self, loss: float, progress: TrainingProgress) -> None:
        epoch = self.state.step // self.steps_per_epoch
        evaluation = self.evaluate()
        if self.state.best is None or evaluation.macro_f1 > self.state.best.macro_f1:
            self.state.best = Best(epoch, evaluation.macro_f1)
            save_tensors(model_tensors(self.model), best_file(self.folder, epoch))
        self._account()
        self._record(epoch, loss, evaluation)
        progress.epoch(epoch, loss, evaluation.macro_f1, evaluation.scores["official_f1"] or 0.0)
        progress.best(self.state.best.macro_f1)

    def _account(self) -> None:
        self.state.seconds = time.monotonic() - self._started
        self.state.peak_memory_bytes = max(self.state.peak_memory_bytes, _peak_memory())

    def _record(self, epoch: int, loss: float, evaluation: Evaluation) -> None:
        line = {
            "step": self.state.step,
            "epoch": epoch,
            "loss": loss,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "seconds": round(self.state.seconds, 1),
            "thresholds": list(evaluation.thresholds.values),
            "validation": evaluation.scores,
        }
        path = self.folder / METRICS_FILE
        with writing(self.folder), path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line, allow_nan=False) + "\n")

    def _forget_metrics_after(self, step: int) -> None:
        """Drops the lines that a killed run wrote after its last checkpoint: they come again."""
        path = self.folder / METRICS_FILE
        if not path.exists():
            return
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                content = json.loads(line)
            except ValueError:
                break  # cut off in the middle of writing
            if content["step"] <= step:
                kept.append(line + "\n")
        write_text("".join(kept), path)


def _step_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])


def _peak_memory() -> int:
    """The largest resident set of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB
