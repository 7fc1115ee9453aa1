"""What the options of `valueeval train` can be, and what they are where they are left open."""

from __future__ import annotations

from typing import Any, Literal

LossName = Literal["bce", "focal", "distribution-balanced"]
ThresholdsName = Literal["half", "global", "per-value", "halfway"]

MethodName = Literal[
    "full", "head", "lora", "prompt-tuning", "p-tuning", "prefix-tuning", "prompt+full"
]
TemplateName = Literal["cls", "mbc", "bca", "oa", "cot"]
GENERATED = ("mbc", "oa", "cot")
"""Templates whose answer is text; that of the others is a difference of log-likelihoods."""
INITS = ("random", "vocabulary", "template", "values")
"""Where a soft prompt can start, besides a text."""
HeadsName = Literal["single", "multiple", "cross-encoder"]

KINDS: dict[HeadsName, str] = {
    "single": "linear",
    "multiple": "multiple",
    "cross-encoder": "cross-encoder",
}
_ARGUMENT = ("{premise}", "{stance_word}: {conclusion}")
# The premise last: what is too long loses the end of the argument, not its stance.
_ARGUMENT_AND_VALUE = ("{stance_word}: {conclusion} {premise}", "{value.name}: {value.short}")

_SOFT_PROMPT: dict[str, Any] = {
    "epochs": 10,
    "learning_rate": 3e-2,
    "head_learning_rate": 1e-3,
    "virtual_tokens": 20,
}
# What an option is where it is left open (null), by the choice that it depends on. An option that
# no row of a table names for the choice made has no meaning there.
BY_CHOICE: dict[str, dict[str, dict[str, Any]]] = {
    "method": {
        "full": {
            "epochs": 5,
            "learning_rate": 2e-4,
            "layer_decay": 0.9,
            "head_learning_rate": None,
        },
        "head": {"epochs": 50, "learning_rate": 1e-3},
        "lora": {
            "epochs": 10,
            "learning_rate": 5e-4,
            "head_learning_rate": None,
            "layer_decay": 1.0,
            "lora_rank": 8,
            "lora_alpha": 16,
            "lora_dropout": 0.1,
        },
        "prompt+full": {"epochs": 3, "learning_rate": 5e-5, "layer_decay": 1.0},
        "prompt-tuning": {**_SOFT_PROMPT, "init": "vocabulary"},
        "p-tuning": {**_SOFT_PROMPT, "learning_rate": 1e-3, "prompt_hidden_size": None},
        "prefix-tuning": {**_SOFT_PROMPT, "prompt_hidden_size": None, "init": "random"},
    },
    "loss": {
        "bce": {"positive_weight": 0.5},
        "focal": {"focal_gamma": 2.0},
        "distribution-balanced": {"focal_gamma": 0.0},
    },
    "contrastive": {
        "none": {},
        "pretrain": {
            "contrastive_positives": "labels",
            "contrastive_epochs": 1,
            "contrastive_temperature": 0.05,
            "contrastive_queue": 1024,
        },
        "joint": {
            "contrastive_weight": 0.1,
            "contrastive_temperature": 0.1,
            "contrastive_queue": 1024,
        },
    },
    "heads": {
        "single": {"segments": _ARGUMENT, "pooling": None},
        "multiple": {"segments": _ARGUMENT, "pooling": "attention"},
        "cross-encoder": {
            "segments": _ARGUMENT_AND_VALUE,
            "pooling": None,
            "values_per_step": None,
        },
    },
}

# What only a classifier head has.
OF_A_HEAD = (
    *("heads", "pooling", "dropout", "head_learning_rate", "segments", "separator", "max_length"),
    *("values_per_step", "contrastive"),
)
