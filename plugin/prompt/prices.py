"""Price files: what a million tokens cost, by model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from valueeval.tasks.display import clean
from valueeval.tasks.errors import ValueEvalError

_FORM = (
    "a price file has, for each model, the price of a million tokens, and may name a currency:\n"
    "currency: USD\nsome-model: {input: 0.15, output: 0.60}"
)


@dataclass(frozen=True)
class Price:
    """Prices of a million tokens.

    Attributes:
        input: Of prompts.
        output: Of answers.
        currency: Its name; empty if the file names none.
    """

    input: float
    output: float
    currency: str

    def cost(self, prompt_tokens: int, output_tokens: int) -> float:
        """Return what so many tokens cost."""
        return (self.input * prompt_tokens + self.output * output_tokens) / 1e6


def read_price(path: Path, model: str) -> Price:
    """Return the price of a model.

    Raises:
        ValueEvalError: The file cannot be read, is malformed, or does not name the model.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueEvalError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueEvalError(f"{path}: not YAML; {_FORM}") from error
    if not isinstance(content, dict):
        raise ValueEvalError(f"{path}: {_FORM}")
    currency = content.pop("currency", "")
    if model not in content:
        named = ", ".join(clean(name) for name in content) or "none"
        raise ValueEvalError(f"{path}: no price of {clean(model)}; there are {named}")
    entry = content[model]
    if not isinstance(entry, dict) or set(entry) != {"input", "output"}:
        raise ValueEvalError(f"{path}: {clean(model)}: {_FORM}")
    of_prompts, of_answers = (
        _number(entry[key], f"{path}: {clean(model)}: {key}") for key in ("input", "output")
    )
    return Price(of_prompts, of_answers, clean(currency))


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
        raise ValueEvalError(f"{where} must be a number from 0 on, not {clean(value)}")
    return float(value)
