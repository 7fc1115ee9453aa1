"""The reader of template mbc: tables of answers, and what holds for any answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from answers import cases, expected, grows_linearly, reading
from hypothesis import given
from hypothesis import strategies as st

from valueeval.tasks.templates import mbc
from valueeval.tasks.values import VALUES

CASES = cases("mbc")
TEXTS = [case["text"] for case in CASES]

any_labels = st.lists(st.integers(0, 1), min_size=20, max_size=20)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_table(case: dict[str, Any]) -> None:
    assert reading(mbc.parse(case["text"])) == expected(case)


def test_table_is_large_and_its_cases_differ() -> None:
    assert len(set(TEXTS)) >= len(TEXTS) - 5  # some reported answers were foreseen
    assert len(TEXTS) >= 180


@given(any_labels)
def test_gold_is_read_back(labels: list[int]) -> None:
    assert mbc.parse(mbc.gold(labels)) == tuple(map(bool, labels))


def lines(each: str, yes: str = "yes", no: str = "no", join: str = "\n") -> Callable[..., str]:
    """A way to write an answer, a line for each value."""

    def write(labels: list[int]) -> str:
        return join.join(
            each.format(n=n, name=value.name, short=value.short, verdict=yes if label else no)
            for n, (value, label) in enumerate(zip(VALUES, labels, strict=True), 1)
        )

    return write


FORMS = {
    "bullets": lines("- **{n}.** {verdict}"),
    "upper case": lines("{n}. {verdict}", "YES", "NO"),
    "names": lines("* {name}: **{verdict}**"),
    "one line": lines("{n}. {verdict}", join=", "),
    "a table": lines("| {n} | {name} | {verdict} |", "Yes", "No"),
    "a table with ticks in two columns": lambda labels: (
        "| Value | Yes | No |\n|---|---|---|\n"
        + lines("| {name} | {verdict} |", "x |", "| x")(labels)
    ),
    "JSON": lambda labels: (
        "```json\n{" + lines('"{name}": {verdict}', "true", "false", ",\n")(labels) + "}\n```"
    ),
    "JSON by number": lambda labels: "{" + lines('"{n}": "{verdict}"', join=",")(labels) + "}",
    "JSON records": lambda labels: (
        "["
        + lines('{{"id": {n}, "value": "{name}", "answer": "{verdict}"}}', join=",")(labels)
        + "]"
    ),
    "a Python dictionary": lambda labels: (
        "{" + lines("'{name}': {verdict}", "True", "False", ", ")(labels) + ",}"
    ),
    "words": lines("{n}: {verdict}", "applies", "does not apply"),
    "a reason": lines("{n}. {verdict}, since the premise speaks of 3 things"),
    "descriptions": lines("{n}. {name} ({short}) - {verdict}"),
    "verdict below": lines("**{n}. {name}**\n{verdict}\n"),
    "a remark behind": lambda labels: mbc.gold(labels) + "\n\nLet me know if you need more!",
    "an announcement": lambda labels: "Here are the 20 answers:\n\n" + mbc.gold(labels),
    "thinking": lambda labels: f"<think>1. yes? 2. no?</think>\n{mbc.gold(labels)}",
    "two lists": lambda labels: "\n".join(
        f"{word}: " + ", ".join(str(n) for n, label in enumerate(labels, 1) if label == wanted)
        for word, wanted in (("Yes", 1), ("No", 0))
        if wanted in labels
    ),
}


@pytest.mark.parametrize("write", FORMS.values(), ids=FORMS)
@given(any_labels)
def test_every_form_says_the_same(write: Callable[[list[int]], str], labels: list[int]) -> None:
    assert mbc.parse(write(labels)) == tuple(map(bool, labels)), write(labels)


@given(any_labels.filter(lambda labels: 0 in labels))
def test_zeros_and_ones(labels: list[int]) -> None:
    for each in ("{n}. {verdict}", "{name}: {verdict}", "| {n} | {name} | {verdict} |"):
        assert mbc.parse(lines(each, "1", "0")(labels)) == tuple(map(bool, labels))


def test_ones_alone_may_be_ratings() -> None:
    assert mbc.parse(lines("{n}. {verdict}", "1", "0")([1] * 20)) is None


@given(any_labels)
def test_a_flipped_word_flips_the_answer(labels: list[int]) -> None:
    flipped = mbc.parse(lines("{n}. {verdict}", "no", "yes")(labels))
    assert flipped == tuple(not label for label in labels)


@given(st.text())
def test_any_text_is_read_or_unparsed(text: str) -> None:
    parsed = mbc.parse(text)
    assert parsed is None or (len(parsed) == 20 and all(type(held) is bool for held in parsed))


@given(st.lists(st.sampled_from(TEXTS), max_size=4))
def test_any_answers_together_are_read_or_unparsed(texts: list[str]) -> None:
    parsed = mbc.parse("\n".join(texts))
    assert parsed is None or len(parsed) == 20


@given(any_labels, st.sets(st.integers(0, 19), min_size=1))
def test_an_answer_that_lacks_any_value_is_unparsed(labels: list[int], gone: set[int]) -> None:
    written = mbc.gold(labels).split("\n")
    assert mbc.parse("\n".join(line for i, line in enumerate(written) if i not in gone)) is None


@given(any_labels, st.integers(0, 190))
def test_an_answer_that_breaks_off_is_unparsed(labels: list[int], end: int) -> None:
    text = mbc.gold(labels)
    assert mbc.parse(text[: min(end, len(text) - 3)]) is None


@given(any_labels, st.integers(0, 19))
def test_yes_and_no_about_one_value_is_unparsed(labels: list[int], value: int) -> None:
    other = "no" if labels[value] else "yes"
    number, name = value + 1, VALUES[value].name
    for objection in (
        *(f"{number}. {other}", f"{name}: {other}", f"Wait, {number}. should be {other}."),
        *(f"On second thought, {name} is a {other}.", f"{number}-{number}: {other}"),
    ):
        assert mbc.parse(f"{mbc.gold(labels)}\n{objection}") is None, objection


@given(any_labels, st.integers(0, 20))
def test_a_count_behind_the_answers_agrees_or_makes_them_unparsed(
    labels: list[int], yes: int
) -> None:
    expected = tuple(map(bool, labels))
    for count in (
        "{} yes, {} no.",
        "Yes: {}, No: {}",
        "Total: {} yes and {} no",
        "Yes: {}\nNo: {}",
    ):
        right = count.format(sum(labels), 20 - sum(labels))
        assert mbc.parse(f"{mbc.gold(labels)}\n\n{right}") == expected, right
        other = mbc.parse(f"{mbc.gold(labels)}\n\n{count.format(yes, 20 - yes)}")
        assert other == (expected if yes == sum(labels) else None), (yes, count)


@given(any_labels)
def test_the_form_repeated_before_the_answers_is_no_answer(labels: list[int]) -> None:
    form = "1. no\n2. yes\n3. no\nand so on, one line for each value, up to 20.\n\n"
    assert mbc.parse(form + mbc.gold(labels)) == tuple(map(bool, labels))


@given(any_labels, st.permutations(range(20)))
def test_the_order_of_lines_does_not_matter(labels: list[int], order: list[int]) -> None:
    written = mbc.gold(labels).split("\n")
    assert mbc.parse("\n".join(written[i] for i in order)) == tuple(map(bool, labels))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_space_case_and_bold_change_nothing(case: dict[str, Any]) -> None:
    text = case["text"]
    parsed = mbc.parse(text)
    assert mbc.parse(f" \n{text}\n ") == parsed
    if "assistantfinal" not in text and "<|" not in text:
        assert mbc.parse(text.upper()) == parsed
    assert mbc.parse(text.replace("yes", "**yes**")) == parsed


@pytest.mark.parametrize(
    "piece",
    [
        "1. ",
        "1\n",
        "face: ",
        "yes ",
        "yes: 1, ",
        "((",
        "<p ",
        "1,",
        '{"1":',
        "[",
        "| yes | no |\n",
        "~~",
    ],
)
def test_the_time_grows_with_the_length_alone(piece: str) -> None:
    assert grows_linearly(mbc.parse, piece)
