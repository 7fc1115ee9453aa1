"""Scores on cases that can be counted by hand, against scikit-learn, and on the released labels."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score, precision_score, recall_score

from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.scores import scoring
from valueeval.tasks.scores.average_precision import macro_ap
from valueeval.tasks.scores.intervals import Interval
from valueeval.tasks.scores.scoring import AGGREGATIONS, METRICS, intervals, score
from valueeval.tasks.values import VALUE_SLUGS


def rows(*sets: set[int]) -> np.ndarray:
    """One row of 20 labels a set of positive columns."""
    return np.array([[column in s for column in range(20)] for s in sets], dtype=bool)


# Value 0: tp 1, predicted 2, actual 1 → P 1/2, R 1,   F1 2/3
# Value 1: tp 1, predicted 1, actual 2 → P 1,   R 1/2, F1 2/3
# Value 2: tp 0, predicted 0, actual 1 → P 0,   R 0,   F1 0
# Value 3: tp 0, predicted 1, actual 0 → left out of the means
TRUTH = rows({0, 1}, {1}, {2}, set())
PREDICTION = rows({0, 1}, {0}, {3}, set())


def test_scores_counted_by_hand() -> None:
    result = score(TRUTH, PREDICTION, unparsed=[0, 0, 1, 0])
    assert result["macro_precision"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert result["macro_recall"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert result["official_f1"] == pytest.approx(1 / 2)  # harmonic mean of 1/2 and 1/2
    assert result["macro_f1"] == pytest.approx(4 / 9)
    assert result["micro_f1"] == pytest.approx(2 * 2 / (4 + 4))
    assert result["subset_accuracy"] == 2 / 4
    assert result["predicted_rate"] == 4 / 80
    assert result["unparsed"] == 1 / 4
    assert [result[f"f1_{slug}"] for slug in VALUE_SLUGS[:3]] == pytest.approx([2 / 3, 2 / 3, 0])
    assert [result[f"f1_{slug}"] for slug in VALUE_SLUGS[3:]] == [None] * 17


def test_counts() -> None:
    counts = scoring.per_value_counts(TRUTH, PREDICTION)
    assert counts.tp[:4].tolist() == [1, 1, 0, 0]
    assert counts.predicted[:4].tolist() == [2, 1, 0, 1]
    assert counts.actual[:4].tolist() == [1, 2, 1, 0]


def test_official_and_macro_f1_differ() -> None:
    """Half the values always predicted, half never: the harmonic mean of the averages is kinder."""
    truth = rows({0, 1}, {0, 1})
    prediction = rows({0}, {0})
    result = score(truth, prediction)
    assert (result["macro_f1"], result["official_f1"]) == (0.5, 0.5)
    truth = rows({0, 1}, {0, 1}, {0}, {0}, {0})
    prediction = rows({0, 1}, {0, 1}, {1}, {1}, {1})  # value 0: P 1, R 2/5; value 1: P 2/5, R 1
    result = score(truth, prediction)
    assert result["official_f1"] == pytest.approx(0.7)
    assert result["macro_f1"] == pytest.approx(4 / 7)


@pytest.mark.parametrize("n", [1, 4])
def test_no_positive_anywhere_is_none(n: int) -> None:
    result = score(np.zeros((n, 20)), np.ones((n, 20)))
    assert result["subset_accuracy"] == 0
    assert result["predicted_rate"] == 1
    defined = ("subset_accuracy", "predicted_rate")
    assert all(value is None for key, value in result.items() if key not in defined)


def test_no_argument_is_none() -> None:
    assert set(score([], [], unparsed=[]).values()) == {None}


def test_perfect_single_argument() -> None:
    result = score(rows({4}), rows({4}))
    assert result["official_f1"] == result["macro_f1"] == result["micro_f1"] == 1


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        (np.ones((2, 19)), np.ones((2, 20)), r"truth: shape \(arguments, 20\) expected"),
        (np.ones((2, 20)), np.ones(20), r"prediction: shape .* got \(20,\)"),
        (np.ones((2, 20)), np.ones((3, 20)), "truth has 2 arguments, prediction 3"),
        (np.ones((2, 20)), np.full((2, 20), 0.5), "prediction: only 0 and 1"),
        (np.full((2, 20), np.nan), np.ones((2, 20)), "truth: only 0 and 1"),
    ],
)
def test_refuses_what_is_no_label_matrix(truth: object, prediction: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score(truth, prediction)  # type: ignore[arg-type]


label_matrices = st.integers(1, 12).flatmap(
    lambda n: st.tuples(arrays(bool, (n, 20)), arrays(bool, (n, 20)))
)


@given(label_matrices)
@settings(max_examples=150, deadline=None)
def test_scikit_learn_agrees(matrices: tuple[np.ndarray, np.ndarray]) -> None:
    truth, prediction = matrices
    result = score(truth, prediction)
    present = truth.any(0)
    if not present.any():
        assert result["macro_f1"] is None
        return
    t, p = truth[:, present], prediction[:, present]
    options = {"average": "macro", "zero_division": 0}
    if t.shape[1] == 1:  # scikit-learn would read one column as a binary problem
        t, p = t[:, 0], p[:, 0]
        options = {"average": "binary", "zero_division": 0}
    precision, recall = precision_score(t, p, **options), recall_score(t, p, **options)
    assert result["macro_precision"] == pytest.approx(precision, abs=1e-12)
    assert result["macro_recall"] == pytest.approx(recall, abs=1e-12)
    assert result["macro_f1"] == pytest.approx(f1_score(t, p, **options), abs=1e-12)
    harmonic = 2 * precision * recall / (precision + recall) if precision + recall else 0
    assert result["official_f1"] == pytest.approx(harmonic, abs=1e-12)
    micro = f1_score(truth, prediction, average="micro", zero_division=0)
    assert result["micro_f1"] == pytest.approx(micro, abs=1e-12)
    per_value = f1_score(truth, prediction, average=None, zero_division=0)
    for slug, expected, has_positive in zip(VALUE_SLUGS, per_value, present, strict=True):
        assert result[f"f1_{slug}"] == (pytest.approx(expected) if has_positive else None)


def test_known_answers_on_the_released_test_labels(real_data_dir: Path) -> None:
    truth = load_set("main", real_data_dir).labels
    result = score(truth, np.ones_like(truth))
    assert result["official_f1"] == pytest.approx(0.26293020308, abs=1e-10)
    assert result["macro_f1"] == pytest.approx(0.24842634517, abs=1e-10)


# --------------------------------------------------------------------------------- intervals


@pytest.fixture(scope="module")
def run() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """200 arguments on 20 conclusions; each conclusion has its own rate of errors."""
    rng = np.random.default_rng(5)
    clusters = np.repeat(np.arange(20), 10)
    truth = rng.random((200, 20)) < 0.3
    errors = rng.random((20, 1)) ** 3
    prediction = truth ^ (rng.random((200, 20)) < errors[clusters] / 2)
    return truth, prediction, [f"c{c}" for c in clusters]


def test_clusters_widen_the_interval(run: tuple[np.ndarray, np.ndarray, list[str]]) -> None:
    truth, prediction, clusters = run
    by_cluster = intervals(truth, prediction, clusters)
    by_argument = intervals(truth, prediction)
    assert (by_cluster.units, by_argument.units) == (20, 200)
    for name in ("macro_f1", "official_f1"):
        wide, narrow = getattr(by_cluster, name), getattr(by_argument, name)
        assert wide.estimate == narrow.estimate == score(truth, prediction)[name]
        assert wide.ci_low < wide.estimate < wide.ci_high
        assert wide.stderr > 1.5 * narrow.stderr
        assert wide.ci_high - wide.ci_low > 1.5 * (narrow.ci_high - narrow.ci_low)


def test_intervals_is_repeatable_and_ignores_order(
    run: tuple[np.ndarray, np.ndarray, list[str]],
) -> None:
    truth, prediction, clusters = run
    once = intervals(truth, prediction, clusters)
    order = np.random.default_rng(0).permutation(len(truth))
    again = intervals(truth[order], prediction[order], [clusters[i] for i in order])
    assert once == again


def test_interval_of_a_mean_matches_theory() -> None:
    """One value, always true, predicted for p: F1's stderr is that of a known ratio."""
    n, p = 400, 0.5
    truth = rows(*[{0}] * n)
    prediction = rows(*[{0} if i % 2 else set() for i in range(n)])
    interval = intervals(truth, prediction).macro_f1
    # F1 = 2R/(1+R) with R a binomial share: dF1/dR = 2/(1+R)²
    expected = 2 / (1 + p) ** 2 * np.sqrt(p * (1 - p) / n)
    assert interval.stderr == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    ("truth", "clusters"),
    [
        (rows({1}), None),  # one argument
        (rows(*[{1}] * 8), list("aabbccdd")),  # four conclusions
        (rows(set(), set()), None),  # nothing positive
    ],
)
def test_undefined_interval_is_none(truth: np.ndarray, clusters: list[str] | None) -> None:
    result = intervals(truth, truth, clusters)
    for interval in (result.macro_f1, result.official_f1):
        assert (interval.stderr, interval.ci_low, interval.ci_high) == (None, None, None)
    assert result.macro_f1.estimate == (1.0 if truth.any() else None)


