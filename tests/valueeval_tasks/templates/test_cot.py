"""The reader of template cot: tables of answers, and what holds for any answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from answers import cases, expected, grows_linearly, reading
from hypothesis import given
from hypothesis import strategies as st

from valueeval.tasks.templates import cot
from valueeval.tasks.values import VALUE_NAMES, VALUE_SLUGS

CASES = cases("cot")

any_labels = st.lists(st.integers(0, 1), min_size=20, max_size=20)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"][:60])
def test_table(case: dict[str, Any]) -> None:
    assert reading(cot.parse(case["text"])) == expected(case)


def test_table_is_large_and_its_cases_differ() -> None:
    texts = [case["text"] for case in CASES]
    assert len(set(texts)) >= len(texts) - 5  # some reported answers were foreseen
    assert len(texts) >= 200


@given(any_labels)
def test_gold_is_read_back(labels: list[int]) -> None:
    assert cot.parse(cot.gold(labels)) == tuple(map(bool, labels))


def names(held: list[int]) -> list[str]:
    return [VALUE_NAMES[value] for value in held]


def verdicts(each: str, yes: str, no: str, join: str = "\n") -> Callable[[list[int]], str]:
    """A way to write an answer that says of every value whether it is held."""
    return lambda held: join.join(
        each.format(name=name, verdict=yes if value in held else no)
        for value, name in enumerate(VALUE_NAMES)
    )


FORMS: dict[str, Callable[[list[int]], str]] = {
    "bold": lambda held: f"**Final answer:** **{'; '.join(names(held))}**",
    "upper case": lambda held: f"FINAL ANSWER: {'; '.join(names(held)).upper()}",
    "commas": lambda held: f"Final answer: {', '.join(names(held))}.",
    "dashes": lambda held: f"Final answer: {' — '.join(names(held))}",
    "bullets": lambda held: "Final answer:\n- " + "\n- ".join(names(held)),
    "bullets in bold, with reasons": lambda held: (
        "**Final answer:**\n" + "\n".join(f"* **{name}**: people want it" for name in names(held))
    ),
    "numbers": lambda held: (
        "Final answer:\n" + "\n".join(f"{n}. {name}" for n, name in enumerate(names(held), 1))
    ),
    "lines": lambda held: "Final answer:\n\n" + "\n".join(names(held)),
    "JSON": lambda held: "Final answer: " + str(names(held)).replace("'", '"'),
    "JSON with reasons": lambda held: (
        '```json\n{"reasoning": "It is so.", "final_answer": "' + "; ".join(names(held)) + '"}\n```'
    ),
    "a remark behind": lambda held: (
        f"Final answer: {'; '.join(names(held))}\n\nI hope this helps you with the argument!"
    ),
    "a code fence": lambda held: f"```\nFinal answer: {'; '.join(names(held))}\n```",
    "in prose": lambda held: f"Therefore, the values behind it are {', '.join(names(held))}.",
    "thinking": lambda held: (
        f"<think>Final answer: Face?</think>Final answer: {'; '.join(names(held))}"
    ),
    "a table of all": verdicts("| {name} | {verdict} |", "yes", "no"),
    "bullets of all": verdicts("- {name}: {verdict}", "yes", "no"),
    "ticks": verdicts("{verdict} {name}", "✅", "❌"),
    "pairs": verdicts("{name}: {verdict}", "yes", "no", "; "),
    "asides": verdicts("- {name} ({verdict})", "strong", "not present"),
}


@pytest.mark.parametrize("form", FORMS)
@given(st.sets(st.integers(0, 19), min_size=1))
def test_every_form_says_the_same(form: str, values: set[int]) -> None:
    held = sorted(values)
    text = FORMS[form](held)
    if form in ("a table of all", "bullets of all", "ticks", "pairs", "asides"):
        text = f"Final answer:\n{text}"
    assert cot.parse(text) == tuple(v in values for v in range(20)), text


@given(st.sets(st.integers(0, 19), min_size=2), st.data())
def test_what_is_denied_is_not_held(values: set[int], data: st.DataObject) -> None:
    denied = data.draw(st.sampled_from(sorted(values)))
    listed = "; ".join(names(sorted(values - {denied})))
    name = VALUE_NAMES[denied]
    for denial in (
        *(
            f" (but not {name})",
            f"; not {name}",
            f"; ~~{name}~~",
            f"; {name}: no",
            f" rather than {name}",
        ),
        *(f", excluding {name}", f"; {name} (rejected)", f". {name} does not apply."),
    ):
        parsed = cot.parse(f"Final answer: {listed}{denial}")
        assert parsed == tuple(v in values and v != denied for v in range(20)), denial


@pytest.mark.parametrize(
    "rejected",
    [
        *("\nNot relevant: {}", "\nAbsent: {}.", "\n**Rejected:** {}", "\nNot included: {}"),
        *("\nNo: {}", "\n❌ {}", " (not relevant: {})", "; not present: {}", " (excluding {})"),
    ],
)
@given(st.permutations(range(20)), st.integers(1, 18), st.integers(1, 18))
def test_what_stands_under_a_rejection_is_not_held(
    rejected: str, order: list[int], held: int, denied: int
) -> None:
    listed, others = names(order[:held]), names(order[held:][:denied])
    text = f"Final answer: {'; '.join(listed)}{rejected.format('; '.join(others))}"
    assert cot.parse(text) == tuple(v in order[:held] for v in range(20)), text


def test_a_list_that_breaks_off_at_an_article_is_unparsed() -> None:
    """The «A» of Achievement."""
    assert cot.parse("Final answer: Self-direction: thought; A") is None


@given(st.sets(st.integers(0, 19), min_size=1), st.data())
def test_a_list_that_breaks_off_within_a_name_is_unparsed(
    values: set[int], data: st.DataObject
) -> None:
    listed = names(sorted(values))
    kept = data.draw(st.integers(1, len(listed[-1]) - 1))
    text = "Final answer: " + "; ".join([*listed[:-1], listed[-1][:kept]])
    assert cot.parse(text) is None


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
    if "<|" not in text:
        assert cot.parse(text.upper().replace("\\BOXED", "\\boxed")) == parsed
    assert cot.parse(text.replace("Tradition", "**Tradition**")) == parsed


@pytest.mark.parametrize(
    "piece",
    [
        "final answer: ",
        "- ",
        "(",
        "tradition (",
        "and ",
        "[",
        "<p ",
        "| face |\n",
        "not ",
        "face, ",
        "1. 1. ",
    ],
)
def test_the_time_grows_with_the_length_alone(piece: str) -> None:
    assert grows_linearly(lambda text: cot.parse("Final answer: " + text), piece)
