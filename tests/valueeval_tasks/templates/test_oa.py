"""The reader of template oa: a table of answers, and what holds for any answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from valueeval.tasks.templates import oa
from valueeval.tasks.values import VALUE_SLUGS, VALUES

CASES: dict[str, dict[str, str]] = yaml.safe_load(
    Path(__file__).with_name("answers_oa.yaml").read_text(encoding="utf-8")
)
READINGS = {True: "positive", False: "negative", None: "unparsed"}

any_value = st.integers(0, 19)


def parse(answer: str, slug: str) -> str:
    """What is read from an answer of the table, in its words."""
    value = VALUE_SLUGS.index(slug)
    return READINGS[oa.parse(answer.replace("{short}", VALUES[value].short), value)]


@pytest.mark.parametrize(
    ("slug", "answer", "reads"),
    [(slug, answer, reads) for slug, answers in CASES.items() for answer, reads in answers.items()],
)
def test_table(slug: str, answer: str, reads: str) -> None:
    assert parse(answer, slug) == reads


def test_table_is_large() -> None:
    assert sum(map(len, CASES.values())) >= 60


@given(st.lists(st.integers(0, 1), min_size=20, max_size=20), any_value)
def test_gold_is_read_back(labels: list[int], value: int) -> None:
    assert oa.parse(oa.gold(labels, value), value) is bool(labels[value])


@pytest.mark.parametrize("value", range(20), ids=VALUE_SLUGS)
def test_each_keyword_is_found_and_denied(value: int) -> None:
    for keyword in VALUES[value].keywords:
        assert oa.parse(keyword, value) is True
        assert oa.parse(keyword.replace("-", " ").title(), value) is True
        assert oa.parse(f"not {keyword}", value) is False


@given(st.text(), any_value)
def test_any_text_is_read_or_unparsed(text: str, value: int) -> None:
    assert oa.parse(text, value) in (True, False, None)


@given(
    st.lists(st.sampled_from([answer for answers in CASES.values() for answer in answers])),
    any_value,
)
def test_any_answers_together_are_read_or_unparsed(answers: list[str], value: int) -> None:
    assert oa.parse("\n".join(answers), value) in (True, False, None)


@pytest.mark.parametrize(("slug", "answers"), CASES.items(), ids=CASES)
def test_space_case_and_bold_change_nothing(slug: str, answers: dict[str, str]) -> None:
    for answer, reads in answers.items():
        upper = answer.upper().replace("{SHORT}", "{short}")
        for same in (f" \n{answer}\n ", upper, f"**{answer}**"):
            assert parse(same, slug) == reads, same


@pytest.mark.parametrize(
    "piece",
    ["not ", ", ", "as to ", "religious, or ", "(", "answer:", "<", "<p ", "- ", "\n\n", "'a-"],
)
def test_a_long_text_of_anything_is_read(piece: str) -> None:
    """It would not come back were anything in the reader of quadratic cost."""
    oa.parse(piece * (100_000 // len(piece)), VALUE_SLUGS.index("tradition"))
