"""The reader of template mbc: a table of answers, and what holds for any answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from valueeval.tasks.templates import mbc
from valueeval.tasks.values import VALUE_SLUGS, VALUES

CASES = yaml.safe_load(Path(__file__).with_name("answers_mbc.yaml").read_text(encoding="utf-8"))

any_labels = st.lists(st.integers(0, 1), min_size=20, max_size=20)


def written_out(case: dict[str, Any]) -> str:
    """The text of a case of the table."""
    if "text" in case:
        return str(case["text"])
    yes, no = case.get("words", ["yes", "no"])
    lines = [
        case["each"].format(
            n=number,
            name=value.name,
            slug=value.slug,
            short=value.short,
            verdict=yes if value.slug in case.get("held", ()) else no,
        )
        for number, value in enumerate(VALUES, 1)
    ]
    return str(case.get("before", "") + case.get("join", "\n").join(lines) + case.get("after", ""))


def reading(parsed: tuple[bool, ...] | None) -> list[str] | str:
    """What was read, in the words of the table."""
    if parsed is None:
        return "unparsed"
    return [slug for slug, held in zip(VALUE_SLUGS, parsed, strict=True) if held] or "none"


def expected(case: dict[str, Any]) -> list[str] | str:
    reads = case["reads"]
    return reads if isinstance(reads, str) else sorted(reads, key=VALUE_SLUGS.index)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_table(case: dict[str, Any]) -> None:
    assert reading(mbc.parse(written_out(case))) == expected(case)


def test_table_is_large_and_its_cases_differ() -> None:
    assert len({written_out(case) for case in CASES}) == len(CASES) >= 60


@given(any_labels)
def test_gold_is_read_back(labels: list[int]) -> None:
    assert mbc.parse(mbc.gold(labels)) == tuple(map(bool, labels))


@given(st.text())
def test_any_text_is_read_or_unparsed(text: str) -> None:
    parsed = mbc.parse(text)
    assert parsed is None or (len(parsed) == 20 and all(type(held) is bool for held in parsed))


@given(st.lists(st.sampled_from([written_out(case) for case in CASES]), max_size=4))
def test_any_answers_together_are_read_or_unparsed(texts: list[str]) -> None:
    parsed = mbc.parse("\n".join(texts))
    assert parsed is None or len(parsed) == 20


@given(any_labels, st.sets(st.integers(0, 19), min_size=1))
def test_an_answer_that_lacks_any_value_is_unparsed(labels: list[int], gone: set[int]) -> None:
    lines = mbc.gold(labels).split("\n")
    assert mbc.parse("\n".join(line for i, line in enumerate(lines) if i not in gone)) is None


@given(any_labels, st.integers(0, 19))
def test_yes_and_no_about_one_value_is_unparsed(labels: list[int], value: int) -> None:
    other = "no" if labels[value] else "yes"
    for objection in (f"{value + 1}. {other}", f"{VALUES[value].name}: {other}"):
        assert mbc.parse(f"{mbc.gold(labels)}\n{objection}") is None


@given(any_labels, st.permutations(range(20)))
def test_the_order_of_lines_does_not_matter(labels: list[int], order: list[int]) -> None:
    lines = mbc.gold(labels).split("\n")
    assert mbc.parse("\n".join(lines[i] for i in order)) == tuple(map(bool, labels))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_space_case_and_bold_change_nothing(case: dict[str, Any]) -> None:
    text = written_out(case)
    parsed = mbc.parse(text)
    assert mbc.parse(f" \n{text}\n ") == parsed
    assert mbc.parse(text.upper()) == parsed
    assert mbc.parse(text.replace("yes", "**yes**")) == parsed


@pytest.mark.parametrize(
    "piece",
    ["1 ", "1. ", "1. (", "face: ", "yes ", "yes: 1, ", "12345", "((", "\n", "self-", "<p ", "'a"],
)
def test_a_long_text_of_anything_is_read(piece: str) -> None:
    """It would not come back were anything in the reader of quadratic cost."""
    mbc.parse(piece * (100_000 // len(piece)))