def test_a_perfect_run_is_certain() -> None:
    truth = rows(*[{i % 20} for i in range(40)])
    for clusters in (None, [i // 4 for i in range(40)]):
        assert intervals(truth, truth, clusters).macro_f1 == Interval(1.0, 0.0, 1.0, 1.0)


def test_intervals_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="1 conclusions for 2 arguments"):
        intervals(rows({1}, {2}), rows({1}, {2}), ["a"])


# --------------------------------------------------------------------------- lm-eval metrics


def entries_of(
    truth: np.ndarray,
    prediction: np.ndarray,
    conclusions: list[str],
    scores: np.ndarray | None = None,
) -> list[dict[str, object]]:
    return [
        scoring.metric_entries(
            id=f"A{i}",
            conclusion=conclusion,
            labels=list(t),
            prediction=list(p),
            scores=None if scores is None else scores[i].tolist(),
            unparsed=0.0,
        )
        for i, (t, p, conclusion) in enumerate(zip(truth, prediction, conclusions, strict=True))
    ]


def test_metric_names() -> None:
    assert METRICS[:5] == (
        "macro_f1",
        "macro_f1_stderr",
        "macro_f1_ci_low",
        "macro_f1_ci_high",
        "official_f1",
    )
    assert METRICS[-20:] == tuple(f"f1_{slug}" for slug in VALUE_SLUGS)
    assert len(METRICS) == len(set(METRICS)) == 36
    assert set(AGGREGATIONS) == set(METRICS)
    assert set(score(TRUTH, PREDICTION)) <= set(METRICS)


def test_entries_of_one_argument() -> None:
    entries = scoring.metric_entries(
        id="A1",
        conclusion="c",
        labels=[1, 1] + [0] * 18,
        prediction=[True, False, True] + [False] * 17,
        scores=np.linspace(0, 1, 20).tolist(),
        unparsed=0.25,
    )
    assert tuple(entries) == METRICS
    assert entries["macro_f1"]["id"] == "A1"
    assert entries["macro_f1"]["labels"] == [1, 1] + [0] * 18
    assert entries["macro_f1"]["prediction"] == [1, 0, 1] + [0] * 17
    assert entries["macro_f1"]["scores"][-1] == 1
    assert entries["unparsed"] == 0.25
    assert [entries[f"f1_{slug}"] for slug in VALUE_SLUGS[:4]] == ["TP", "FN", "FP", "TN"]
    assert entries["official_f1"] == f"{conclusion_key('c')}:c0000:a0000"
    assert len(json.dumps({k: v for k, v in entries.items() if k != "macro_f1"})) < 1700


def test_aggregations_are_the_scores(run: tuple[np.ndarray, np.ndarray, list[str]]) -> None:
    truth, prediction, clusters = run
    scores = np.random.default_rng(6).normal(size=truth.shape)
    entries = entries_of(truth, prediction, clusters, scores)
    expected: dict[str, object] = {
        **score(truth, prediction), "unparsed": 0.0, "macro_ap": macro_ap(truth, scores),
        "answer_mass": None,
    }  # fmt: skip
    found = intervals(truth, prediction, [conclusion_key(c) for c in clusters])
    for point in ("macro_f1", "official_f1"):
        for part in ("stderr", "ci_low", "ci_high"):
            expected[f"{point}_{part}"] = getattr(getattr(found, point), part)
    assert {m: AGGREGATIONS[m]([e[m] for e in entries]) for m in METRICS} == expected


def test_answer_mass_is_the_mean_where_every_argument_has_one() -> None:
    assert AGGREGATIONS["answer_mass"]([0.25, 0.75]) == 0.5
    assert AGGREGATIONS["answer_mass"]([0.25, None]) is None


def test_macro_ap_needs_the_scores_of_every_argument(
    run: tuple[np.ndarray, np.ndarray, list[str]],
) -> None:
    truth, prediction, clusters = run
    scores = np.random.default_rng(6).normal(size=truth.shape)
    entries = [each["macro_ap"] for each in entries_of(truth, prediction, clusters, scores)]
    entries[7] = entries_of(truth, prediction, clusters)[7]["macro_ap"]
    assert AGGREGATIONS["macro_ap"](entries) is None


def test_intervals_runs_once_a_task(
    run: tuple[np.ndarray, np.ndarray, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    original = scoring.intervals
    monkeypatch.setattr(scoring, "intervals", lambda *a, **k: calls.append(1) or original(*a, **k))
    scoring._intervals_compact.cache_clear()
    entries = entries_of(*run)
    for metric in METRICS:
        AGGREGATIONS[metric]([e[metric] for e in reversed(entries)])
    assert len(calls) == 1


def test_undefined_aggregations_survive_lm_eval_table_and_json() -> None:
    """One argument with no positive: null in JSON, and lm-eval's «N/A» where it formats numbers."""
    entries = entries_of(rows(set()), rows({1}), ["c"])
    results = {m: AGGREGATIONS[m]([e[m] for e in entries]) for m in METRICS}
    assert results["macro_f1"] is None
    assert results["f1_hedonism"] is None
    assert results["macro_f1_ci_low"] is None
    assert results["macro_f1_stderr"] == "N/A"
    assert (results["subset_accuracy"], results["unparsed"]) == (0.0, 0.0)
    json.dumps(results, allow_nan=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # third-party import noise
        from lm_eval.utils import make_table
    table = make_table(
        {
            "results": {"task": {f"{m},none": v for m, v in results.items()}},
            "versions": {},
        }
    )
    assert "macro_f1" in table


@given(st.lists(st.booleans(), min_size=20, max_size=20))
def test_hexadecimal_bits_round_trip(bits: list[bool]) -> None:
    word = scoring._to_hex([int(b) for b in bits])
    assert len(word) == 5
    assert scoring._from_hex([word]).tolist() == [bits]
