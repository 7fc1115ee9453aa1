"""Answers in JSON as lines."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valueeval.tasks.templates import json_answers


def lines(text: str) -> list[str]:
    found = json_answers.find(text)
    return [] if found is None else list(json_answers.lines(json_answers.final(found[1])))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"face": true, "tradition": false}', ["face: yes", "tradition: no"]),
        ('{"1": 0, "2": 1}', ["1: 0", "2: 1"]),
        ('[{"id": 3, "answer": "yes", "reason": "so"}]', ["3: yes"]),
        ('{"face": {"reason": "so", "held": true}}', ["face: yes"]),
        ('{"reasoning": "so", "final_answer": ["face", "humility"]}', ["face", "humility"]),
        ("{'face': true, 'humility': false,}", ["face: yes", "humility: no"]),
        ("{1: yes, 2: no}", ["1: yes", "2: no"]),
        ('json\n["face",\n"humility"]\nand so on', ["face", "humility"]),
        ('{"face": true, "face": false}', []),
        ('["face", "hum', []),
        ("no json", []),
        ("[" * 100_000, []),
        ('{"a": ' * 500 + "1" + "}" * 500, []),
    ],
)
def test_lines(text: str, expected: list[str]) -> None:
    assert lines(text) == expected


def test_text_around_is_kept() -> None:
    assert json_answers.find('so: {"a": 1} but') == ("so: ", {"a": 1}, " but")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_any_list(data: Any) -> None:
    assert all(isinstance(line, str) for line in json_answers.lines(data))
