"""From responses to decisions, live and from samples files."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tasks import DOC

from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.templates import decide
from valueeval.tasks.values import VALUES


def test_cls_predicts_names_that_gain_by_the_argument() -> None:
    given = [(-1.0, False), (-3.0, True)] + [(-2.0, False)] * 18
    decision = decide.decide("cls", given + [(-2.0, False)] * 20)
    assert decision.prediction == (True, *[False] * 19)
    assert decision.scores == (1.0, -1.0, *[0.0] * 18)
    assert decision.unparsed == 0


def _log(*probabilities: float) -> list[tuple[float, bool]]:
    return [(math.log(p), False) for p in probabilities]


def test_bca_predicts_where_yes_beats_no_over_both_spellings() -> None:
    """With "yes" against "no" alone, the first would be yes; "No" is what the model says."""
    answers = _log(0.005, 0.41, 0.008, 0.08) + _log(0.1, 0.1, 0.1, 0.5) + _log(*[0.1] * 4) * 18
    decision = decide.decide("bca", answers)
    assert decision.prediction == (False, True, *[False] * 18)
    assert decision.scores == pytest.approx((math.log(0.088 / 0.415), math.log(3), *[0.0] * 18))
    assert decision.answer_mass == pytest.approx((0.503 + 0.8 + 18 * 0.4) / 20)


def test_bca_of_version_1_0_has_one_spelling() -> None:
    decision = decide.decide("bca", [(-2.0, False), (-1.0, True)] + [(-1.0, True)] * 38)
    assert decision.prediction == (True, *[False] * 19)
    assert decision.scores == (1.0, *[0.0] * 19)
    assert decision.answer_mass is None


@given(st.floats(-50, 50, allow_nan=False))
def test_a_classifier_s_number_is_the_score_of_bca_exactly(number: float) -> None:
    """Its answers, min(0, -d) and min(0, d) for every spelling, are no probabilities."""
    no, yes = (min(0.0, -number), False), (min(0.0, number), False)
    decision = decide.decide("bca", [no, no, yes, yes] * 20)
    assert decision.scores == (number,) * 20
    assert decision.answer_mass is None


def test_the_mass_of_cls_is_that_of_the_names_after_the_argument() -> None:
    decision = decide.decide("cls", _log(*[0.01] * 20, *[0.04] * 20))
    assert decision.answer_mass == pytest.approx(0.2)
    # a classifier's
    assert decide.decide("cls", [(-3.0, False)] * 20 + [(0.0, True)] * 20).answer_mass is None


def test_impossible_spellings_leave_the_others() -> None:
    never = (-math.inf, False)
    decision = decide.decide("bca", [never, (-2.0, False), (-1.0, False), never] * 20)
    assert decision.scores == (1.0,) * 20


def test_a_model_that_returns_no_numbers_predicts_nothing() -> None:
    """Such an answer is unparsed: neither yes nor no."""
    decision = decide.decide("bca", [(float("nan"), False)] * 40)
    assert decision == ((False,) * 20, None, 1.0, None)
    one_of_two = [(float("nan"), False), (-1.0, True), *[(-2.0, False), (-1.0, True)] * 19]
    decision = decide.decide("bca", one_of_two)
    assert decision == ((False, *[True] * 19), None, 0.05, None)
    one_of_four = [(-1.0, True), (float("nan"), False), (-1.0, True), (-1.0, True)] * 20
    assert decide.decide("bca", one_of_four) == ((False,) * 20, None, 1.0, None)


def test_an_unread_list_predicts_nothing_and_is_counted() -> None:
    assert decide.decide("mbc", ["What a question!"]) == ((False,) * 20, None, 1.0, None)


def test_oa_counts_the_share_of_unread_answers() -> None:
    keyword = VALUES[3].keywords[0]
    answers = [""] * 20
    answers[3] = keyword
    decision = decide.decide("oa", answers)
    assert decision.prediction == (*[False] * 3, True, *[False] * 16)
    assert decision.unparsed == 19 / 20


def test_a_sample_is_decided_anew_from_the_strings_in_its_file() -> None:
    sample = {"doc": DOC, "filtered_resps": [["-2.5", "False"], ["-1.5", "True"]] * 20}
    entry = decide.entries_from_sample(json.loads(json.dumps(sample)), "bca")["macro_f1"]
    assert entry == {
        "id": "X1",
        "labels": DOC["labels"],
        "prediction": [1] * 20,
        "scores": [1.0] * 20,
        "unparsed": 0.0,
    }


@pytest.mark.parametrize(
    ("sample", "template", "message"),
    [
        ({"doc": DOC}, "bca", "not a sample of a ValueEval bca task: KeyError: 'filtered_resps'"),
        ({"doc": DOC, "filtered_resps": ["yes"]}, "bca", "80 responses expected, got 1"),
        ({"doc": DOC, "filtered_resps": ["yes"] * 40}, "bca", "not a sample of"),
        ({"doc": {}, "filtered_resps": [["-1", "True"]] * 40}, "cls", "KeyError: 'id'"),
        ({}, "abc", "no template 'abc'; there are cls, mbc, bca, oa, cot"),
    ],
)
def test_a_sample_that_is_none_of_ours(sample: dict[str, Any], template: str, message: str) -> None:
    with pytest.raises(ValueEvalError, match=message):
        decide.entries_from_sample(sample, template)


def test_light_modules_stay_light() -> None:
    """Re-scoring must not cost the import of lm_eval or torch."""
    code = (
        "import sys, valueeval.tasks.templates.decide, valueeval.tasks.harness.fewshot;"
        "print(sorted({'lm_eval', 'torch', 'datasets', 'transformers'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
