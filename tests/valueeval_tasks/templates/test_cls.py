"""Template cls: the names of the values after an argument and after an empty one."""

from __future__ import annotations

import math

import pytest

from valueeval.tasks.templates.cls import ASKS, answer_mass, gold, scores
from valueeval.tasks.values import VALUE_NAMES


def test_asks_each_name_after_the_argument_and_after_the_empty_one() -> None:
    assert [(ask.prompt, ask.continuation) for ask in ASKS] == [
        (prompt, name) for prompt in (0, 1) for name in VALUE_NAMES
    ]


def test_score_is_the_gain_over_the_empty_argument() -> None:
    assert scores([-1.0] * 20 + [-1.5] * 20) == (0.5,) * 20


def test_mass_is_the_probability_of_all_names() -> None:
    assert answer_mass([math.log(0.02)] * 40) == pytest.approx(0.4)
    assert answer_mass([0.0] * 40) is None  # answers of a classifier


def test_gold_is_the_name_of_a_value_that_is_held() -> None:
    labels = [1] + [0] * 19
    assert gold(labels, 0) == VALUE_NAMES[0]
    with pytest.raises(ValueError, match="does not rest on value 1"):
        gold(labels, 1)
