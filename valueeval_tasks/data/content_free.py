"""Arguments without content: what a model answers to them, it answers to the words of its prompt.

Zhao et al. (2021), «Calibrate before use», read three such inputs and average over them. Here each
stands for premise and conclusion, with both stances.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from valueeval.tasks.data.dataset import STANCE_WORDS, Argument, DataSet
from valueeval.tasks.values import VALUES

CONTENT_FREE = "contentfree"
"""Name of the set, in ``test_split`` and in the names of its tasks."""

TEXTS = ("N/A", "[MASK]", "")


def content_free_set() -> DataSet:
    """Return the six arguments; none has a label."""
    arguments = tuple(
        Argument(f"content-free-{text_number}-{word}", text, stance, text)
        for text_number, text in enumerate(TEXTS, start=1)
        for stance, word in STANCE_WORDS.items()
    )
    return DataSet(
        name=CONTENT_FREE,
        arguments=arguments,
        labels=np.zeros((len(arguments), len(VALUES)), dtype=bool),
        sha256=hashlib.sha256(repr(arguments).encode()).hexdigest(),
        directory=Path(__file__).parent,
        official=False,
    )
