"""Gradient checkpointing: less memory for more time (``--gradient_checkpointing``)."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from valueeval.tasks.errors import ValueEvalError


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
            f"({error}): leave it out; a lower --tokens_at_once saves memory, too"
        ) from error
