"""Shorten the argument in prompts that are too long; what is asked about it stays whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence


def cut_argument(
    prompts: Sequence[str],
    premise: str,
    fits: Callable[[list[str]], bool],
    around: tuple[str, str] = ("", ""),
) -> list[str] | None:
    """Return the prompts about one argument with its premise cut at its end, as little as needed.

    All prompts lose the same words, so that they still begin alike. A prompt without the argument
    (an empty one, for a prior) stays as it is.

    Args:
        prompts: Contexts, each with the argument in it once or, after few-shot examples, last.
        premise: The text that may be cut, at white space.
        fits: A function that says whether prompts are short enough.
        around: The argument's text before and after its premise; it tells the premise from the
            same words in the question.

    Returns:
        The shortened prompts; None if they do not fit even without the premise.
    """
    starts = [_start(prompt, premise, *around) for prompt in prompts]

    def shortened(end: int) -> list[str]:
        return [
            prompt if at is None else prompt[: at + end] + prompt[at + len(premise) :]
            for prompt, at in zip(prompts, starts, strict=True)
        ]

    ends = [0, *(match.end() for match in re.finditer(r"\S+", premise))]
    if not fits(shortened(0)):
        return None
    kept, too_many = 0, len(ends)
    while too_many - kept > 1:
        middle = (kept + too_many) // 2
        if fits(shortened(ends[middle])):
            kept = middle
        else:
            too_many = middle
    return shortened(ends[kept])


def _start(prompt: str, premise: str, before: str, after: str) -> int | None:
    """Where the premise of the last argument in a prompt begins; None if there is none."""
    # Chat templates trim a turn, which the argument begins.
    before = before.lstrip()
    at = prompt.rfind(before + premise + after) if premise else -1
    return None if at < 0 else at + len(before)
