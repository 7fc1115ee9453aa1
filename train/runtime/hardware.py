"""Fit a run to the hardware: precision, compilation, and less memory.

These are the options ``--precision``, ``--compile`` and ``--gradient_checkpointing``, and the
advice where memory runs out all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import torch
from torch import nn

from valueeval.adapters.runtime.out_of_memory import is_out_of_memory
from valueeval.adapters.runtime.precision import multiplies_bfloat16
from valueeval.tasks.errors import ValueEvalError, first_line
from valueeval.train.config.config import TrainConfig
from valueeval.train.runtime.progress import note


def resolve_precision(
    config: TrainConfig, device: torch.device, earlier: Mapping[str, Any]
) -> TrainConfig:
    """Return the configuration with precision ``auto`` replaced by a precision.

    It depends on the device, but a resumed run keeps its own: a job that is queued again may start
    on another machine.

    Args:
        config: The run's options.
        device: The device that it trains on.
        earlier: The recipe of the interrupted run; empty without one.
    """
    if config.precision != "auto":
        return config
    precision = earlier.get("precision") if config.resume else None
    if precision in ("float32", "bfloat16"):
        return replace(config, precision=precision)
    return replace(config, precision="bfloat16" if multiplies_bfloat16(device) else "float32")


def check_compiler(device: torch.device) -> None:
    """Compile a small function for the device, so that a missing compiler shows before training.

    Raises:
        ValueEvalError: PyTorch cannot compile; on a CPU it needs a C++ compiler.
    """
    note("compiling: the first steps take some minutes")
    try:
        torch.compile(torch.sin)(torch.zeros(2, device=device))
    except Exception as error:  # PyTorch's own kinds of error are not public
        reason = first_line(error)
        raise ValueEvalError(
            f"--compile: torch.compile does not work here ({reason}): install a C++ compiler "
            "(such as g++; for GPUs also Triton), or leave --compile out"
        ) from error


def keep_layer_inputs_only(model: nn.Module) -> None:
    """Turn on gradient checkpointing in a Transformers model, with or without a PEFT adapter.

    Only the input of a layer is kept for its gradient; the rest is computed a second time, with the
    same dropout. Source: Chen et al., 2016, «Training deep nets with sublinear memory cost».

    Raises:
        ValueEvalError: Transformers does not support it on this architecture.
    """
    network = cast(Any, model)
    # Later versions of Transformers have it under this name, and deprecate the other one.
    enable = getattr(network, "activation_checkpointing_enable", None)
    enable = enable or network.gradient_checkpointing_enable
    try:
        enable({"use_reentrant": False})
    except ValueError as error:
        raise ValueEvalError(
            f"--gradient_checkpointing does not work on {network.config.model_type} models "
            f"({error}): leave it out; a lower --max_tokens_per_microbatch saves memory as well"
        ) from error


@contextmanager
def advise_when_out_of_memory(config: TrainConfig) -> Iterator[None]:
    """Name the options that take less memory when it runs out, on a GPU or a CPU.

    Raises:
        ValueEvalError: Memory ran out within the block.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ValueEvalError(
            f"out of memory ({first_line(error)}): use {_ways_to_save(config)}. --resume continues "
            "an interrupted run"
        ) from error


def _ways_to_save(config: TrainConfig) -> str:
    options = []
    # A frozen model is read once, in batches that shrink by themselves.
    if not config.method.frozen:
        options.append(
            f"a lower --max_tokens_per_microbatch (now {config.max_tokens_per_microbatch})"
        )
    elif config.classifier is not None and config.classifier.head.pooling == "attention":
        options.append("another --pooling (attention keeps every hidden state)")
    if (rank := config.method.options().get("lora_rank")) is not None:
        options.append(f"a lower --lora_rank (now {rank})")
    checkpointing = not config.method.why_no_checkpointing and config.template is None
    if checkpointing and not config.gradient_checkpointing:
        options.append("--gradient_checkpointing")
    return " or ".join([*options, "a smaller --base"])
