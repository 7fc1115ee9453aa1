"""The training loop: steps, evaluation after each epoch, checkpoints, progress.

The randomness of a step depends only on the seed and the step's number: its batch comes from
`epoch_batches` and its dropout from generators seeded for it. So a run that is killed and resumed
takes the same steps as an uninterrupted one.

Several processes share the arguments of a batch. A step is the same as that of one process, except
for dropout, which each process draws by itself.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate.utils import convert_to_fp32, set_seed
from torch import nn
from transformers import get_scheduler

from valueeval.adapters.classifier.classifier import Batch
from valueeval.tasks.errors import ValueEvalError
from valueeval.train.config.config import TrainConfig
from valueeval.train.data.epoch_order import epoch_batches
from valueeval.train.data.inputs import Split, rounded_up
from valueeval.train.loop.cuda_graphs import PADDED_TO, GraphedPasses, add_gradient
from valueeval.train.loop.evaluation import Evaluate, Evaluation
from valueeval.train.loop.gradient_cache import backward_in_parts
from valueeval.train.loop.tracking import Log, no_log
from valueeval.train.runtime.processes import Processes
from valueeval.train.runtime.progress import TrainingProgress, note
from valueeval.train.storage.atomic_writing import save_tensors
from valueeval.train.storage.checkpoint import (
    Best,
    TrainingState,
    best_file,
    load_best,
    load_checkpoint,
    model_tensors,
    newest_step,
    save_checkpoint,
)
from valueeval.train.storage.metrics import append_metrics, forget_metrics_after
from valueeval.train.storage.output import check_still_free

_NONE: Mapping[str, torch.Tensor] = {}
# The largest share of the time that writing checkpoints may take: those of large models are rarer.
_SHARE_OF_WRITING = 0.05
_TARGETS = "targets"


@dataclass(frozen=True)
class Fit:
    """The result of a run whose model is at its best epoch.

    Attributes:
        best: The best epoch.
        evaluation: The thresholds and scores of the model.
        state: The end of the run: steps, seconds, memory.
    """

    best: Best
    evaluation: Evaluation
    state: TrainingState


@dataclass(frozen=True)
class Stage:
    """A model, what it learns from, and by which loss.

    Attributes:
        model: The module that runs in every step; takes a batch of the inputs of `training`.
        groups: Its trainable parameters, as `parameter_groups` returns them.
        loss: The mean loss of a batch, from the model's outputs in float32, such as logits
            (batch, 20), and the labels (batch, 20), floats; with a teacher its probabilities stand
            beside the labels (batch, 40).
        training: The arguments to learn from.
        evaluate: Scores the model after each epoch, to choose the best; None for a stage that ends
            at its last step.
        compares: True if the loss compares the arguments of a batch with each other, so that it is
            no mean over parts of the batch.
    """

    model: nn.Module
    groups: list[dict[str, Any]]
    loss: nn.Module
    training: Split
    evaluate: Evaluate | None = None
    compares: bool = False


@dataclass(frozen=True)
class RunContext:
    """The run that a stage belongs to.

    Attributes:
        folder: The folder of checkpoints and metrics.jsonl.
        started: `time.monotonic()` when this part of the run began.
        processes: The processes that share the work.
        log: Takes the losses of steps and the scores of epochs, beside metrics.jsonl.
    """

    folder: Path
    started: float
    processes: Processes
    log: Log = no_log


class Training:
    """The training of one stage, from the first step to the best epoch.

    Args:
        config: The run's options, none left open.
        stage: The model, its data and its loss.
        context: The run's folder, processes and log.
    """

    def __init__(self, config: TrainConfig, stage: Stage, context: RunContext) -> None:
        self.config = config
        self.processes = processes = context.processes
        self.folder = context.folder
        self.training = training = stage.training
        self._inputs = training.inputs_in(0, config.seed)
        self.lengths = self._inputs.lengths
        self._compares = stage.compares
        self._evaluate = stage.evaluate
        self._log = context.log
        optimisation = config.optimisation
        self.steps_per_epoch = steps_in(training, optimisation.batch_size)
        self.total_steps = steps_in(training, optimisation.batch_size, optimisation.epochs)
        self.model = stage.model.to(processes.device)
        # Compiling gives a second way to run the same model. Lengths differ from batch to batch, so
        # sizes are left open.
        self._forward = torch.compile(self.model, dynamic=True) if config.compile else self.model
        self._trained = [one for one in self.model.parameters() if one.requires_grad]
        self.optimizer = torch.optim.AdamW(stage.groups, fused=True)
        self.scheduler = get_scheduler(
            optimisation.schedule,
            self.optimizer,
            num_warmup_steps=round(optimisation.warmup_ratio * self.total_steps),
            num_training_steps=self.total_steps,
        )
        self.loss = stage.loss.to(processes.device)
        self.labels = training.targets
        self._graphs = self._cuda_graphs()
        self.state = self._newest_checkpoint()
        self._started = context.started - self.state.seconds
        self._checkpoint_due = False
        self._writing = 0.0  # seconds that a checkpoint takes; 0 until that is known
        self._best_evaluation: Evaluation | None = None  # None after a resumed run's best epoch
        self._order: tuple[int, list[list[int]]] = (-1, [])  # an epoch and its batches
        with processes.together():
            if processes.is_main:
                forget_metrics_after(self.folder, self.state.step)

    def run(self) -> Fit:
        """Train to the end and load the best epoch.

        It is evaluated once more only where an earlier part of the run did so.

        Raises:
            ValueEvalError: Training diverged, or a checkpoint cannot be written.
        """
        self.all_steps()
        best = self.state.best
        assert best is not None  # noqa: S101 (every epoch ends with an evaluation)
        load_best(self.folder, best.epoch, self.model)
        self.model.eval()
        evaluation = self._best_evaluation or self.evaluate()
        self._account()
        return Fit(best, evaluation, self.state)

    def all_steps(self) -> None:
        """Take the remaining steps, with a checkpoint from time to time.

        A checkpoint holds only weights that gave finite numbers, so a run that diverges is not
        resumed from ruined ones.

        Raises:
            ValueEvalError: Training diverged, or a checkpoint cannot be written.
        """
        if self.state.step:
            note(f"continuing after step {self.state.step} of {self.total_steps}")
        self._next_checkpoint = time.monotonic() + self.config.checkpoint_seconds
        self._last_write = time.monotonic()
        self.model.train()
        with TrainingProgress(self.total_steps, self.state.step) as progress:
            while self.state.step < self.total_steps:
                mean_loss = self._step()
                progress.step(mean_loss, self.config.optimisation.batch_size)
                end_of_epoch = self.state.step % self.steps_per_epoch == 0
                if end_of_epoch:
                    self._check_weights()
                    self._end_epoch(mean_loss, progress)
                    self.model.train()
                    if self._epoch_is_worth_writing():
                        self._save_checkpoint()
                    with self.processes.together():
                        if self.processes.is_main:
                            check_still_free(Path(self.config.output))
                else:
                    late = time.monotonic() >= self._next_checkpoint
                    # The next step shows whether these weights are finite.
                    self._checkpoint_due = self.processes.any(late)

    def evaluate(self) -> Evaluation:
        """Evaluate the model as it is now.

        Raises:
            ValueEvalError: Its logits are not finite.
        """
        assert self._evaluate is not None  # noqa: S101 (stages without it do not ask)
        self.model.eval()
        evaluation = self.processes.from_main(self._evaluate(self.model))
        if not evaluation.finite:
            raise self._diverged(self.state.step, "the logits on validation are not finite")
        return evaluation

    def outputs(self, batch: Batch) -> Any:
        """Return the model's outputs, which the loss is computed from."""
        return self._forward(**batch)

    def targets(self, rows: Sequence[int]) -> torch.Tensor:
        """Return the labels that the loss compares `outputs` with."""
        return self.labels[rows]

    def joined(self, outputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Join the outputs of a batch's parts."""
        return torch.cat(list(outputs))

    def _step(self) -> float:
        """Take one optimizer step and return the mean loss of the epoch so far."""
        epoch, position = divmod(self.state.step, self.steps_per_epoch)
        if position == 0:
            self.state.loss_sum = 0.0
        rows = self._batches(epoch)[position]
        set_seed(_step_seed(self.config.seed, self.state.step, self.processes.index))
        # A step fills the queue of contrastive learning before its weights change.
        due = self._checkpoint_due
        buffers = {name: one.clone() for name, one in self.model.named_buffers() if due}
        parts = self._parts(self.processes.share(rows))
        if self._compares and (len(parts) > 1 or self.processes.number > 1):
            value = self._backward_of_whole(rows, parts)
        else:
            start = torch.zeros((), device=self.processes.device)
            value = sum((self._backward(part, len(part) / len(rows)) for part in parts), start)
        value = self.processes.total(value)
        self.processes.sum_gradients(self._trained)
        norm = nn.utils.clip_grad_norm_(self._trained, self.config.optimisation.max_grad_norm)
        # The only GPU synchronisation of a step.
        loss, size = torch.stack([value.to(norm.device), norm]).tolist()
        if not (math.isfinite(loss) and math.isfinite(size)):
            what = f"the loss is {loss} and its gradient {size}"
            raise self._diverged(self.state.step + 1, what)
        if self._checkpoint_due:
            self._save_checkpoint(buffers)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad(set_to_none=self._graphs is None)
        self.state.step += 1
        self.state.loss_sum += loss
        self._log({"loss": loss, "learning_rate": self._learning_rate()}, self.state.step)
        return self.state.loss_sum / (position + 1)

    def _parts(self, rows: Sequence[int]) -> list[Sequence[int]]:
        """Split a batch into parts that are read one after the other.

        Otherwise a batch of the longest arguments would need far more memory than any other (2.6
        instead of 1.5 GB).
        """
        longest = max((self.lengths[row] for row in rows), default=1)
        most = self.config.max_tokens_per_microbatch
        if self._graphs is None:
            size = max(1, most // longest)
        else:  # powers of two, for few shapes
            size = 1 << (max(1, most // rounded_up(longest, PADDED_TO)).bit_length() - 1)
        return [rows[first : first + size] for first in range(0, len(rows), size)]

    def _backward(self, rows: Sequence[int], share: float) -> torch.Tensor:
        """Add the gradient of a part's loss times its share of the batch; return that loss."""
        inputs = self._inputs.batch(rows, self.processes.device)
        inputs = {**inputs, _TARGETS: self._targets_there(rows)}
        # Losses are means over arguments, so the parts' shares add up to the batch's mean.
        if self._graphs is not None:
            return self._graphs.backward(inputs, share)
        return add_gradient(self._loss_of(inputs), share)

    def _cuda_graphs(self) -> GraphedPasses | None:
        """Return the passes as CUDA graphs, where they are asked for and possible."""
        if not self.config.cuda_graphs:
            return None
        if self.processes.device.type != "cuda" or self.processes.number > 1:
            note("--cuda_graphs is for one process on a GPU: it changes nothing here")
            return None
        return GraphedPasses(self._loss_of, self.processes.device)

    def _loss_of(self, inputs: Batch) -> torch.Tensor:
        """Return the mean loss of a part of a batch, which holds the targets as well."""
        inputs = dict(inputs)
        targets = inputs.pop(_TARGETS)
        return cast(torch.Tensor, self.loss(self._outputs_of(inputs), targets))

    def _backward_of_whole(
        self, rows: Sequence[int], parts: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """Add the gradient of a loss over the whole batch, of which this process reads parts.

        All processes compute the same loss, each with the gradient of its own parts.

        Returns:
            This process's share of the loss.
        """
        processes = self.processes

        def read(part: int) -> torch.Tensor:
            # A part has the same dropout at both readings, and other dropout in every process.
            share = part * processes.number + processes.index
            set_seed(_step_seed(self.config.seed, self.state.step, share))
            return self._read(parts[part])

        def loss(outputs: Sequence[torch.Tensor]) -> torch.Tensor:
            own = self.joined(outputs) if outputs else None
            return cast(torch.Tensor, self.loss(self.joined(processes.exchange(own)), targets))

        targets = self._targets_there([row for share in processes.shares(rows) for row in share])
        return backward_in_parts(read, len(parts), loss) / processes.number

    def _read(self, rows: Sequence[int]) -> torch.Tensor:
        """Return the outputs for some arguments, in float32."""
        return self._outputs_of(self._inputs.batch(rows, self.processes.device))

    def _outputs_of(self, batch: Batch) -> torch.Tensor:
        """Return the outputs for a part of a batch, in float32."""
        bfloat16 = self.config.precision == "bfloat16"
        with torch.autocast(self.processes.device.type, torch.bfloat16, enabled=bfloat16):
            outputs = self.outputs(batch)
        return cast(torch.Tensor, convert_to_fp32(outputs))

    def _targets_there(self, rows: Sequence[int]) -> torch.Tensor:
        return self.targets(rows).to(self.processes.device)

    def _batches(self, epoch: int) -> list[list[int]]:
        if self._order[0] != epoch:
            self._inputs = self.training.inputs_in(epoch, self.config.seed)
            self.lengths = self._inputs.lengths
            batches = epoch_batches(
                self.lengths, self.config.optimisation.batch_size, self.config.seed, epoch
            )
            self._order = (epoch, batches)
        return self._order[1]

    def _end_epoch(self, loss: float, progress: TrainingProgress) -> None:
        epoch = self.state.step // self.steps_per_epoch
        evaluation = self.evaluate()
        best, newest = self.state.best, Best(epoch, evaluation.macro_f1)
        if best is None or not evaluation.of_this_model or newest.macro_f1 > best.macro_f1:
            self.state.best = best = newest
            self._best_evaluation = evaluation
            began = time.monotonic()
            with self.processes.together():
                if self.processes.is_main:
                    save_tensors(model_tensors(self.model), best_file(self.folder, best.epoch))
            # A checkpoint has AdamW's two moments beside the weights.
            self._writing = self._writing or 3 * (time.monotonic() - began)
        self._account()
        with self.processes.together():
            if self.processes.is_main:
                self._record(epoch, loss, evaluation)
        scores = {f"validation/{name}": score for name, score in evaluation.own_scores.items()}
        self._log({"epoch": epoch, **scores}, self.state.step)
        progress.epoch(epoch, loss, evaluation.own_scores)
        if evaluation.of_this_model:
            progress.best(best.macro_f1)

    def _learning_rate(self) -> float:
        """Return the highest learning rate after the steps done, but for a head's own one."""
        groups = self.optimizer.param_groups
        # Checkpoints of earlier versions do not say whose rate it is.
        return max(float(one["lr"]) for one in groups if not one.get("own_rate", False))

    def _save_checkpoint(self, buffers: Mapping[str, torch.Tensor] = _NONE) -> None:
        """Write a checkpoint of the model as it is, but for `buffers`, which are given."""
        self._account()
        began = time.monotonic()
        with self.processes.together():
            if self.processes.is_main:
                tensors = model_tensors(self.model)
                tensors |= {name: buffers[name].cpu() for name in buffers.keys() & tensors.keys()}
                save_checkpoint(self.folder, self.state, tensors, self.optimizer, self.scheduler)
        self._checkpoint_due, now = False, time.monotonic()
        self._last_write, self._writing = now, now - began
        wait = self.config.checkpoint_seconds
        self._next_checkpoint = now + (wait and max(wait, self._writing / _SHARE_OF_WRITING))

    def _epoch_is_worth_writing(self) -> bool:
        """Return True if the epoch that has ended is to end with a checkpoint.

        On a GPU an epoch of a small model takes less time than its checkpoint. The last one of a
        stage that ends at its last step is written all the same: the next stage needs it.
        """
        if self.processes.device.type == "cpu" or self.config.checkpoint_seconds == 0:
            return True
        ends = self._evaluate is None and self.state.step == self.total_steps
        since = time.monotonic() - self._last_write
        return self.processes.from_main(ends or since >= self._writing / _SHARE_OF_WRITING)

    def _check_weights(self) -> None:
        """Raise an error if weights are not finite.

        Raises:
            ValueEvalError: Some are not.
        """
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self._trained):
            raise self._diverged(self.state.step, "weights are not finite any more")

    def _diverged(self, step: int, what: str) -> ValueEvalError:
        """Return the error of a run that diverged; resumed, it would diverge again."""
        message = (
            f"step {step} of {self.total_steps}: {what}: training diverged. Start again with a "
            f"lower --learning_rate (now {self.config.optimisation.learning_rate})"
        )
        if newest_step(self.folder):
            message += f" and another --output; the last checkpoint is kept in {self.folder}"
        if (best := self.state.best) is not None:
            which = f"the best epoch so far ({best.epoch}, validation macro_f1 {best.macro_f1:.4f})"
            if self.config.out_of_fold:  # the score is the teachers'
                which = f"epoch {best.epoch}"
            file = best_file(self.folder, best.epoch)
            message += f", and the weights of {which} in {file.name}"
        return self.processes.failure(message)

    def _newest_checkpoint(self) -> TrainingState:
        """Load the newest checkpoint, if there is one, and return the state."""
        with self.processes.together():
            state = load_checkpoint(self.folder, self.model, self.optimizer, self.scheduler)
        main = self.processes.from_main(state.step)
        with self.processes.together():
            if state.step != main:
                raise ValueEvalError(
                    f"{self.folder}: the main process finds a checkpoint of step {main} there, "
                    f"process {self.processes.index} one of step {state.step}: --output must be "
                    "in a folder that all machines share"
                )
        return state

    def _account(self) -> None:
        self.state.seconds = time.monotonic() - self._started
        self.state.peak_memory_bytes = max(self.state.peak_memory_bytes, _peak_memory())
        if self.processes.device.type == "cuda":
            peak = torch.cuda.max_memory_reserved(self.processes.device)
            self.state.peak_device_bytes = max(self.state.peak_device_bytes, peak)

    def _record(self, epoch: int, loss: float, evaluation: Evaluation) -> None:
        line = self._line(epoch, loss)
        line["thresholds"] = list(evaluation.thresholds.values)
        line["validation"] = evaluation.own_scores
        append_metrics(self.folder, line)

    def _line(self, epoch: int, loss: float) -> dict[str, Any]:
        """Return the line of metrics.jsonl that every stage writes after an epoch."""
        line = {
            "step": self.state.step,
            "epoch": epoch,
            "loss": loss,
            "learning_rate": self._learning_rate(),
            "seconds": round(self.state.seconds, 1),
        }
        if self.state.peak_device_bytes:
            line["peak_device_bytes"] = self.state.peak_device_bytes
        return line


def steps_in(training: Split, batch_size: int, epochs: int | None = 1) -> int:
    """Return the number of steps in some epochs."""
    assert epochs is not None  # noqa: S101 (for the type checker)
    return epochs * math.ceil(len(training.labels) / batch_size)


def _step_seed(seed: int, step: int, share: int) -> int:
    """Return the seed of a process's share of a step, or of a part that is read by itself."""
    numbers = [seed, step, share] if share else [seed, step]
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _peak_memory() -> int:
    """Return the largest resident set of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB
