"""Statistics over conclusions: values that can be checked in the head, levels, coverage, cost."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from valueeval.tasks.scores.f1 import (
    ClusterCounts,
    Metric,
    count,
    f1_of_value,
    macro_f1,
    official_f1,
)
from valueeval.tasks.scores.scoring import score
from valueeval.tasks.scores.uncertainty import argument_interval, estimate, holm, randomisation

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    """The documented simulation, benchmarks/interval_coverage.py."""
    path = ROOT / "benchmarks" / "interval_coverage.py"
    spec = importlib.util.spec_from_file_location("interval_coverage", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["interval_coverage"] = module
    spec.loader.exec_module(module)
    return module


def random_labels(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((n, 20)) < 0.2, rng.random((n, 20)) < 0.3


# ------------------------------------------------------------------------------- scores


@pytest.mark.parametrize("seed", range(5))
def test_scores_agree_with_the_scorer(seed: int) -> None:
    truth, prediction = random_labels(60, seed)
    truth[:, 3] = False  # a value with no positive is left out
    prediction[:, 5] = False  # a value that is never predicted has precision 0
    counts = count(truth, [prediction], list(range(60)))
    totals = counts.tp.sum(1)[0], counts.predicted.sum(1)[0], counts.actual.sum(0)
    expected = score(truth, prediction)
    assert macro_f1(*totals)[0] == pytest.approx(expected["macro_f1"], abs=1e-12)
    assert official_f1(*totals)[0] == pytest.approx(expected["official_f1"], abs=1e-12)


@pytest.mark.parametrize("metric", [macro_f1, official_f1, f1_of_value(4)])
def test_gradients_are_those_of_finite_differences(metric: Metric) -> None:
    rng = np.random.default_rng(0)
    tp = rng.uniform(5, 10, 20)
    totals = np.concatenate([tp, tp + rng.uniform(1, 5, 20), tp + rng.uniform(1, 5, 20)])
    _, gradient = metric(*np.split(totals, 3))
    for place in range(60):
        step = np.zeros(60)
        step[place] = 1e-6
        up, down = (float(metric(*np.split(totals + sign * step, 3))[0]) for sign in (1, -1))
        assert gradient[place] == pytest.approx((up - down) / 2e-6, abs=1e-7)


def test_counts_do_not_depend_on_the_order_of_arguments() -> None:
    truth, prediction = random_labels(30, 1)
    clusters = [f"c{i % 7}" for i in range(30)]
    order = np.random.default_rng(2).permutation(30)
    one = count(truth, [prediction], clusters)
    other = count(truth[order], [prediction[order]], [clusters[i] for i in order])
    assert np.array_equal(one.tp, other.tp)
    assert one.tp.shape == (1, 7, 20)
    assert one.tp.sum() == (truth & prediction).sum()


# ------------------------------------------------------------------------------- small cases


def test_a_perfect_system_has_no_uncertainty() -> None:
    truth, _ = random_labels(60, 3)
    counts = count(truth, [truth], [i % 10 for i in range(60)])
    found = estimate(counts, [[0]], resamples=200)
    assert (found.value[0], found.low[0], found.high[0]) == (1.0, 1.0, 1.0)


def test_a_system_does_not_differ_from_itself() -> None:
    truth, prediction = random_labels(60, 4)
    counts = count(truth, [prediction, prediction], [i % 10 for i in range(60)])
    found = estimate(counts, [[0], [1]], resamples=200)
    assert (found.p == 1).all()
    assert (found.difference_low == 0).all()
    assert (found.difference_high == 0).all()
    assert (found.rank_low == 1).all()
    assert (found.rank_high == 2).all()
    assert (randomisation(counts, [[0], [1]], 0, resamples=200) == 1).all()


def test_a_system_that_is_better_everywhere_is_told_apart() -> None:
    truth, prediction = random_labels(300, 5)
    better = np.where(np.random.default_rng(6).random(truth.shape) < 0.7, truth, prediction)
    counts = count(truth, [prediction, better], [i % 30 for i in range(300)])
    found = estimate(counts, [[0], [1]], resamples=500)
    assert found.best == 1
    assert found.p[0] < 0.01
    assert found.difference_high[0] < 0
    assert (list(found.rank_low), list(found.rank_high)) == ([2, 1], [2, 1])
    assert randomisation(counts, [[0], [1]], 1, resamples=500)[0] < 0.01


@pytest.mark.parametrize("clusters", [1, 2, 4])
def test_too_few_conclusions_give_no_interval_rather_than_a_wrong_one(clusters: int) -> None:
    truth, prediction = random_labels(40, 7)
    counts = count(truth, [prediction], [i % clusters for i in range(40)])
    found = estimate(counts, [[0]], resamples=100)
    assert np.isfinite(found.value).all()
    assert np.isnan([found.low[0], found.high[0], found.p[0]]).all()
    assert np.isnan(randomisation(counts, [[0]], 0, resamples=100)).all()


def test_a_value_in_one_conclusion_only_has_no_interval_of_its_own() -> None:
    truth, prediction = random_labels(60, 8)
    clusters = [i % 10 for i in range(60)]
    truth[:, 2] = [cluster == 3 for cluster in clusters]
    counts = count(truth, [prediction, truth], clusters)
    found = estimate(counts, [[0], [1]], f1_of_value(2), resamples=100)
    assert np.isnan(found.p).all()
    assert np.isfinite(estimate(counts, [[0], [1]], resamples=100).p).all()


def test_the_same_seed_gives_the_same_numbers_and_rows_do_not_change_each_other() -> None:
    truth, prediction = random_labels(100, 9)
    _, other = random_labels(100, 10)
    clusters = [i % 12 for i in range(100)]
    alone = estimate(count(truth, [prediction], clusters), [[0]], resamples=300)
    again = estimate(count(truth, [prediction], clusters), [[0]], resamples=300)
    beside = estimate(count(truth, [prediction, other], clusters), [[0], [1]], resamples=300)
    assert alone.low[0] == again.low[0]
    assert beside.low[0] == pytest.approx(alone.low[0], abs=1e-12)


def test_clusters_make_the_interval_wider_than_arguments(simulation: ModuleType) -> None:
    rng = np.random.default_rng(11)
    truth, prediction = [], []
    clusters = np.repeat(np.arange(len(simulation.SIZES)), simulation.SIZES)
    shares = rng.beta(0.5, 2, (len(simulation.SIZES), 20))[clusters]
    truth = rng.random(shares.shape) < shares
    prediction = np.where(rng.random(shares.shape) < 0.5, truth, rng.random(shares.shape) < shares)
    found = estimate(count(truth, [prediction], list(clusters)), [[0]], resamples=500)
    _, low, high = argument_interval(truth, [prediction])
    assert found.high[0] - found.low[0] > 1.3 * (high - low)


def test_an_interval_does_not_depend_on_the_rows_beside_it() -> None:
    """Of one run, and of several seeds, which are drawn anew with the conclusions."""
    truth, _ = random_labels(300, 0)
    runs = [random_labels(300, seed)[1] for seed in range(6)]
    counts = count(truth, runs, [i % 30 for i in range(300)])
    alone = [estimate(counts, [row], resamples=600) for row in ([0], [1, 2])]
    beside = estimate(counts, [[3, 4, 5], [0], [1, 2]], resamples=600)
    for row, one in enumerate(alone, start=1):
        assert beside.low[row] == pytest.approx(one.low[0], abs=1e-12)
        assert beside.high[row] == pytest.approx(one.high[0], abs=1e-12)


def test_seeds_widen_the_interval() -> None:
    truth, base = random_labels(300, 12)
    rng = np.random.default_rng(13)
    seeds = [np.where(rng.random(truth.shape) < skill, truth, base) for skill in (0.1, 0.3, 0.5)]
    counts = count(truth, seeds, [i % 30 for i in range(300)])
    together = estimate(counts, [[0, 1, 2]], resamples=500)
    single = estimate(counts, [[1]], resamples=500)
    assert together.value[0] == pytest.approx(
        np.mean([estimate(counts, [[i]], resamples=10).value[0] for i in range(3)])
    )
    assert together.high[0] - together.low[0] > single.high[0] - single.low[0]
    assert np.isnan(randomisation(counts, [[0, 1, 2]], 0, resamples=50)[0])


# ------------------------------------------------------------------------------- Holm


def test_holm_by_hand() -> None:
    # 0.01 x 3, 0.02 x 2, 0.04 x 1
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


# ------------------------------------------------------------------------------- simulation


def test_the_simulated_test_set_is_as_uneven_as_the_real_one(simulation: ModuleType) -> None:
    assert simulation.SIZES.sum() == 1576
    assert len(simulation.SIZES) == 106
    assert simulation.SIZES[:10].sum() > 0.8 * 1576 - 20


def test_simulated_intervals_cover_and_plain_bootstraps_do_not(simulation: ModuleType) -> None:
    """A small run; the full one is `python benchmarks/interval_coverage.py`."""
    found = simulation.coverage(simulation.World(), macro_f1, sets=150, resamples=300)
    assert found["leaderboard's"][0] >= 0.90  # 95 % less 3 standard errors of 150 sets
    assert found["percentile"][0] < 0.85


def test_simulated_tests_hold_their_level(simulation: ModuleType) -> None:
    world = simulation.World(systems=(simulation.System(), simulation.System()))
    found = simulation.level(world, macro_f1, sets=120, resamples=200)
    assert found["cluster bootstrap"] <= 0.11  # 5 % and 3 standard errors of 120 sets
    assert found["randomisation"] <= 0.11


def test_fifty_systems_need_little_memory(simulation: ModuleType) -> None:
    """Working memory is bounded by the block of resamples, not by their number."""
    import tracemalloc

    world = simulation.World(systems=tuple(simulation.System() for _ in range(50)))
    counts, rows = simulation.draw(world, np.random.default_rng(0))
    assert isinstance(counts, ClusterCounts)
    tracemalloc.start()
    estimate(counts, rows, resamples=1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500 * 2**20
