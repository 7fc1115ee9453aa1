"""Earlier names of options, so that old configurations and manifests stay valid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMES = {
    "positive_weight": "pos_weight_power",
    "tokens_at_once": "max_tokens_per_microbatch",
    "per_value": "shots_per_value",
    "warmup": "warmup_ratio",
}
VALUES = {("thresholds", "halfway"): "shrunk"}


def current(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe of any version by today's names, without the options that it left open."""
    renamed = {NAMES.get(name, name): value for name, value in recipe.items()}
    return {
        name: VALUES.get((name, value), value) if isinstance(value, str) else value
        for name, value in renamed.items()
        if value is not None
    }
