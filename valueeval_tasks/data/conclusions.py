"""One conclusion under several spellings: what counts as the same conclusion.

Arguments that share a conclusion are not independent, so folds, few-shot examples and statistics
keep them together. The published files spell some conclusions in several ways (106 spellings of 103
conclusions in the main test set, 332 of 318 in training).
"""

from __future__ import annotations

import hashlib


def normalise_conclusion(conclusion: str) -> str:
    """Return a conclusion without what its spellings differ in.

    Case is folded, runs of white space become one blank, and blanks, «.», «!» and «?» at the end
    are cut.
    """
    return " ".join(conclusion.casefold().split()).rstrip(" .!?")


def conclusion_key(conclusion: str) -> str:
    """Return a short stable name of a conclusion, the same for all its spellings.

    Returns:
        Eight hexadecimal digits (the start of a SHA-256): a name that can be published where the
        text cannot.
    """
    return hashlib.sha256(normalise_conclusion(conclusion).encode()).hexdigest()[:8]
