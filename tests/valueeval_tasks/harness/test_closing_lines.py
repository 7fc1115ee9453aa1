"""The line that follows lm-eval's table."""

from __future__ import annotations

import pickle

import pytest

from valueeval.tasks.harness.closing_lines import closing_lines, noting
from valueeval.tasks.scores.scoring import AGGREGATIONS, metric_entries
from valueeval.tasks.values import VALUE_NAMES

N = len(VALUE_NAMES)
CONCLUSIONS = {f"a{i}": f"We should do thing {i % 8}." for i in range(24)}


@pytest.fixture(autouse=True)
def nothing_noted() -> None:
    """Earlier tests of this process may have scored tasks."""
    closing_lines()


def aggregate(task: str, right: int = 24) -> None:
    """Score a run that decides rightly on the first arguments, as lm-eval does."""
    rows = []
    for number, (id, conclusion) in enumerate(CONCLUSIONS.items()):
        labels = [int(value % 8 == number % 8) for value in range(N)]
        decided = labels if number < right else [0] * N
        rows.append(
            metric_entries(
                id=id, conclusion=conclusion, labels=labels, prediction=decided, scores=None,
                unparsed=0.0, answer_mass=None,
            )
        )  # fmt: skip
    for name, function in noting(task, AGGREGATIONS, CONCLUSIONS).items():
        function([row[name] for row in rows])


def test_one_task_has_one_line_without_its_name() -> None:
    aggregate("valueeval_bca")
    assert closing_lines() == ["macro_f1 1.000 (1.00 to 1.00), official_f1 1.000, 8 conclusions"]
    assert closing_lines() == []


def test_several_tasks_are_named() -> None:
    aggregate("valueeval_bca", right=12)
    aggregate("valueeval_cls")
    first, second = closing_lines()
    assert first.startswith("valueeval_bca: macro_f1 0.")
    assert "official_f1 0." in first
    assert second.startswith("valueeval_cls: macro_f1 1.000 ")


def test_aggregations_give_what_they_gave_and_can_be_sent_elsewhere() -> None:
    noted = noting("t", AGGREGATIONS, CONCLUSIONS)
    assert noted.keys() == AGGREGATIONS.keys()
    assert pickle.loads(pickle.dumps(noted["unparsed"]))([0.0, 1.0]) == 0.5  # noqa: S301 (ours)
    closing_lines()


def test_scores_that_are_undefined_or_without_interval() -> None:
    entries = [{"id": "a0", "labels": [0] * N, "prediction": [0] * N}]
    noting("t", AGGREGATIONS, CONCLUSIONS)["macro_f1"](entries)
    assert closing_lines() == ["macro_f1 undefined, official_f1 undefined, 1 conclusion"]
