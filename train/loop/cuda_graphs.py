"""Forward and backward passes as CUDA graphs: recorded once for each shape, then replayed.

A pass of a small model is hundreds of kernels that run for some microseconds each, which Python
cannot launch as fast as a GPU runs them. A CUDA graph launches all of them by one call. The kernels
are the same, and dropout draws the same numbers, those of the seed of its step.

Source: Nguyen et al., 2021, «Accelerating PyTorch with CUDA graphs» (PyTorch's blog).
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from valueeval.adapters.classifier.classifier import Batch
from valueeval.adapters.runtime.out_of_memory import is_out_of_memory
from valueeval.tasks.errors import ValueEvalError, first_line
from valueeval.train.runtime.progress import note

PADDED_TO = 8
"""Pad batches to a multiple of this number of tokens, so that few shapes occur."""

Shape = tuple[tuple[str, torch.Size], ...]


class GraphedPasses:
    """Forward and backward passes of one model on a GPU.

    The first pass of a shape is run as any other, the second is recorded. So the model has been
    run before, as recording asks for, and a shape that comes once costs nothing. Gradients must
    stay where they are from step to step (``zero_grad(set_to_none=False)``).

    A model that waits for the GPU within a pass, or draws random numbers on the CPU, cannot be
    recorded: all its passes are run as any other, and a note says so.

    Args:
        loss: Returns the loss, a scalar, of some inputs.
        device: The GPU.
    """

    def __init__(self, loss: Callable[[Batch], torch.Tensor], device: torch.device) -> None:
        self._loss = loss
        self._device = device
        self._seen: set[Shape] = set()
        self._recorded: dict[Shape, _Recorded] = {}
        self._constants = Constants()
        self._possible = True
        # Passes are replayed one after the other, so that they can share their memory.
        self._memory = torch.cuda.graph_pool_handle()

    def backward(self, inputs: Batch, share: float) -> torch.Tensor:
        """Add the gradient of a share of the inputs' loss; return that share of the loss.

        The tensor that is returned is overwritten by later calls.

        Raises:
            ValueEvalError: The pass cannot be recorded.
        """
        shape = tuple((name, tensor.shape) for name, tensor in inputs.items())
        if not self._possible:
            return self._run(inputs, share)
        if shape not in self._seen:
            self._seen.add(shape)
            return self._try(inputs, share)
        if shape not in self._recorded:
            self._recorded[shape] = self._record(inputs)
        recorded = self._recorded[shape]
        for name, tensor in inputs.items():
            recorded.inputs[name].copy_(tensor, non_blocking=True)
        recorded.share.fill_(share)
        recorded.graph.replay()
        return recorded.loss

    def _run(self, inputs: Batch, share: float | torch.Tensor) -> torch.Tensor:
        return add_gradient(self._loss(inputs), share)

    def _try(self, inputs: Batch, share: float) -> torch.Tensor:
        """Run a pass and notice what no graph can do."""
        reasons: list[str] = []
        try:
            with _noticing(reasons), self._constants, _as_if_recorded():
                loss = self._loss(inputs)
        except Exception as error:  # whatever a model makes of it
            if is_out_of_memory(error):
                raise
            self._give_up(f"cannot be run as for recording ({first_line(error)})")
            return self._run(inputs, share)
        with _noticing(reasons):
            value = add_gradient(loss, share)
        if reasons:
            self._give_up(reasons[0])
        return value

    def _give_up(self, reason: str) -> None:
        self._possible = False
        note(f"this model {reason}: its steps are not recorded as CUDA graphs")

    def _record(self, inputs: Batch) -> _Recorded:
        graph = torch.cuda.CUDAGraph()
        static = {name: tensor.clone() for name, tensor in inputs.items()}
        share = torch.ones((), device=self._device)
        try:
            with torch.cuda.graph(graph, pool=self._memory), self._constants:
                loss = self._run(static, share)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise ValueEvalError(
                f"a training step cannot be recorded as a CUDA graph ({first_line(error)}): use "
                "--cuda_graphs false"
            ) from error
        return _Recorded(graph, static, share, loss)


def add_gradient(loss: torch.Tensor, share: float | torch.Tensor) -> torch.Tensor:
    """Add the gradient of a share of a loss, a scalar; return that share of it."""
    value = loss * share
    torch.autograd.backward(value)
    return value.detach()


@dataclass(frozen=True)
class _Recorded:
    """A pass: the graph, the tensors that it reads, and the loss that it writes."""

    graph: torch.cuda.CUDAGraph
    inputs: Batch
    share: torch.Tensor
    loss: torch.Tensor


@dataclass(frozen=True)
class _Move:
    """A call that made a tensor on another device than the CPU, and its result."""

    call: Callable[..., Any]
    source: torch.Tensor | None
    others: tuple[Any, ...]
    result: torch.Tensor


class Constants(TorchFunctionMode):
    """Tensors that a model makes on the CPU and moves to the GPU, such as MPNet's positions.

    A graph cannot wait for such a move. What is moved depends on the shape of the inputs alone (on
    nothing else without waiting for the GPU), so the tensor that is there already is taken again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.moves: list[_Move] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Return the result of an earlier call that moved the same, else of this call."""
        kwargs = kwargs or {}
        moved = args[0] if func in (torch.Tensor.to, torch.Tensor.cuda) else None
        made = func is torch.tensor and kwargs.get("device") is not None
        if not made and (moved is None or moved.device.type != "cpu"):
            return func(*args, **kwargs)
        others = (args if made else args[1:], tuple(sorted(kwargs.items())))
        for move in self.moves:
            if move.call is func and move.others == others and _equal(move.source, moved):
                return move.result
        with _waiting():
            result = func(*args, **kwargs)
        if result.device.type != "cpu":
            source = None if moved is None else moved.detach().clone()
            self.moves.append(_Move(func, source, others, result))
        return result


def _equal(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.dtype == other.dtype and torch.equal(one, other)


@contextmanager
def _waiting() -> Iterator[None]:
    """Allow to wait for the GPU within the block."""
    if not torch.cuda.is_available():
        yield
        return
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("default")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)


@contextmanager
def _as_if_recorded() -> Iterator[None]:
    """Let libraries take the path that they take while a graph is recorded.

    Transformers looks whether a mask has any padding, and waits for the GPU, only where none is.
    """
    with patch.object(torch.cuda, "is_current_stream_capturing", lambda: True):
        yield


@contextmanager
def _noticing(reasons: list[str]) -> Iterator[None]:
    """Add to `reasons` what happens in the block that a CUDA graph cannot repeat."""
    before = _random_states()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
    for one in caught:
        if "synchronizing" in str(one.message):
            where = f"{one.filename}, line {one.lineno}"
            reasons.append(f"waits for the GPU within a step ({where})")
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    if _random_states() != before:
        reasons.append("draws random numbers on the CPU")


def _random_states() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()
