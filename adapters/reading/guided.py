"""``guided=True``: the form that answers to each template must have, so that all can be read.

- mbc, cot2list: 20 numbered lines of yes or no.
- oa: one of the value's keywords, or "indifferent".
- cot: free reasoning, then ``Final answer:`` and names of values, or none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lm_eval.api.instance import Instance

from valueeval.adapters.reading.forms import Form, Free, OneOf, Several
from valueeval.adapters.reading.stopping import Stop
from valueeval.tasks.harness.requests import ValueRequest
from valueeval.tasks.templates.bca import SPELLINGS
from valueeval.tasks.values import VALUE_NAMES, VALUES

_MARKER = "Final answer:"
# Tokens for the marker and a list of names, out of those that an answer may have.
_ROOM_FOR_LIST = 128
_LINES = ("mbc", "cot2list")


class Guide:
    """Makes the form of the answer to a request.

    Args:
        tokenizer: The model's tokenizer.
        stop: The stop strings and end tokens of the answer.
    """

    def __init__(self, tokenizer: Any, stop: Stop) -> None:
        self._tokenizer, self._stop = tokenizer, stop
        self._end = min(stop.ends)

    def form(self, request: Instance, steps: int) -> Form | None:
        """Return the form of an answer; None if the request is not one of ours.

        Args:
            request: What is asked.
            steps: Number of tokens of the answer.
        """
        if not isinstance(request, ValueRequest):
            return None
        if request.template in _LINES:
            return Form(self._lines(request.delimiter), self._end)
        if request.template == "oa" and request.value is not None:
            words = (*VALUES[request.value].keywords, "indifferent")
            texts = [self._encode(f"{request.delimiter}{word}", "a:") for word in words]
            # A word that is cut cannot be read.
            texts = [text for text in texts if len(text) <= steps] or texts
            return Form([OneOf(texts)], self._end)
        if request.template == "cot":
            return Form([self._reasoning(steps), self._names()], self._end)
        return None

    def _lines(self, delimiter: str) -> list[OneOf]:
        words = [word for spellings in SPELLINGS.values() for word in spellings]
        parts = []
        for number in range(1, len(VALUES) + 1):
            before, start = ("\n", "") if number > 1 else ("a:", delimiter)
            end = "\n" if number < len(VALUES) else ""
            parts.append(
                OneOf([self._encode(f"{start}{number}. {word}{end}", before) for word in words])
            )
        return parts

    def _reasoning(self, steps: int) -> Free:
        decode: Callable[[list[int]], str] = self._tokenizer.decode
        forced = self._encode(f"\n{_MARKER}", "a.")
        return Free(max(steps - _ROOM_FOR_LIST, 0), self._stop, decode, _MARKER, forced)

    def _names(self) -> Several:
        texts = [self._encode(f" {name}", _MARKER) for name in VALUE_NAMES]
        nothing, separator = self._encode(" none", _MARKER), self._encode(";", "a")
        newline = self._encode("\n", "a")[-1:]
        return Several(texts, nothing, separator, {*self._stop.ends, *newline})

    def _encode(self, text: str, before: str) -> list[int]:
        """Return the tokens of a text as it stands after another."""
        start = list(self._tokenizer.encode(before, add_special_tokens=False))
        both = list(self._tokenizer.encode(before + text, add_special_tokens=False))
        if both[: len(start)] == start and len(both) > len(start):
            return both[len(start) :]
        return list(self._tokenizer.encode(text, add_special_tokens=False))
