"""The reader of template cot: a table of answers, and what holds for any answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from valueeval.tasks.templates import cot
from valueeval.tasks.values import VALUE_NAMES, VALUE_SLUGS

CASES = yaml.safe_load(Path(__file__).with_name("answers_cot.yaml").read_text(encoding="utf-8"))

any_labels = st.lists(st.integers(0, 1), min_size=20, max_size=20)


def reading(parsed: tuple[bool, ...] | None) -> set[str] | str:
    """What was read, in the words of the table."""
    if parsed is None:
        return "unparsed"
    return {slug for slug, held in zip(VALUE_SLUGS, parsed, strict=True) if held} or "none"


@pytest.mark.parametrize(
    ("text", "reads"), [(case["text"], case["reads"]) for case in CASES], ids=lambda part: str(part)
)
def test_table(text: str, reads: list[str] | str) -> None:
    assert reading(cot.parse(text)) == (reads if isinstance(reads, str) else set(reads))


def test_table_is_large_and_its_cases_differ() -> None:
    assert len({case["text"] for case in CASES}) == len(CASES) >= 60


@given(any_labels)
def test_gold_is_read_back(labels: list[int]) -> None:
    assert cot.parse(cot.gold(labels)) == tuple(map(bool, labels))


@pytest.mark.parametrize("value", range(20), ids=VALUE_SLUGS)
def test_each_value_is_read_by_all_its_names(value: int) -> None:
    only = tuple(index == value for index in range(20))
    first, _, second = VALUE_NAMES[value].partition(": ")
    names = [VALUE_NAMES[value], VALUE_SLUGS[value], VALUE_NAMES[value].upper()]
    if second:
        names += [second, f"{first} - {second}", f"{first} ({second})", f"{second} {first.lower()}"]
    for name in names:
        assert cot.parse(f"Final answer: {name}") == only, name


@given(st.text(), st.sampled_from(["", "Final answer: ", "Final answer:\n- "]))
def test_any_text_is_read_or_unparsed(text: str, before: str) -> None:
    parsed = cot.parse(before + text)
    assert parsed is None or (len(parsed) == 20 and all(type(held) is bool for held in parsed))


@given(st.lists(st.sampled_from([case["text"] for case in CASES])))
def test_any_answers_together_are_read_or_unparsed(texts: list[str]) -> None:
    parsed = cot.parse("\n".join(texts))
    assert parsed is None or len(parsed) == 20


@given(st.text(alphabet='Tradition;,Face none-():&1.\n"[]{}', max_size=40))
def test_only_what_is_named_is_read(text: str) -> None:
    parsed = cot.parse("Final answer: " + text)
    for index in range(20):
        if parsed is not None and parsed[index]:
            last_word = VALUE_SLUGS[index].rpartition("_")[2]
            assert last_word in text.lower()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"][:40])
def test_space_case_and_bold_change_nothing(case: dict[str, Any]) -> None:
    text, parsed = case["text"], cot.parse(case["text"])
    assert cot.parse(f" \n{text}\n ") == parsed
    assert cot.parse(text.upper().replace("\\BOXED", "\\boxed")) == parsed
    assert cot.parse(text.replace("Tradition", "**Tradition**")) == parsed


@pytest.mark.parametrize(
    "piece",
    [
        *("final answer: ", "(", "- ", "tradition (", "and ", ".", "[", '{"a": [', "\n\n", "self-"),
        *("<p ", "- tradition: ", "premise: a\n", "the ", "none ", "\\a", "1. 1. "),
    ],
)
def test_a_long_text_of_anything_is_read(piece: str) -> None:
    """It would not come back were anything in the reader of quadratic cost."""
    cot.parse("Final answer: " + piece * (100_000 // len(piece)))
