"""Memory: gradient checkpointing (``--gradient_checkpointing``), and what to do without enough."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from torch import nn

from valueeval.adapters.runtime.out_of_memory import is_out_of_memory
from valueeval.tasks.errors import ValueEvalError, first_line
from valueeval.train.config.config import TrainConfig


def keep_layer_inputs_only(model: nn.Module) -> None:
    """Lets a Transformers model (with a PEFT adapter or without) compute its layers again.

    In training nothing but a layer's input is kept for its gradient; the rest is computed a second
    time, with the same dropout. Chen et al., 2016, «Training deep nets with sublinear memory cost».

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
def enough_memory(config: TrainConfig) -> Iterator[None]:
    """Says which options take less memory where there is too little, on a GPU or a CPU.

    Raises:
        ValueEvalError: There is.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ValueEvalError(
            f"out of memory ({first_line(error)}): {_cure(config)}. An interrupted run goes on "
            "with --resume"
        ) from error


def _cure(config: TrainConfig) -> str:
    options = []
    if not config.method.frozen:  # which reads its model once, in batches that have grown small
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
    return "take " + " or ".join([*options, "a smaller --base"])
