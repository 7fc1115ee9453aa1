"""Checkpoints: everything that a killed run needs to reach the same result.

A checkpoint is a folder ``checkpoint-<step>`` with ``model.safetensors`` (trained weights),
``optimizer.safetensors`` (AdamW's moments as flat tensors) and ``state.json``. It is written under
a temporary name and renamed when whole, and older ones are removed after that, so at every moment
one is whole. It holds no random state: the randomness of a step is a function of the seed and the
step's number (see `valueeval.train.loop.training`).
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from valueeval.tasks.errors import ValueEvalError
from valueeval.train.storage.atomic_writing import save_tensors, write_json, writing

_PREFIX = "checkpoint-"
_BEST = "best-{epoch}.safetensors"


@dataclass(frozen=True)
class Best:
    """The best epoch so far (from 1), and its macro_f1 on validation."""

    epoch: int
    macro_f1: float


@dataclass
class TrainingState:
    """The progress of a run.

    Attributes:
        step: Optimizer steps done.
        loss_sum: Sum of the losses of this epoch's steps.
        best: The best epoch so far.
        seconds: Time spent, over all parts of the run.
        peak_memory_bytes: The largest resident set of any part so far.
        peak_device_bytes: The most GPU memory that PyTorch held in any part; 0 without a GPU.
    """

    step: int = 0
    loss_sum: float = 0.0
    best: Best | None = None
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    peak_device_bytes: int = 0


def save_checkpoint(
    folder: Path,
    state: TrainingState,
    tensors: dict[str, torch.Tensor],
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    """Write a checkpoint, then remove earlier ones.

    Args:
        folder: The run's folder.
        state: The progress of the run.
        tensors: The model's tensors, as `model_tensors` returns them.
        optimizer: The optimizer, whose moments are written.
        scheduler: The scheduler, whose state is written.

    Raises:
        ValueEvalError: It cannot be written (no space, no permission); the earlier one is kept.
    """
    final = folder / f"{_PREFIX}{state.step}"
    temporary = folder / f"{_PREFIX}{state.step}.tmp"
    with writing(folder, partial=temporary):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        save_tensors(tensors, temporary / "model.safetensors")
        moments, groups = _flatten(optimizer)
        save_tensors(moments, temporary / "optimizer.safetensors")
        content = {"state": asdict(state), "groups": groups, "scheduler": scheduler.state_dict()}
        write_json(content, temporary / "state.json")
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
    for old in folder.glob(f"{_PREFIX}*"):
        if old != final:
            shutil.rmtree(old, ignore_errors=True)
    for old in folder.glob(_BEST.format(epoch="*")):
        if state.best is None or old != best_file(folder, state.best.epoch):
            old.unlink(missing_ok=True)


def load_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
) -> TrainingState:
    """Load the newest checkpoint into model, optimizer and scheduler, and return its state.

    Without a checkpoint nothing is loaded, and the state is a fresh one.

    Raises:
        ValueEvalError: It cannot be read, or belongs to another model.
    """
    found = _checkpoints(folder)
    if not found:
        return TrainingState()
    newest = found[-1]
    try:
        content = json.loads((newest / "state.json").read_text(encoding="utf-8"))
        load_model_tensors(model, load_file(newest / "model.safetensors"))
        _unflatten(optimizer, load_file(newest / "optimizer.safetensors"), content["groups"])
        scheduler.load_state_dict(content["scheduler"])
        best = content["state"].pop("best")
        return TrainingState(**content["state"], best=Best(**best) if best else None)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ValueEvalError(
            f"{newest}: this checkpoint cannot be read ({error}); remove {folder} to start again"
        ) from error


def newest_step(folder: Path) -> int:
    """Return the step of the newest checkpoint, 0 if there is none."""
    return max(map(_step, _checkpoints(folder)), default=0)


def _checkpoints(folder: Path) -> list[Path]:
    """Return the whole checkpoints, oldest first."""
    return sorted(
        (path for path in folder.glob(f"{_PREFIX}*") if _number(path).isdecimal()),
        key=_step,
    )


def _step(checkpoint: Path) -> int:
    return int(_number(checkpoint))


def _number(checkpoint: Path) -> str:
    return checkpoint.name.removeprefix(_PREFIX)


def load_best(folder: Path, epoch: int, model: nn.Module) -> None:
    """Load the weights of the best epoch into a model.

    Raises:
        ValueEvalError: They are missing, or cannot be read.
    """
    file = best_file(folder, epoch)
    try:
        load_model_tensors(model, load_file(file))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ValueEvalError(
            f"{file}: the weights of the best epoch cannot be read ({error}); remove {folder} to "
            "start again"
        ) from error


def best_file(folder: Path, epoch: int) -> Path:
    """Return the file of the weights of the best epoch."""
    return folder / _BEST.format(epoch=epoch)


def model_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the tensors that training changes, by name: contiguous, on the CPU; no frozen weights.

    Weights that have two names (embeddings tied to the output layer) are returned once.
    """
    once = {name for name, _ in model.named_parameters()}
    left_out = {
        name
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if not parameter.requires_grad or name not in once
    }
    return {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in model.state_dict().items()
        if name not in left_out
    }


def load_model_tensors(model: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Load tensors of `model_tensors` into a model.

    Raises:
        RuntimeError: They belong to another model.
    """
    if tensors.keys() != model_tensors(model).keys():
        raise RuntimeError("it holds the weights of another model")
    model.load_state_dict(tensors, strict=False)


def _flatten(
    optimizer: torch.optim.Optimizer,
) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Return the optimizer's state as tensors ``<parameter>.<moment>``, and its groups as JSON."""
    content = optimizer.state_dict()
    tensors = {
        f"{number}.{name}": tensor.detach().cpu().contiguous()
        for number, moments in content["state"].items()
        for name, tensor in moments.items()
    }
    return tensors, content["param_groups"]


def _unflatten(
    optimizer: torch.optim.Optimizer,
    tensors: dict[str, torch.Tensor],
    groups: list[dict[str, Any]],
) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = tensor.clone()
    optimizer.load_state_dict({"state": state, "param_groups": groups})
