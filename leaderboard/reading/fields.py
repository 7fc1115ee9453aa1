"""Fields of JSON that anybody may have written: of the type that is expected, or nothing."""

from __future__ import annotations

import math
import re
from typing import Any

from valueeval.leaderboard.text import clean


def mapping(value: object) -> dict[str, Any]:
    """Return an object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def string(value: object) -> str | None:
    """Return a string, or a number as one (versions); ``None`` for anything else or nothing."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    return clean(value) or None


def hashes(value: object) -> str | None:
    """Return a hash, or those of several sets joined by ``+``, at its full length."""
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}(\+[0-9a-f]{64}){1,9}", value):
        return value
    return string(value)


def number(value: object) -> float | None:
    """Return a finite number that is not negative, or ``None``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) and value >= 0 else None
    except OverflowError:  # an integer of hundreds of digits
        return None


def count(value: object) -> int | None:
    """Return a number of things, or ``None``; lm-eval writes -1 where it does not know."""
    if number(value) is None or not isinstance(value, (int, float)):
        return None
    return int(value)


def seed_of(value: object) -> int | None:
    """Return a seed, also where it is written as a string (in the arguments of a model)."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,18}", value):
        return int(value)
    return count(value)
