"""Log training to any tracker that accelerate knows (``--log_with``), such as TensorBoard.

Logged to ``OUTPUT.logs`` beside the adapter are the loss and the learning rate of every step (those
of ``--contrastive pretrain`` as ``contrastive/loss`` and ``contrastive/learning_rate``; later steps
continue its numbering), the validation scores of every epoch, and the run's options. A tracker that
has a place of its own (a server, a folder) writes there, by its own settings. Weights & Biases adds
what it always does (machine, installed packages, output). A resumed run continues the log of
TensorBoard and Weights & Biases; with other trackers it is a run of its own.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate import tracking as trackers

from valueeval.tasks.errors import ValueEvalError, first_line
from valueeval.train.config.config import TrainConfig
from valueeval.train.runtime.processes import Processes
from valueeval.train.runtime.progress import note
from valueeval.train.storage.atomic_writing import replacing, writing

Log = Callable[[Mapping[str, float | None], int], None]
"""Logs numbers by name, and the step that they belong to; None is left out."""


# Trackers that take a name for the run → what they call it.
_RUN_NAMES = {"mlflow": "run_name", "trackio": "name", "swanlab": "experiment_name"}


def no_log(values: Mapping[str, float | None], step: int) -> None:
    """Log nothing."""


def shifted(log: Log, steps: int) -> Log:
    """Return a log whose steps are numbered on from `steps`, for a stage after another."""
    return lambda values, step: log(values, step + steps)


def named(log: Log, stage: str) -> Log:
    """Return a log that puts the stage's name before the names of its numbers."""

    def log_stage(values: Mapping[str, float | None], step: int) -> None:
        log({f"{stage}/{name}": value for name, value in values.items()}, step)

    return log_stage


def check_tracker(config: TrainConfig) -> None:
    """Raise an error if the library of ``--log_with`` is not installed.

    Raises:
        ValueEvalError: It is not installed, or this version of accelerate does not know it.
    """
    name = config.log_with
    if name is None:
        return
    if name not in trackers.LOGGER_TYPE_TO_CLASS:
        raise ValueEvalError(
            f"--log_with {name}: the installed accelerate does not know it: "
            "pip install --upgrade accelerate"
        )
    if not getattr(trackers, f"is_{name}_available")():
        package = name.replace("_", "-")
        raise ValueEvalError(
            f"--log_with {name}: it is not installed: pip install {package}, or leave the option "
            "out"
        )


@contextmanager
def tracking(config: TrainConfig, processes: Processes, step: int) -> Iterator[Log]:
    """Open the log of a run in its main process, and close it after the block.

    Args:
        config: The run's options.
        processes: The processes of the run.
        step: Number of steps done, over all stages; later steps in the log are overwritten.

    Raises:
        ValueEvalError: The log cannot be opened.
    """
    accelerator: Accelerator | None = None
    with processes.together():
        if config.log_with is not None and processes.is_main:
            accelerator = _open(config, config.log_with, step)
    if accelerator is None:
        yield no_log
        return
    tracker = _Tracker(accelerator)
    try:
        yield tracker
    finally:
        tracker.finish()


def _open(config: TrainConfig, name: str, step: int) -> Accelerator:
    output = Path(config.output)
    folder = output.with_name(output.name + ".logs")
    is_new = not folder.exists()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {}
        if name == "tensorboard":
            options = {"purge_step": step + 1}
        elif name == "wandb":
            options = {"dir": str(folder), "name": output.name, "resume": "allow"}
            options["id"] = _run_id(folder, step)
        elif name in _RUN_NAMES:
            options = {_RUN_NAMES[name]: output.name}
    accelerator = Accelerator(mixed_precision="no", log_with=name, project_dir=str(folder))
    project = os.environ.get("WANDB_PROJECT", "valueeval")
    try:
        accelerator.init_trackers(project, _without_lists(config.recipe()), {name: options})
    except Exception as error:  # the libraries raise errors of any kind
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        raise ValueEvalError(
            f"--log_with {name}: it cannot start ({first_line(error)}): fix that (for wandb "
            "`wandb login`, or WANDB_MODE=offline), or leave the option out"
        ) from error
    return accelerator


class _Tracker:
    """A log that stops at its first failure: training is worth more than its log."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._works = True

    def __call__(self, values: Mapping[str, float | None], step: int) -> None:
        if not self._works:
            return
        known = {name: value for name, value in values.items() if value is not None}
        with self._surviving("training continues without it"):
            self._accelerator.log(known, step=step)

    def finish(self) -> None:
        """Write what is pending."""
        for tracker in self._accelerator.trackers:
            with self._surviving("its last numbers may be missing"):
                tracker.finish()

    @contextmanager
    def _surviving(self, result: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # the libraries raise errors of any kind
            if self._works:
                note(f"logging has failed ({first_line(error)}); {result}")
            self._works = False


def _run_id(folder: Path, step: int) -> str:
    """Return the run's id in Weights & Biases: a resumed run keeps its id."""
    path = folder / "wandb-run"
    if step and path.exists():
        return path.read_text("utf-8").strip()
    number = uuid.uuid4().hex
    with replacing(path) as temporary:
        temporary.write_text(number + "\n", "utf-8")
    return number


def _without_lists(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with lists as text, as TensorBoard takes no lists."""
    return {
        name: str(value) if isinstance(value, list) else value for name, value in recipe.items()
    }
