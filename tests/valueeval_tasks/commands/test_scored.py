"""Scores in Python: the numbers of the command, whatever labels are given as."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from valueeval.tasks.commands.score import make_report
from valueeval.tasks.commands.scored import Scores, score
from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_NAMES, VALUE_SLUGS

RNG = np.random.default_rng(0)
TRUTH, PREDICTED = RNG.random((80, 20)) < 0.3, RNG.random((80, 20)) < 0.3
CONCLUSIONS = [f"Conclusion {number % 20}" for number in range(80)]


def test_the_numbers_are_those_of_the_command() -> None:
    margins = RNG.normal(size=(80, 20))
    scores = score(TRUTH, PREDICTED.astype(int), scores=margins, conclusions=CONCLUSIONS)
    keys = [conclusion_key(conclusion) for conclusion in CONCLUSIONS]
    ids = [str(number) for number in range(80)]
    assert scores.report == make_report(ids, TRUTH, PREDICTED, keys, scores=margins)
    assert scores["macro_ap"] == scores.report["macro_ap"]
    assert (scores.macro_f1, scores.official_f1) == (scores["macro_f1"], scores["official_f1"])


def test_frames_by_name_or_slug() -> None:
    expected = score(TRUTH, PREDICTED).report
    named = pd.DataFrame(TRUTH.astype(int), columns=list(VALUE_NAMES))[list(VALUE_NAMES)[::-1]]
    slugs = pd.DataFrame(PREDICTED, columns=list(VALUE_SLUGS)).astype("Int64")
    slugs["p_face"] = 0.5
    assert score(named, slugs).report == expected


def test_a_labelled_table_has_the_predictions_beside_its_labels() -> None:
    expected = score(TRUTH, PREDICTED).report
    labelled = pd.DataFrame(TRUTH.astype(int), columns=list(VALUE_NAMES))
    for place, slug in enumerate(VALUE_SLUGS):
        labelled[f"predicted_{slug}"] = PREDICTED[:, place].astype(int)
    assert score(labelled, labelled).report == expected
    mixed = labelled.rename(columns=lambda name: name.removeprefix("predicted_"))
    with pytest.raises(ValueEvalError, match=r"predictions: two columns for one value, 'Self-dir.*"
                       r"predict\(…, prefix='predicted_'\)"):  # fmt: skip
        score(TRUTH, mixed)


def test_rows_in_another_order_are_refused() -> None:
    """By their index; without one, or with another, rows count as they stand."""
    truth = pd.DataFrame(TRUTH.astype(int), columns=list(VALUE_NAMES))
    predicted = pd.DataFrame(PREDICTED.astype(int), columns=list(VALUE_NAMES))
    expected = score(truth, predicted).report
    shuffled = predicted.sample(frac=1, random_state=0)
    with pytest.raises(ValueEvalError, match=r"predictions: the rows of references in another ord"):
        score(truth, shuffled)
    assert score(truth, shuffled.loc[truth.index]).report == expected
    assert score(truth, predicted.set_index(np.arange(80) + 1000)).report == expected
    conclusions = pd.Series(CONCLUSIONS)
    with pytest.raises(ValueEvalError, match="conclusions: the rows of references"):
        score(truth, predicted, conclusions=conclusions[::-1])
    assert score(truth, predicted, conclusions=conclusions)["interval"]["units"] == 20
    margins = pd.DataFrame(RNG.normal(size=(80, 20)))
    with pytest.raises(ValueEvalError, match="scores: the rows of references"):
        score(truth, predicted, scores=margins[::-1])
    named = [None, np.nan, *range(78)]
    assert score(truth.set_index([named]), predicted.set_index([named])).report == expected


def test_texts_without_a_conclusion_share_none() -> None:
    conclusions = ["", " ", *CONCLUSIONS[2:]]
    assert score(TRUTH, PREDICTED, conclusions=conclusions)["interval"]["units"] == 22


def test_how_scores_show_themselves() -> None:
    scores = score(TRUTH, PREDICTED, conclusions=CONCLUSIONS, title="<b>mine</b>")
    assert f"macro_f1: {scores.macro_f1:.3f} (" in str(scores)
    assert "80 arguments, intervals over 20 conclusions" in repr(scores)
    shown = scores._repr_html_()
    assert "<b>mine" not in shown
    assert "Self-direction: thought" in shown
    table = scores.to_pandas()
    assert list(table.columns) == ["value", "precision", "recall", "f1", "support", "predicted"]
    assert table["f1"].mean() == pytest.approx(scores.macro_f1)


def test_values_without_a_positive_have_no_f1() -> None:
    truth = TRUTH.copy()
    truth[:, 0] = False
    scores = score(truth, PREDICTED)
    assert scores["f1_self_direction_thought"] is None
    assert scores.to_pandas()["f1"].isna().tolist() == [True] + [False] * 19
    assert (scores["values"], "means over 19 values" in str(scores)) == (19, True)
    assert "means over" not in str(score(TRUTH, PREDICTED))
    nothing = score(np.zeros((3, 20)), np.zeros((3, 20)))
    assert nothing.macro_f1 is None
    assert "macro_f1" not in str(nothing)
    assert isinstance(nothing, Scores)


@pytest.mark.parametrize(
    ("truth", "predicted", "options", "message"),
    [
        (TRUTH[:5], PREDICTED, {}, "references have 5 rows, predictions 80"),
        (TRUTH[:, :5], PREDICTED, {}, r"references: shape \(arguments, 20\) expected"),
        (TRUTH, PREDICTED + 1, {}, "predictions: only 0 and 1 are allowed"),
        (TRUTH, PREDICTED, {"conclusions": ["a"]}, "conclusions: 1 for 80 arguments"),
        (TRUTH, PREDICTED, {"scores": [[0.0]]}, r"scores: shape \(1, 1\) instead of \(80, 20\)"),
        (
            TRUTH,
            PREDICTED,
            {"scores": TRUTH * np.nan},
            "scores: some are missing or infinite; drop",
        ),
        (TRUTH, PREDICTED, {"scores": TRUTH - np.inf}, "scores: some are missing or infinite"),
        (TRUTH, PREDICTED, {"scores": [["a"] * 20] * 80}, "scores: not numbers"),
        (TRUTH, PREDICTED, {"conclusions": [None] * 80}, "conclusions: some are no text"),
        (
            pd.DataFrame([["yes"] * 20] * 80, columns=list(VALUE_SLUGS)),
            PREDICTED,
            {},
            "references: only 0 and 1 are allowed",
        ),
        (pd.DataFrame({"face": [1]}), PREDICTED, {}, "no column 'Self-direction: thought' or"),
    ],
)
def test_refusals(truth: object, predicted: object, options: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueEvalError, match=message):
        score(truth, predicted, **options)


def test_missing_labels_are_refused() -> None:
    frame = pd.DataFrame(TRUTH.astype(float), columns=list(VALUE_SLUGS))
    frame.iloc[3, 4] = np.nan
    for missing in (frame, frame.astype("Int64"), frame.astype(object).where(frame.notna(), None)):
        with pytest.raises(ValueEvalError, match="references: some labels are missing"):
            score(missing, PREDICTED)
