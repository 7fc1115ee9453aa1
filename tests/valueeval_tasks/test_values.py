"""The value descriptions: official names and order, and texts that are the project's own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from valueeval.tasks.values import VALUE_NAMES, VALUE_SLUGS, VALUES, Value, slug_of

# Four words in a row are a quotation; three ("being able to") happen by themselves.
QUOTED_WORDS = 4

EACH_VALUE = pytest.mark.parametrize("value", VALUES, ids=VALUE_SLUGS)


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+(?:['-][a-z]+)*", text.lower())


def letters(keyword: str) -> str:
    """The words that template `oa` compares: hyphens and spaces make no difference."""
    return re.sub(r"[^a-z]", "", keyword.lower())


def runs(text: str, length: int) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[i : i + length]) for i in range(len(found) - length + 1)}


def test_names_and_order_are_the_official_ones() -> None:
    assert VALUE_NAMES == (
        "Self-direction: thought",
        "Self-direction: action",
        "Stimulation",
        "Hedonism",
        "Achievement",
        "Power: dominance",
        "Power: resources",
        "Face",
        "Security: personal",
        "Security: societal",
        "Tradition",
        "Conformity: rules",
        "Conformity: interpersonal",
        "Humility",
        "Benevolence: caring",
        "Benevolence: dependability",
        "Universalism: concern",
        "Universalism: nature",
        "Universalism: tolerance",
        "Universalism: objectivity",
    )


def test_slugs() -> None:
    assert slug_of("Self-direction: thought") == "self_direction_thought"
    assert slug_of("Power: dominance") == "power_dominance"
    assert slug_of("Face") == "face"
    assert len(set(VALUE_SLUGS)) == 20
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", slug) for slug in VALUE_SLUGS)


@EACH_VALUE
def test_short_form_completes_the_value_of(value: Value) -> None:
    assert 3 <= len(words(value.short)) <= 10
    assert value.short[0].islower()
    assert value.short[-1].isalpha()


@EACH_VALUE
def test_long_form_is_one_sentence_on_what_is_good(value: Value) -> None:
    assert value.long.startswith("It is good ")
    assert value.long.endswith(".")
    assert 15 <= len(words(value.long)) <= 45
    assert value.long == " ".join(value.long.split())


@EACH_VALUE
def test_keywords_are_few_and_distinct(value: Value) -> None:
    assert 6 <= len(value.keywords) <= 12
    assert len({letters(keyword) for keyword in value.keywords}) == len(value.keywords)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", keyword) for keyword in value.keywords)


def test_no_keyword_stands_for_two_values() -> None:
    all_keywords = [letters(keyword) for value in VALUES for keyword in value.keywords]
    assert len(all_keywords) == len(set(all_keywords))


@pytest.mark.parametrize("field", ["short", "long"])
def test_no_two_values_share_a_description(field: str) -> None:
    assert len({getattr(value, field) for value in VALUES}) == 20


def test_level_1_names_are_the_official_ones(real_data_dir: Path) -> None:
    official = json.loads((real_data_dir / "value-categories.json").read_text(encoding="utf-8"))
    assert {value.name: value.level1 for value in VALUES} == {
        name: tuple(level1) for name, level1 in official.items()
    }
    assert tuple(official) == VALUE_NAMES


def test_descriptions_quote_no_phrase_of_the_taxonomy(real_data_dir: Path) -> None:
    official = json.loads((real_data_dir / "value-categories.json").read_text(encoding="utf-8"))
    phrases = [
        phrase for level1 in official.values() for group in level1.values() for phrase in group
    ]
    quotable = set().union(*(runs(phrase, QUOTED_WORDS) for phrase in phrases))
    for value in VALUES:
        for text in (value.short, value.long):
            assert not runs(text, QUOTED_WORDS) & quotable, f"{value.name}: {text}"
            assert not any(phrase.lower() in text.lower() for phrase in phrases), text
