"""Prompts that are too long lose the end of the argument, and all lose the same."""

from __future__ import annotations

from collections.abc import Callable

from valueeval.tasks.templates.cut_argument import cut_argument

PROMPTS = ["Argument: one two three. Brave?", "Argument: one two three. Kind?"]


def longest(limit: int) -> Callable[[list[str]], bool]:
    return lambda prompts: max(map(len, prompts)) <= limit


def test_cuts_as_little_as_needed_from_the_end() -> None:
    fits = longest(len("Argument: one two. Brave?"))
    assert cut_argument(PROMPTS, "one two three", fits) == [
        "Argument: one two. Brave?",
        "Argument: one two. Kind?",
    ]


def test_returns_none_where_the_rest_alone_is_too_long() -> None:
    assert cut_argument(PROMPTS, "one two three", longest(5)) is None


def test_a_prompt_without_the_argument_stays() -> None:
    prompts = [PROMPTS[0], "Argument: . Brave?"]
    fits = longest(len("Argument: one. Brave?"))
    assert cut_argument(prompts, "one two three", fits) == [
        "Argument: one. Brave?",
        "Argument: . Brave?",
    ]


def test_the_last_example_is_cut_and_not_one_before_it() -> None:
    shots = "Argument: one two. Brave? yes\nArgument: one two. Brave?"
    fits = longest(len(shots) - 4)
    assert cut_argument([shots], "one two", fits) == [
        "Argument: one two. Brave? yes\nArgument: one. Brave?"
    ]
