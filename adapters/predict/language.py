"""Recognise English texts by the share of English function words."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

MIN_WORDS = 5
"""Shorter texts say too little about their language."""
MIN_SHARE = 0.2
"""Texts with a smaller share of function words look like another language. Of the 6962 premises of
at least five words in Touché23's training and main test sets 118 do; of 16 sentences in 12 other
languages (tests) all do."""

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_ENGLISH = """
    a against all also an and any are as at be because been being between both but by can can't
    could did do does doesn't don't even every for from had has have he her him his how i if in
    into is isn't it it's its just many may me might more most much must my no not of on one
    only or other our over own she should so some such than that the their them then there these
    they this those through to too under up upon us very was we were what when where which while
    who whose why will with without won't would you your
"""
_FUNCTION_WORDS = frozenset(_ENGLISH.split())


def looks_english(text: str) -> bool | None:
    """Return whether a text looks English; ``None`` if it is too short to tell."""
    words = _WORD.findall(text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    letters = sum(map(len, words))
    latin = sum(len(word) for word in words if _is_latin(word[0]))
    if letters >= MIN_WORDS and latin < letters / 2:
        return False
    if len(words) < MIN_WORDS:
        return None
    return sum(word in _FUNCTION_WORDS for word in words) / len(words) >= MIN_SHARE


def _is_latin(character: str) -> bool:
    return character.isascii() or "LATIN" in unicodedata.name(character, "")


@dataclass
class Languages:
    """Counts texts that look English and texts that do not."""

    english: int = 0
    other: int = 0

    def add(self, text: str) -> None:
        """Count one text, unless it is too short to tell."""
        found = looks_english(text)
        self.english += found is True
        self.other += found is False

    @property
    def note(self) -> str | None:
        """Return what to tell people; ``None`` if most texts look English."""
        if self.other <= self.english:
            return None
        return (
            f"{self.other} of {self.other + self.english} texts do not look English. The models "
            "read English: translate the texts first, or do not trust these labels"
        )
