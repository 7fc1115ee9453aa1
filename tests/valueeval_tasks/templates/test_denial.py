"""How English denies and doubts: the patterns of template oa."""

from __future__ import annotations

import re

import pytest

from valueeval.tasks.templates.denial import BEFORE, BEHIND, HEDGE, NO, YES


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (BEFORE, "not bold", True),
        (BEFORE, "isn't bold", True),
        (BEFORE, "against wealth", True),
        (BEFORE, "not only bold", False),
        (BEFORE, "no doubt bold", False),
        (BEFORE, "bold", False),
        (BEHIND, "money is not important", True),
        (BEHIND, "money is overrated", True),
        (BEHIND, "money is important", False),
        (HEDGE, "maybe bold", True),
        (HEDGE, "could be described as bold", False),
        (YES, "bold ✓", True),
        (NO, "bold ✗", True),
    ],
)
def test_what_denies_and_what_does_not(pattern: str, text: str, found: bool) -> None:
    assert bool(re.search(pattern, text)) is found
