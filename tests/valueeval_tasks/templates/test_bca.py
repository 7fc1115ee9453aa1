"""Template bca: log-likelihoods of yes and no, in several spellings."""

from __future__ import annotations

import math

import pytest

from valueeval.tasks.templates.bca import ASKS, answer_mass, gold, scores


def test_asks_four_words_for_each_value() -> None:
    assert len(ASKS) == 80
    assert {ask.value for ask in ASKS} == set(range(20))


def test_score_is_the_log_odds_of_yes_over_all_spellings() -> None:
    """Yes has probabilities 0.3 and 0.3, no 0.1 and 0.1: odds of 3."""
    answers = [math.log(p) for p in (0.1, 0.1, 0.3, 0.3)] * 20
    assert scores(answers) == pytest.approx([math.log(3)] * 20)
    assert answer_mass(answers) == pytest.approx(0.8)


def test_reads_results_with_one_spelling_of_each_answer() -> None:
    assert scores([-2.0, -0.5] * 20) == (1.5,) * 20
    assert answer_mass([-2.0, -0.5] * 20) is None


def test_gold() -> None:
    labels = [0] * 19 + [1]
    assert (gold(labels, 0), gold(labels, 19)) == ("no", "yes")
