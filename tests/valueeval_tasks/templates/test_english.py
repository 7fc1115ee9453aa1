"""Which words are English."""

from __future__ import annotations

import pytest

from valueeval.tasks.templates.english import is_english, is_foreign, says_nothing
from valueeval.tasks.values import VALUES


@pytest.mark.parametrize(
    "text",
    [
        *("indifferent", "progressive", "open minded", "self-absorbed", "technocratic", "nerdish"),
        *("a person who likes trains", "unafraid", "warlike", "naïve"),
    ],
)
def test_english(text: str) -> None:
    assert is_english(text.split())


@pytest.mark.parametrize(
    "text",
    [
        *("religiös", "gläubig", "traditionell", "konservativ", "conservador", "tradicional"),
        *("religieux", "traditionaliste", "prudente", "godsdienstig", "tradycyjny", "dindar"),
        *("vroom", "eine fromme person", "une personne", "", "世俗"),
    ],
)
def test_not_english(text: str) -> None:
    assert not is_english(text.split())


def test_keywords_are_english_and_say_something() -> None:
    for value in VALUES:
        for word in value.words:
            assert is_english([word])
            assert not is_foreign([word])


def test_small_words_say_nothing() -> None:
    assert says_nothing(["the", "person", "who", "says", "this", "is"])
    assert not says_nothing(["the", "person", "is", "bold"])
