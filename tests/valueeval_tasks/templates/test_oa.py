"""The reader of template oa: tables of answers, and what holds for any answer."""

from __future__ import annotations

import pytest
from answers import OA_READINGS, grows_linearly, oa_cases
from hypothesis import given
from hypothesis import strategies as st

from valueeval.tasks.templates import oa
from valueeval.tasks.values import VALUE_SLUGS, VALUES

CASES = oa_cases()
ANSWERS = [answer for _, answer, _ in CASES]

any_value = st.integers(0, 19)
any_keyword = any_value.flatmap(
    lambda value: st.tuples(st.just(value), st.sampled_from(VALUES[value].keywords))
)


def parse(answer: str, slug: str) -> str:
    """Return what is read from an answer of the tables, in their words."""
    value = VALUE_SLUGS.index(slug)
    return OA_READINGS[oa.parse(answer.replace("{short}", VALUES[value].short), value)]


@pytest.mark.parametrize(("slug", "answer", "reads"), CASES)
def test_table(slug: str, answer: str, reads: str) -> None:
    assert parse(answer, slug) == reads


def test_table_is_large() -> None:
    assert len(CASES) >= 350


@given(st.lists(st.integers(0, 1), min_size=20, max_size=20), any_value)
def test_gold_is_read_back(labels: list[int], value: int) -> None:
    assert oa.parse(oa.gold(labels, value), value) is bool(labels[value])


@pytest.mark.parametrize("value", range(20), ids=VALUE_SLUGS)
def test_each_word_is_found_and_denied(value: int) -> None:
    for word in VALUES[value].keywords + VALUES[value].related:
        assert oa.parse(word, value) is True, word
        assert oa.parse(word.replace("-", " ").title(), value) is True, word
        assert oa.parse(f"not {word}", value) is False, word


@pytest.mark.parametrize("value", range(20), ids=VALUE_SLUGS)
def test_each_opposite_denies_and_holds_where_it_is_denied(value: int) -> None:
    for word in VALUES[value].opposites:
        assert oa.parse(word, value) is False, word
        assert oa.parse(f"not {word}", value) is True, word


FORMS = (
    *(
        "{}",
        "- {}",
        "1. {}",
        "**{}**",
        "*{}*",
        '["{}"]',
        '{{"words": ["{}"]}}',
        "```\n{}\n```",
        "{}.",
    ),
    *(
        "| {} |",
        "{}, thoughtful",
        "Thoughtful and {}",
        "A {} person",
        "The speaker is {}.",
        "{} 🙂",
    ),
    *("{}? Yes.", "{}: yes", "Yes, {}", "{} ✓", "<think>\nNot {}?\n</think>\n{}", "very {}"),
    "not only {}",
)
DENIALS = (
    *("not {}", "{}? No.", "{}: no", "{} - no", "{} (no)", "| {} | no |", "{} ✗", "**{}:** No"),
    *("anything but {}", "far from {}", "hardly {}", "neither {} nor bland", "lacks being {}"),
    *("unconcerned with being {}", "indifferent to being {}", "opposed to being {}", "never {}"),
    *(
        "against being {}",
        "less {}",
        "insufficiently {}",
        "bland rather than {}",
        "doesn't seem {}",
    ),
    *("being {} is not important to them", "thinks being {} is unimportant", "No, not {}"),
    *("I wouldn't call them {}", "bland, not {}", "{}? Not at all.", "~~{}~~ bland", "non-{}"),
    *("critical of {} people", "more bland than {}", "instead of {}, bland", "isn't {}"),
)


@pytest.mark.parametrize("form", FORMS)
@given(any_keyword)
def test_every_form_says_the_same(form: str, keyword: tuple[int, str]) -> None:
    value, word = keyword
    assert oa.parse(form.format(word, word), value) is True
    assert oa.parse(form.format(word, word).upper(), value) is True


@pytest.mark.parametrize("form", DENIALS)
@given(any_keyword)
def test_every_denial_flips(form: str, keyword: tuple[int, str]) -> None:
    value, word = keyword
    assert oa.parse(form.format(word), value) is False


@given(any_keyword)
def test_doubt_and_contradiction_are_unparsed(keyword: tuple[int, str]) -> None:
    value, word = keyword
    for answer in ("maybe {}", "{}?", "{0}, not {0}", "possibly {}", "not opposed to being {}"):
        assert oa.parse(answer.format(word), value) is None, answer


@given(st.text(), any_value)
def test_any_text_is_read_or_unparsed(text: str, value: int) -> None:
    assert oa.parse(text, value) in (True, False, None)


@given(st.lists(st.sampled_from(ANSWERS)), any_value)
def test_any_answers_together_are_read_or_unparsed(answers: list[str], value: int) -> None:
    assert oa.parse("\n".join(answers), value) in (True, False, None)


@pytest.mark.parametrize("slug", VALUE_SLUGS)
def test_space_case_and_bold_change_nothing(slug: str) -> None:
    for answer, reads in [(answer, reads) for s, answer, reads in CASES if s == slug]:
        upper = answer.upper().replace("{SHORT}", "{short}")
        cased = [] if "<|channel|>" in answer else [upper]
        for same in (f" \n{answer}\n ", *cased, f"**{answer}**"):
            assert parse(same, slug) == reads, same


@pytest.mark.parametrize(
    "piece",
    [
        "not ",
        ", ",
        "as to ",
        "religious, or ",
        "(",
        "answer:",
        "<p ",
        "\n\n",
        "'a-",
        "no? ",
        "religious: ",
    ],
)
def test_the_time_grows_with_the_length_alone(piece: str) -> None:
    value = VALUE_SLUGS.index("tradition")
    assert grows_linearly(lambda text: oa.parse(text, value), piece)
