"""One plain form of generated answers, and their parts."""

from __future__ import annotations

import re

import pytest

from valueeval.tasks.templates.answer_text import (
    CORRECTION,
    NAME,
    VALUE_OF,
    clean,
    letters,
    parts,
    yes_no_columns,
)
from valueeval.tasks.values import VALUE_NAMES


def test_clean_removes_tags_emphasis_and_what_is_struck_out() -> None:
    answer = "<b>Power \u2013 Dominance</b> ~~Face~~ is **Bold**"
    assert clean(answer) == " power - dominance   ()  is bold"


def test_an_answer_that_repeats_the_prompt_is_cut_where_it_begins() -> None:
    text = "premise: x\nyes\npremise: y\nno"
    assert parts(text) == ["", "premise: x\nyes\n", "premise: y\nno"]


def test_marks_in_columns_of_yes_and_no_become_words() -> None:
    table = "| value | yes | no |\n| face | x | |\n| tradition | | x |\n| humility | x | x |"
    rows = yes_no_columns(table).split("\n")
    assert rows[1:] == [" | face | yes", " | tradition | no", " | humility"]


@pytest.mark.parametrize("name", VALUE_NAMES)
def test_names_are_found_however_they_are_punctuated(name: str) -> None:
    for gap in (": ", " - ", "_", " "):
        text = name.lower().replace(": ", gap)
        found = re.search(NAME, text)
        assert found is not None
        assert VALUE_OF[letters(found.group())] == VALUE_NAMES.index(name)


@pytest.mark.parametrize("text", ["face-saving", "traditional", "surface"])
def test_a_name_within_a_longer_word_is_none(text: str) -> None:
    assert not re.search(NAME, text)


@pytest.mark.parametrize("text", ["wait, no", "3 should be yes", "my mistake"])
def test_second_thoughts(text: str) -> None:
    assert CORRECTION.search(text)
