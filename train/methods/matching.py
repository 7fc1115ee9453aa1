"""``--trainable_parameters N``: the size of a method that comes nearest to N trained parameters.

Methods are compared on equal terms when they train as much. LoRA grows with its rank, a soft prompt
with its virtual tokens, each by the same number of parameters a step; two steps give that number.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, cast

from peft import PeftModel
from torch import nn

from valueeval.adapters.directory.base import Base
from valueeval.train.config.choice import ConfigError, Method, flag_of
from valueeval.train.runtime.progress import note


def matched(
    method: Method, backbone: nn.Module, base: Base, instruction: str, wanted: int | None
) -> tuple[Method, nn.Module]:
    """Return the method in the size that trains about `wanted` parameters, and the bare model.

    Args:
        method: The method, of any size.
        backbone: The pretrained model; nothing of its weights changes.
        base: The base model.
        instruction: The words that a soft prompt can start from.
        wanted: Parameters to train, a head apart; None leaves the method as it is.

    Raises:
        ConfigError: The smallest size trains more than twice as many.
    """
    if wanted is None:
        return method, backbone
    counts = []
    for size in (1, 2):
        model = cast(PeftModel, _sized(method, size).prepare(backbone, base, instruction))
        counts.append(sum(p.numel() for p in model.parameters() if p.requires_grad))
        backbone = _bare(model)
    step = counts[1] - counts[0]
    size = max(1, round((wanted - counts[0]) / step) + 1)
    trained = counts[0] + (size - 1) * step
    if trained > 2 * wanted:
        raise ConfigError(
            f"trainable_parameters: {wanted:,}: --method {method.name} trains {trained:,} on this "
            f"base at its smallest; allowed: {-(-trained // 2):,} or more"
        )
    flag = next(flag_of(item) for item in fields(method) if item.name == method.sized_by)
    note(f"{flag} is {size}: {trained:,} trained parameters, {wanted:,} were asked for")
    return _sized(method, size), backbone


def _sized(method: Method, size: int) -> Method:
    return replace(method, **{str(method.sized_by): size})


def _bare(model: PeftModel) -> nn.Module:
    """Return the model without its adapter."""
    if model.peft_config["default"].is_prompt_learning:
        return model.get_base_model()
    return cast(nn.Module, cast(Any, model).unload())
