"""Prompts that are longer than a model reads: the argument is cut, never the question about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence


def cut_argument(
    prompts: Sequence[str], premise: str, fits: Callable[[list[str]], bool]
) -> list[str] | None:
    """The prompts about one argument with its premise cut at its end, no more than needed.

    All prompts lose the same words, so that they still begin alike. A prompt without the premise
    (an empty argument, for a prior) stays as it is.

    Args:
        prompts: Contexts, each with the premise in it once or, after few-shot examples, last.
        premise: The text that may be cut, at white space.
        fits: Whether prompts are short enough.

    Returns:
        The shortened prompts; None if they do not fit even without the premise.
    """
    ends = [0, *(match.end() for match in re.finditer(r"\S+", premise))]
    if not fits(_shortened(prompts, premise, 0)):
        return None
    kept, too_many = 0, len(ends)
    while too_many - kept > 1:
        middle = (kept + too_many) // 2
        if fits(_shortened(prompts, premise, ends[middle])):
            kept = middle
        else:
            too_many = middle
    return _shortened(prompts, premise, ends[kept])


def _shortened(prompts: Sequence[str], premise: str, end: int) -> list[str]:
    shortened = []
    for prompt in prompts:
        start = prompt.rfind(premise) if premise else -1
        if start >= 0:
            prompt = prompt[: start + end] + prompt[start + len(premise) :]
        shortened.append(prompt)
    return shortened
