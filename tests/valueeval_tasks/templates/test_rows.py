"""Rows of names as lists of template cot hold them."""

from __future__ import annotations

import pytest

from valueeval.tasks.templates.rows import read_row, says_none, without_lead_in

FACE, TRADITION, DOMINANCE = 7, 10, 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tradition; face", {TRADITION: True, FACE: True}),
        ("face: yes; tradition: no", {FACE: True, TRADITION: False}),
        ("face (not present)", {FACE: False}),
        ("neither face nor tradition", {FACE: False, TRADITION: False}),
        ("power: dominance, but not face", {DOMINANCE: True, FACE: False}),
        ("not relevant: face; tradition", {FACE: False, TRADITION: False}),
        (
            "power: dominance (not face; tradition)",
            {DOMINANCE: True, FACE: False, TRADITION: False},
        ),
        ("power: dominance, not face; tradition", None),
        ("none", {}),
        ("bread and butter", None),
        ("face, ...", None),
    ],
)
def test_a_row_says_which_values_are_held(text: str, said: dict[int, bool] | None) -> None:
    assert read_row(text) == said


def test_all_values_but_one() -> None:
    said = read_row("all values except face")
    assert said == {value: value != FACE for value in range(20)}


@pytest.mark.parametrize(
    ("text", "none"),
    [("no value of the list", True), ("none", True), ("no", False), ("face", False)],
)
def test_a_text_that_says_that_there_is_no_value(text: str, none: bool) -> None:
    assert says_none(text) is none


def test_words_before_the_names_are_left_out() -> None:
    assert without_lead_in("the argument is based on: face") == "face"
