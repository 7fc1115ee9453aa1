"""Tables of systems: who can be the best, ranks, and a reference row."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from valueeval.tasks.scores import many_systems
from valueeval.tasks.scores.differences import difference
from valueeval.tasks.scores.jackknife import Array, LeaveOneOut
from valueeval.tasks.scores.many_systems import differences_from, rank_systems


def table(values: list[float], noise: float = 0.02, conclusions: int = 20) -> LeaveOneOut:
    """Systems with independent influences of conclusions of the same size."""
    rng = np.random.default_rng(0)
    value = np.array(values)
    changes = noise * rng.normal(size=(len(values), conclusions)) / np.sqrt(conclusions)
    keys = tuple(f"c{c:03d}" for c in range(conclusions))
    sizes = np.full(conclusions, 10)
    return LeaveOneOut(value, value[:, None] + changes, keys, sizes, np.ones(conclusions))


def singles(left: LeaveOneOut) -> list[list[int]]:
    return [[run] for run in range(len(left.value))]


def test_systems_far_apart_have_their_ranks() -> None:
    left = table([0.3, 0.9, 0.6])
    found = rank_systems(left, singles(left))
    assert found is not None
    assert found.can_be_best.tolist() == [False, True, False]
    assert found.rank_low.tolist() == found.rank_high.tolist() == [3, 1, 2]


def test_systems_near_each_other_share_ranks() -> None:
    left = table([0.500, 0.501, 0.502, 0.9])
    found = rank_systems(left, singles(left))
    assert found is not None
    assert found.can_be_best.tolist() == [False, False, False, True]
    assert found.rank_low.tolist() == [2, 2, 2, 1]
    assert found.rank_high.tolist() == [4, 4, 4, 1]


def test_identical_systems_can_all_be_the_best() -> None:
    left = table([0.5])
    same = replace(left, value=left.value.repeat(4), without=left.without.repeat(4, axis=0))
    found = rank_systems(same, singles(same))
    assert found is not None
    assert found.can_be_best.all()
    assert (found.rank_low == 1).all()
    assert (found.rank_high == 4).all()
    for one in differences_from(same, singles(same), 2):
        assert (one.value, one.low, one.high, one.p) == (0, 0, 0, 1)


def test_one_system_is_the_best() -> None:
    left = table([0.5])
    found = rank_systems(left, [[0]])
    assert found is not None
    assert (found.can_be_best[0], found.rank_low[0], found.rank_high[0]) == (True, 1, 1)
    assert differences_from(left, [[0]], 0)[0].p == 1


def test_whoever_has_another_found_better_cannot_be_the_best_and_ranks_say_so() -> None:
    rng = np.random.default_rng(1)
    left = table(list(0.5 + rng.normal(size=30) / 30))
    found = rank_systems(left, singles(left))
    assert found is not None
    assert 0 < found.can_be_best.sum() < 30
    assert not (found.can_be_best & (found.rank_low > 1)).any()
    assert found.can_be_best[left.value.argmax()]
    assert (found.rank_low <= found.rank_high).all()


def test_the_order_of_systems_makes_no_difference() -> None:
    left = table(list(np.linspace(0.5, 0.56, 12)))
    order = np.random.default_rng(2).permutation(12)
    shuffled = replace(left, value=left.value[order], without=left.without[order])
    one, other = rank_systems(left, singles(left)), rank_systems(shuffled, singles(shuffled))
    assert one is not None
    assert other is not None
    assert np.array_equal(one.rank_low[order], other.rank_low)
    assert np.array_equal(one.can_be_best[order], other.can_be_best)


@pytest.mark.parametrize("weights", [np.ones(20), np.arange(1.0, 21.0)])
def test_two_systems_are_judged_as_by_their_difference(weights: Array) -> None:
    """The draws give the quantile of t within their own error, also for uneven conclusions."""
    left = replace(table([0.5, 0.52]), weights=weights)
    _, drawn = differences_from(left, singles(left), 0)
    exact = difference(left, [0], [1])
    assert drawn.stderr == pytest.approx(exact.stderr)
    reach = drawn.high - drawn.value  # type: ignore[operator]
    quantile = student.ppf(0.975, left.degrees_of_freedom)
    assert reach / drawn.stderr == pytest.approx(quantile, rel=0.06)  # type: ignore[operator]


def test_intervals_from_a_reference_agree_with_their_tests_and_widen_with_the_table() -> None:
    rng = np.random.default_rng(3)
    left = table(list(0.5 + rng.normal(size=40) / 60))
    found = differences_from(left, singles(left), 7)
    assert found[7].value == 0
    for one in found:
        assert one.told_apart == (not one.low <= 0 <= one.high)  # type: ignore[operator]
    pair = differences_from(left, [[7], [8]], 0)[1]
    assert found[8].high - found[8].low > pair.high - pair.low  # type: ignore[operator]


def test_seeds_make_it_harder_to_tell_systems_apart() -> None:
    single = table([0.50, 0.53], noise=0.005)
    assert rank_systems(single, [[0], [1]]).can_be_best.tolist() == [False, True]  # type: ignore[union-attr]
    seeds = table([0.46, 0.50, 0.54, 0.49, 0.53, 0.57], noise=0.005)
    found = rank_systems(seeds, [[0, 1, 2], [3, 4, 5]])
    assert found is not None
    assert found.can_be_best.all()


@pytest.mark.parametrize("conclusions", [1, 2, 4])
def test_too_few_conclusions_rank_nothing(conclusions: int) -> None:
    left = table([0.3, 0.9], conclusions=conclusions)
    assert rank_systems(left, singles(left)) is None
    low, high = differences_from(left, singles(left), 0)
    assert (low.value, high.value) == (0, pytest.approx(0.6))
    assert high.p is high.low is high.high is None


def test_an_undefined_score_ranks_nothing() -> None:
    left = table([0.3, np.nan])
    assert rank_systems(left, singles(left)) is None
    assert [one.value for one in differences_from(left, singles(left), 0)] == [0, None]


def test_a_constant_difference_is_a_difference() -> None:
    left = table([0.5])
    both = replace(
        left, value=np.array([0.5, 0.6]), without=np.vstack([left.without, left.without + 0.1])
    )
    found = rank_systems(both, [[0], [1]])
    assert found is not None
    assert found.can_be_best.tolist() == [False, True]


def test_the_draws_are_those_of_the_jackknife_on_normal_data() -> None:
    """Uneven sizes: the largest t of the draws is distributed as that of sets drawn outright."""
    sizes = np.array([80] * 5 + [10] * 10)
    w = sizes / sizes.sum()
    rng = np.random.default_rng(4)
    own = rng.normal(size=(3000, 3, len(sizes)))
    score = own @ w
    without = (score[..., None] - w * own) / (1 - w)
    gaps = [(0, 1), (0, 2), (1, 2)]
    spread = [without[:, i] - without[:, j] for i, j in gaps]
    n = len(sizes)
    errors = [np.sqrt((n - 1) * gap.var(-1)) for gap in spread]
    largest = np.max(
        [np.abs(score[:, i] - score[:, j]) / e for (i, j), e in zip(gaps, errors, strict=True)], 0
    )
    keys = tuple(f"{c:02d}" for c in range(n))
    left = LeaveOneOut(score[0], without[0], keys, sizes, sizes.astype(float))
    family = many_systems._Family(left, [[0], [1], [2]])
    critical = family.critical(~np.eye(3, dtype=bool))
    assert (largest > critical).mean() == pytest.approx(0.05, abs=0.02)


def test_conclusions_without_positives_take_no_part() -> None:
    left = table([0.3, 0.9, 0.6])
    weights = np.ones(20)
    weights[3] = 0
    found = rank_systems(replace(left, weights=weights), singles(left))
    assert found is not None
    assert found.rank_low.tolist() == [3, 1, 2]


def test_fifty_systems_take_seconds_not_minutes() -> None:
    left = table(list(np.linspace(0.5, 0.7, 50)), conclusions=103)
    start = time.process_time()
    rank_systems(left, singles(left))
    assert time.process_time() - start < 2
