"""The form that an answer must have: which tokens may come next (guided decoding).

A form is a sequence of parts. Some leave a choice between texts, of which a trie says what may come
next; one leaves the model free for a while. What a form allows is chosen greedily by the model's
logits, so a form adds no passes: it takes part in the choice of each token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch


class Part(Protocol):
    """A part of an answer."""

    def choose(self, logits: torch.Tensor) -> int | None:
        """Return the next token, given the logits (vocabulary); None if the part has ended."""


class Form:
    """An answer in the making, from one part to the next.

    Args:
        parts: Its parts, as they begin.
        end: The token that ends the answer.
    """

    def __init__(self, parts: Sequence[Part], end: int) -> None:
        self._parts = list(parts)
        self._end = end

    def choose(self, logits: torch.Tensor) -> int:
        """Return the next token, given the logits (vocabulary)."""
        while self._parts:
            token = self._parts[0].choose(logits)
            if token is not None:
                return token
            del self._parts[0]
        return self._end


Forms = Sequence[Sequence[Form | None]]
"""The form of the answer to each prompt about each argument; None for a free answer."""

FormOf = Callable[[int, int], Form | None]
"""Makes the form of an answer, given the places of its argument and of its prompt about it."""


class OneOf:
    """One of several texts.

    Args:
        texts: Tokens of each; a text may begin with another.
    """

    def __init__(self, texts: Sequence[Sequence[int]]) -> None:
        self._left = [list(text) for text in texts]
        self._at = 0

    def choose(self, logits: torch.Tensor) -> int | None:
        """Return the likeliest token that goes on with one of the texts.

        Where a text may end and another goes on, it ends if no token is likelier than these.
        """
        following = {text[self._at] for text in self._left if len(text) > self._at}
        if not following:
            return None
        ended = any(len(text) == self._at for text in self._left)
        if ended and int(logits.argmax()) not in following:
            return None
        allowed = sorted(following)
        token = allowed[int(logits[allowed].argmax())]
        self._left = [
            text for text in self._left if len(text) > self._at and text[self._at] == token
        ]
        self._at += 1
        return token


class Several:
    """Some of several texts, each once, with a separator between them.

    Args:
        texts: Tokens of each.
        nothing: Tokens of the text that says that there are none.
        separator: Tokens between two.
        ends: Tokens that end the list.
    """

    def __init__(
        self,
        texts: Sequence[Sequence[int]],
        nothing: Sequence[int],
        separator: Sequence[int],
        ends: set[int],
    ) -> None:
        self._texts = [list(text) for text in texts]
        self._nothing, self._separator, self._ends = list(nothing), list(separator), ends
        self._said: list[int] = []
        self._after_separator: list[int] = []
        self._choice: OneOf | None = OneOf([*self._texts, self._nothing])

    def choose(self, logits: torch.Tensor) -> int | None:
        """Return the next token of the list."""
        if self._choice is not None:
            token = self._choice.choose(logits)
            if token is not None:
                self._said.append(token)
                return token
            self._choice = None
            text = self._said[len(self._after_separator) :]
            self._texts = [other for other in self._texts if other != text]
            if text == self._nothing or not self._texts:
                return None
        # One text has been said: the list ends, or a separator and another text follow.
        if bool(logits[sorted(self._ends)].max() >= logits[self._separator[0]]):
            return None
        first, *self._after_separator = self._separator
        self._said = []
        self._choice = OneOf([[*self._after_separator, *text] for text in self._texts])
        return first


class Free:
    """Anything, until the model ends it, writes what comes next, or has had its room.

    Args:
        room: Number of tokens at most.
        done: Returns whether the answer would end with the last of these tokens: with the token for
            the end of a sequence, or in a stop string.
        decode: Returns the text of tokens.
        marker: The text that begins the next part.
        forced: Tokens that write it, where the model does not.
    """

    def __init__(
        self,
        room: int,
        done: Callable[[list[int]], bool],
        decode: Callable[[list[int]], str],
        marker: str,
        forced: Sequence[int],
    ) -> None:
        self._room, self._done, self._decode = room, done, decode
        self._marker, self._forced = marker, list(forced)
        self._said: list[int] = []
        self._forcing = False

    def choose(self, logits: torch.Tensor) -> int | None:
        """Return the model's own next token, or that of the marker."""
        if not self._forcing:
            if self._marker in self._decode(self._said[-2 * len(self._forced) - 8 :]):
                return None
            best = int(logits.argmax())
            if len(self._said) < self._room and not self._done([*self._said, best]):
                self._said.append(best)
                return best
            self._forcing = True
        return self._forced.pop(0) if self._forced else None
