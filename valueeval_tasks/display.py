"""Text of unknown origin, made fit for a terminal, a page or a log.

Ids, names and cells come out of files that anybody may have written. Escape sequences in them would
be obeyed by a terminal, and characters that turn the direction of writing around would disguise
what a name says; so whatever is shown passes through here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches

MAX_LENGTH = 200
_MAX_LINE = 1000
_REPLACED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})


def clean(text: object) -> str:
    """Return one line of printable text, cut to 200 characters.

    White space is joined to single blanks. Control, format, surrogate, private and unassigned
    characters (Unicode categories Cc, Cf, Cs, Co and Cn) become U+FFFD.
    """
    shown = _printable(" ".join(str(text).split()))
    return shown if len(shown) <= MAX_LENGTH else shown[: MAX_LENGTH - 1] + "…"


def error_message(error: object) -> str:
    """Return an error's message with its line breaks, each line printable.

    A line of more than 1000 characters loses its middle: the path that it begins with may be long,
    and what is wrong stands at the end.
    """
    half = _MAX_LINE // 2
    lines = (_printable(line) for line in str(error).split("\n"))
    return "\n".join(
        line if len(line) <= _MAX_LINE else f"{line[:half]} … {line[-half:]}" for line in lines
    )


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """Return a question that names what is spelled almost like `given`; empty if nothing is.

    It begins with a semicolon, to follow what is wrong: ``; did you mean lora?``
    """
    found = get_close_matches(str(given), list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def _printable(line: str) -> str:
    if line.isascii() and line.isprintable():
        return line
    return "".join("\ufffd" if unicodedata.category(c) in _REPLACED else c for c in line)
