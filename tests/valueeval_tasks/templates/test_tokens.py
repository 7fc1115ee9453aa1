"""The lexer of the readers of templates mbc and cot."""

from __future__ import annotations

import pytest

from valueeval.tasks.templates.tokens import tokenise


def test_kinds_of_tokens() -> None:
    found = [(token.kind, token.text) for token in tokenise("3: yes\nface maybe bread")]
    assert found == [
        ("number", "3"),
        ("mark", ":"),
        ("verdict", "yes"),
        ("line", "\n"),
        ("name", "face"),
        ("hedge", "maybe"),
        ("word", "bread"),
    ]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("face", (7,)),
        ("power_dominance", (5,)),
        ("power: dominance", (5,)),
        ("7", (6,)),
        ("7/20", (6,)),
        ("1-4", (0, 1, 2, 3)),
        ("1, 2 and 5", (0, 1, 4)),
        ("all 20 values", tuple(range(20))),
    ],
)
def test_names_and_numbers_stand_for_values(text: str, values: tuple[int, ...]) -> None:
    (token,) = tokenise(text)
    assert token.values == values


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        *(("yes", True), ("✓", True), ("true", True), ("n/a", False), ("does not apply", False)),
        *(("absent", False), ("is rejected", False), ("explicitly rejected", False)),
    ],
)
def test_verdicts(text: str, verdict: bool) -> None:
    (token,) = tokenise(text)
    assert (token.kind, token.verdict) == ("verdict", verdict)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("absent from the argument", False),
        ("rejected by it", False),
        ("dismissed outright", False),
        ("absent teachers", None),
        ("excluded people lose", None),
    ],
)
def test_an_adjective_denies_unless_it_goes_with_the_next_word(
    text: str, verdict: bool | None
) -> None:
    assert next(tokenise(text)).verdict is verdict
