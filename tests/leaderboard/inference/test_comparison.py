"""Two systems: differences are those of the tasks, families are corrected, influence is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from leaderboard_results import documents, likely, predictions

from valueeval.leaderboard.inference.comparison import (
    compare,
    family,
    leave_conclusions_out,
)
from valueeval.leaderboard.reading.predictions import Predictions
from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.scores.average_precision import macro_ap
from valueeval.tasks.scores.differences import difference, holm
from valueeval.tasks.scores.jackknife import leave_one_out

DOCS = documents([6] * 20)
TRUTH = np.array([doc["labels"] for doc in DOCS], dtype=bool)
BASE = Predictions(
    tuple(doc["id"] for doc in DOCS), TRUTH, TRUTH,
    tuple(conclusion_key(doc["conclusion"]) for doc in DOCS),
    tuple(doc["premise"] for doc in DOCS), tuple(doc["conclusion"] for doc in DOCS),
)  # fmt: skip


def run(skill: float, seed: int) -> Predictions:
    return replace(BASE, prediction=predictions(DOCS, skill, seed))


def scored(skill: float, seed: int) -> Predictions:
    scores = likely(DOCS, skill, seed)
    return replace(BASE, prediction=scores > 0, scores=scores)


def test_differences_are_those_of_the_tasks() -> None:
    a, b = [run(0.5, 1), run(0.5, 2)], [run(0.6, 3), run(0.6, 4), run(0.6, 5)]
    found = compare(a, b)
    assert [each.metric for each in found.overall] == ["macro_f1", "official_f1"]
    for each in found.overall:
        left = leave_one_out(
            TRUTH, [each.prediction for each in (*a, *b)], BASE.clusters, each.metric
        )
        assert each.difference == difference(left, [0, 1], [2, 3, 4])
        assert (len(each.a), len(each.b)) == (2, 3)
        assert each.mean_b - each.mean_a == pytest.approx(each.difference.value)
        assert each.together == pytest.approx((each.difference.low, each.difference.high))
        assert each.p_holm == each.difference.p


def test_the_values_are_one_family() -> None:
    found = compare([run(0.3, 1)], [run(0.7, 2)]).values
    tested = [each.difference.p for each in found if each.difference.p is not None]
    shown = [each.p_holm for each in found if each.p_holm is not None]
    assert len(tested) > 10
    assert shown == holm(tested)
    for each in found:
        if each.together is not None and each.difference.low is not None:
            assert each.together[0] < each.difference.low


def test_macro_ap_is_compared_where_every_run_has_scores() -> None:
    a, b = scored(1.0, 1), scored(2.0, 2)
    (ap,) = [each for each in compare([a], [b]).overall if each.metric == "macro_ap"]
    assert a.scores is not None
    assert b.scores is not None
    assert ap.mean_a == pytest.approx(macro_ap(TRUTH, a.scores))
    assert ap.mean_b == pytest.approx(macro_ap(TRUTH, b.scores))
    assert ap.told_apart
    metrics = [each.metric for each in compare([a], [run(0.5, 1)]).overall]
    assert "macro_ap" not in metrics


def test_the_conclusion_on_which_a_difference_hangs_is_found() -> None:
    better = BASE.prediction.copy()
    better[:6] = ~better[:6]  # all wrong on the first conclusion, all right elsewhere
    found = compare([replace(BASE, prediction=better)], [BASE])
    assert found.influence is not None
    most = found.influence.conclusions[0]
    assert (most.key, most.arguments) == (conclusion_key(DOCS[0]["conclusion"]), 6)
    assert most.without == pytest.approx(0)
    assert most.share > 0.9


def test_a_family_of_equal_systems_rarely_tells_any_apart() -> None:
    """3 of 60 families of 6 are expected to reject; more than 9 has a chance of 0.1 %."""
    wrong = 0
    for draw in range(60):
        left = leave_conclusions_out([run(0.5, 100 * draw)], [run(0.5, 100 * draw + 1)], "macro_f1")
        members = [("macro_f1", left, 1)] if left is not None else []
        for seed in range(2, 7):
            more = leave_conclusions_out(
                [run(0.5, 100 * draw)], [run(0.5, 100 * draw + seed)], "macro_f1"
            )
            assert more is not None
            members.append(("macro_f1", more, 1))
        wrong += any(each.told_apart for each in family(members))
    assert wrong <= 9
