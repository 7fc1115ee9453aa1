"""Forms of answers, by logits that a reader can check."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from hypothesis import given
from hypothesis import strategies as st

from valueeval.adapters.reading.forms import Form, Free, OneOf, Part, Several
from valueeval.adapters.reading.stopping import GreedyAnswers

END, SEMICOLON, NEWLINE = 0, 1, 2
SIZE = 10


def likes(*tokens: int) -> torch.Tensor:
    """Logits with these tokens first, in this order, then all others."""
    logits = torch.full((SIZE,), -9.0)
    for rank, token in enumerate(tokens):
        logits[token] = -float(rank)
    return logits


def answer(parts: Sequence[Part], liked: Sequence[Sequence[int]]) -> list[int]:
    """The tokens that are chosen, up to the end, by a model that likes these at each step."""
    form, said = Form(parts, END), []
    for step in range(50):
        said.append(form.choose(likes(*liked[min(step, len(liked) - 1)])))
        if said[-1] == END:
            return said
    raise AssertionError("no end")


def test_the_likelier_of_two_texts() -> None:
    texts = [[3, 4], [3, 5]]
    assert answer([OneOf(texts)], [[5]]) == [3, 5, END]
    assert answer([OneOf(texts)], [[9, 5, 4]]) == [3, 5, END]
    assert answer([OneOf(texts)], [[4]]) == [3, 4, END]
    assert answer([OneOf(texts), OneOf([[6], [7]])], [[4], [4], [7]]) == [3, 4, 7, END]


def test_a_text_that_another_begins_with() -> None:
    texts = [[3], [3, 4]]
    assert answer([OneOf(texts)], [[4]]) == [3, 4, END]
    assert answer([OneOf(texts)], [[9, 4]]) == [3, END]


def test_a_list_names_each_once_and_ends_where_the_model_ends_it() -> None:
    def several() -> Several:
        return Several([[3], [4, 5]], [6], [SEMICOLON], {END, NEWLINE})

    assert answer([several()], [[3], [NEWLINE]]) == [3, END]
    assert answer([several()], [[3, SEMICOLON]]) == [3, SEMICOLON, 4, 5, END]
    assert answer([several()], [[4], [3], [SEMICOLON], [3]]) == [4, 5, SEMICOLON, 3, END]
    assert answer([several()], [[6, SEMICOLON]]) == [6, END]
    # "none" comes first or not at all
    assert answer([several()], [[3], [SEMICOLON], [6]]) == [3, SEMICOLON, 4, 5, END]


def test_a_separator_of_several_tokens() -> None:
    several = Several([[3], [4], [5]], [6], [SEMICOLON, 7], {END})
    likes_all = [[3], [SEMICOLON], [3], [5], [SEMICOLON], [3]]
    assert answer([several], likes_all) == [3, SEMICOLON, 7, 5, SEMICOLON, 7, 4, END]


def decode(tokens: list[int]) -> str:
    return "".join("e;n3456789"[token] for token in tokens)


def done(tokens: list[int]) -> bool:
    """Return whether an answer ends, for the stop string «77»."""
    return tokens[-1] == END or "77" in decode(tokens)


def test_free_until_the_model_ends() -> None:
    def parts(room: int) -> list[Part]:
        return [Free(room, done, decode, "89", [8, 9]), OneOf([[3], [4]])]

    assert answer(parts(20), [[5], [6], [END], [4]]) == [5, 6, 8, 9, 4, END]
    assert answer(parts(2), [[5], [6], [7], [4]]) == [5, 6, 8, 9, 4, END]  # no more room
    assert answer(parts(0), [[5], [4]]) == [8, 9, 4, END]
    assert answer(parts(20), [[5], [8], [9], [4]]) == [5, 8, 9, 4, END]  # its own marker
    assert answer(parts(20), [[5], [7], [7], [4]]) == [5, 7, 8, 9, 4, END]  # before a stop string


@given(
    st.lists(st.lists(st.integers(3, SIZE - 1), min_size=1, max_size=4), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_any_choice_is_one_of_the_texts(texts: list[list[int]], random: object) -> None:
    generator = torch.Generator().manual_seed(random.randint(0, 2**31))  # type: ignore[attr-defined]
    form, said = Form([OneOf(texts)], END), []
    while True:
        token = form.choose(torch.randn(SIZE, generator=generator))
        if token == END:
            break
        said.append(token)
    assert said in texts


def test_answers_without_a_form_are_free() -> None:
    forms = [None, Form([OneOf([[3], [4]])], END)]
    answers = GreedyAnswers(2, 5, lambda tokens: tokens[-1] == END, forms)
    logits = torch.stack([likes(9), likes(9, 4)])
    assert answers.choose(logits, [True, False]) == [9, 9]  # its prompt is still being read
    assert answers.choose(logits) == [9, 4]
