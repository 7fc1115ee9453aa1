"""How a run learns: epochs, batches and rates, and a teacher beside the labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from valueeval.train.config.choice import (
    ABOVE_ZERO,
    FACTOR,
    ONE_OR_MORE,
    SHARE,
    ZERO_OR_MORE,
    Method,
    check_ranges,
    option,
)


@dataclass(frozen=True)
class Distillation:
    """A student learns from the labels and from a teacher's probabilities."""

    teacher: str = option(
        ...,
        "Adapter whose probabilities are learnt from beside the labels (distillation), or several "
        "averaged, A+B+C; of loss bce. It must have been trained on the same data, and with the "
        "same fold left out (why: train/objectives/distillation.py). null is no teacher. Source: "
        "Hinton et al., 2015 (formula: train/objectives/losses.py).",
        group="objective",
    )
    weight: float = option(
        0.5,
        "How much the teacher counts, against the labels; 1 leaves the labels out. Source: Hinton "
        "et al., 2015, 4.",
        within=FACTOR,
        flag="teacher_weight",
        group="objective",
    )

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class Optimisation:
    """Epochs, batches and rates; the defaults of the first four depend on the method."""

    epochs: int = option(
        ...,
        "Passes over the training data; the best one by validation macro_f1 is kept. Default: "
        "@epochs. Source: our choice; full by validation macro_f1.",
        within=ONE_OR_MORE,
        group="optimisation",
        basic=True,
    )
    learning_rate: float = option(
        ...,
        "Highest learning rate; AdamW. Default: @learning_rate. Source: lora: Hu et al., 2022, "
        "D.1; prompt+full: BERT, A.3; the soft prompts: validation macro_f1 of minilm "
        "(train/README.md); others: our choice.",
        within=ABOVE_ZERO,
        group="optimisation",
        basic=True,
    )
    head_learning_rate: float | None = option(
        ...,
        "Highest learning rate of the head, if it has one of its own; null is 1e-3 with a soft "
        "prompt, else learning_rate. Source: our choice.",
        within=ABOVE_ZERO,
        group="optimisation",
    )
    layer_decay: float | None = option(
        ...,
        "Each layer's learning rate is that of the layer above times this, in methods full, "
        "prompt+full and lora. Default: @layer_decay. Source: ULMFiT (Howard and Ruder, 2018), "
        "3.2; ELECTRA (Clark et al., 2020), B.",
        within=FACTOR,
        group="optimisation",
    )
    batch_size: int = option(
        32,
        "Arguments in a step, all processes together. Source: BERT, A.3.",
        within=ONE_OR_MORE,
        group="optimisation",
        basic=True,
    )
    weight_decay: float = option(
        0.01,
        "Weight decay of AdamW; biases and layer norms have none. Source: BERT, A.2.",
        within=ZERO_OR_MORE,
        group="optimisation",
    )
    warmup_ratio: float = option(
        0.1,
        "Share of all steps in which the learning rate rises from 0. Source: BERT's released code.",
        within=SHARE,
        group="optimisation",
    )
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = option(
        "linear",
        "How the learning rate falls after that. Source: BERT, A.2.",
        group="optimisation",
    )
    max_grad_norm: float = option(
        1.0,
        "Gradients are scaled down to this norm. Source: BERT's released code.",
        within=ABOVE_ZERO,
        group="optimisation",
    )

    def __post_init__(self) -> None:
        check_ranges(self)

    @classmethod
    def of(cls, method: Method, **given: Any) -> Optimisation:
        """Return the options that are given, the others at the method's defaults."""
        own = ("epochs", "learning_rate", "head_learning_rate", "layer_decay")
        return cls(**{**{name: getattr(method, name) for name in own}, **given})
