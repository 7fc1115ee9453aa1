"""The data that travel from station to station: distinct requests and their prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance

from valueeval.adapters.reading.types import EncodedPair

ARGUMENT = "arguments_cut"
"""The end of the premise was cut."""
PROMPT = "prompts_cut"
"""The beginning of the prompt (instruction, examples …) was cut."""


@dataclass(frozen=True)
class DistinctRequest:
    """A request, and all others of the run that ask the same.

    Attributes:
        request: The first of them.
        twins: All of them, as places among the requests of the run.
        document: What tells the argument from others of the task.
        settings: Generation settings as text; empty for a continuation to score.
        sampled: Whether the answer is drawn at random, and so differs between twins.
    """

    request: Instance
    twins: list[int]
    document: Any
    settings: str
    sampled: bool


@dataclass(frozen=True)
class Prompt:
    """A request as tokens.

    Attributes:
        request: The request, its argument shortened where that was needed.
        tokens: Its tokens; the continuation is empty where text is to be generated.
        lost: What was cut, ``ARGUMENT`` or ``PROMPT``; None if nothing was.
    """

    request: Instance
    tokens: EncodedPair
    lost: str | None = None
