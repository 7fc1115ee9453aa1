"""Yes against no from the likeliest first tokens."""

from __future__ import annotations

import math

import pytest

from valueeval.adapters.servers.top_logprobs import read_first_token

LOG = math.log


def test_spellings_are_summed_over_the_tokens_that_write_them() -> None:
    listed = [("Yes", LOG(0.5)), (" Yes", LOG(0.1)), ("No", LOG(0.2)), ("yes", LOG(0.05)),
              ("\u0120no", LOG(0.03)), ("Maybe", LOG(0.02)), ("Yes.", LOG(0.01))]  # fmt: skip
    token = read_first_token(listed)
    assert {word: round(math.exp(logprob), 9) for word, logprob in token.logprobs.items()} == {
        "no": 0.03,
        "No": 0.2,
        "yes": 0.05,
        "Yes": 0.6,
    }
    assert (token.greedy, token.outside) == ("Yes", ())


def test_an_answer_that_is_not_listed_has_the_most_it_can_have() -> None:
    listed = [("Yes", LOG(0.6)), ("The", LOG(0.2)), ("I", LOG(0.15))]
    token = read_first_token(listed)
    assert token.outside == ("no",)
    assert math.exp(token.logprobs["no"]) == pytest.approx(0.05)  # what is left, below the last
    assert token.logprobs["No"] == token.logprobs["yes"] == -math.inf
    token = read_first_token([("No", LOG(0.4)), ("The", LOG(0.1))])
    assert math.exp(token.logprobs["yes"]) == pytest.approx(0.1)  # the last, below what is left
    token = read_first_token([("No", LOG(0.75)), ("The", LOG(0.25))])
    assert math.exp(token.logprobs["yes"]) == pytest.approx(0.25)  # nothing is left by rounding


def test_where_neither_is_listed_nothing_is_known() -> None:
    token = read_first_token([("<think>", -0.01), ("The", -5.0)])
    assert all(math.isnan(logprob) for logprob in token.logprobs.values())
    assert (token.greedy, token.outside) == (None, ("no", "yes"))


def test_another_word_may_be_the_likeliest() -> None:
    assert read_first_token([("Well", -0.5), ("no", -1.5), ("yes", -3.0)]).greedy is None


def test_tokens_without_probability() -> None:
    token = read_first_token([("Yes", 0.0), ("No", -math.inf)])
    assert token.outside == ("no",)
    assert token.logprobs["no"] == -math.inf
