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
        ('[{"value": "face", "answer": "no", "confidence": 1}]', ["face: no"]),
        ('[{"value": "face", "explicit": false, "answer": "yes"}]', ["face: yes"]),
        ('{"value": "face", "reason": "no doubt", "score": 1}', ["face: 1"]),
        ('[{"value": "face", "answer": "no", "present": true}]', ["face: unclear"]),
        ('{"face": {"reason": "no shame", "fits": "yes", "score": 0}}', ["face: yes"]),
        ('{"held": ["face"], "not_held": ["humility"]}', ["face: yes", "humility: no"]),
        ('{"yes": [8], "no": ["the rest"]}', ["8: yes", "the rest: no"]),
        ('{"absent": [{"name": "face", "reason": "so"}], "steps": ["so"]}', ["face: no"]),
        ('{"rejected": {"face": true}}', ["face: yes?"]),
        ('{"values": ["face", "humility"], "final_answer": ["face"]}', ["face"]),
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


@pytest.mark.parametrize(
    ("found", "at_odds"),
    [
        ({"held": ["face"], "not_held": ["humility"]}, False),
        ({"held": ["face"], "considered": ["humility"]}, True),
        ({"answer": {"a": ["face"], "b": ["humility"]}}, True),
        ({"steps": ["one", "two"], "values": ["face"]}, False),
        ({"self-direction": ["thought"], "universalism": ["nature"]}, False),
    ],
)
def test_lists_beside_each_other(found: Any, at_odds: bool) -> None:
    assert json_answers.lists_at_odds(found) is at_odds


def test_text_around_is_kept() -> None:
    assert json_answers.find('so: {"a": 1} but') == ("so: ", {"a": 1}, " but")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_any_list(data: Any) -> None:
    assert all(isinstance(line, str) for line in json_answers.lines(data))
