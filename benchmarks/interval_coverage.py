"""Do the leaderboard's intervals cover, and do its tests hold their level?

Simulates test sets whose truth is known, with conclusions as uneven in size as those of the main
test set (106 conclusions, ten of which hold four fifths of the 1576 arguments), and counts how
often each kind of 95 % interval covers the true score, and how often each test at 5 % finds a
difference that is not there.

A world: each conclusion has its own probability of each of the 20 values (log-odds normal around
the value's frequency in the real labels; among the ten large conclusions the log-odds of the real
labels have a standard deviation of 0.7 to 1.9, 1.3 on average), and each system its own hit and
false-alarm rates for each conclusion and value (log-odds normal). Labels and predictions are drawn
from these. The true score is that of the expected counts, over 200,000 conclusions.

    python benchmarks/interval_coverage.py              # about 15 minutes on one core
    python benchmarks/interval_coverage.py --sets 200   # a first impression
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from valueeval.tasks.scores.f1 import ClusterCounts, Metric, macro_f1, official_f1
from valueeval.tasks.scores.uncertainty import estimate, randomisation

Array = npt.NDArray[np.float64]

# Arguments per conclusion in the main test set.
SIZES = np.array(
    [183, 145, 133, 132, 124, 119, 115, 110, 105, 100, 12, 12, 10, 10, 8, 8, 7, 7]
    + [6] * 8 + [5] * 6 + [4] * 17 + [3] * 8 + [2] * 17 + [1] * 32
)  # fmt: skip
# Share of arguments with each value, in the order of the official files.
FREQUENCIES = np.array(
    [0.091, 0.248, 0.049, 0.016, 0.261, 0.069, 0.067, 0.061, 0.341, 0.252,
     0.107, 0.182, 0.034, 0.047, 0.213, 0.103, 0.373, 0.091, 0.124, 0.299]
)  # fmt: skip
METRICS: dict[str, Metric] = {"macro_f1": macro_f1, "official_f1": official_f1}


@dataclass(frozen=True)
class System:
    """Log-odds of hits and false alarms at a value of middling frequency."""

    hits: float = -0.2
    false_alarms: float = -2.3


@dataclass(frozen=True)
class World:
    """How arguments, labels and predictions come about.

    Attributes:
        systems: The systems; where there are seeds, the first.
        between: Standard deviation over conclusions of the log-odds of a value.
        own: Standard deviation over conclusions of the log-odds of hits and false alarms.
        sizes_drawn: Whether the sizes of conclusions are drawn too, or are the real ones.
        seeds: How many trainings each system is the mean of.
        seed_spread: Standard deviation over trainings of the log-odds of hits and false alarms,
            for each value; half of it again for each conclusion.
    """

    systems: tuple[System, ...] = (System(),)
    between: float = 1.3
    own: float = 0.7
    sizes_drawn: bool = False
    seeds: int = 1
    seed_spread: float = 0.0


WORLDS = {
    "as measured": World(),
    "as measured, sizes drawn": World(sizes_drawn=True),
    "conclusions alike": World(between=0.8, own=0.4),
    "conclusions far apart": World(between=1.8, own=1.1),
    "a good system": World(systems=(System(hits=1.0),)),
    "3 seeds": World(seeds=3, seed_spread=0.15),
    "3 seeds far apart": World(seeds=3, seed_spread=0.5),
    "5 seeds": World(seeds=5, seed_spread=0.3),
}


def rates(world: World, conclusions: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Probability of each value (conclusions, 20); of hits, of false alarms (runs, …)."""
    shape = (conclusions, 20)
    deviation = rng.standard_normal(shape)
    usual = np.log(FREQUENCIES / (1 - FREQUENCIES))
    actual = _sigmoid(1.25 * usual + world.between * deviation)
    hits, false_alarms = [], []
    for system in world.systems:
        common = world.own * rng.standard_normal((2, *shape)) + np.stack(
            [system.hits + 0.35 * (usual + 1.8) + 0.4 * deviation,
             system.false_alarms + 0.5 * (usual + 1.8) + 0.6 * deviation]
        )  # fmt: skip
        for _ in range(world.seeds):
            of_value = rng.standard_normal((2, 1, 20))
            of_conclusion = 0.5 * rng.standard_normal((2, *shape)) if world.seed_spread else 0.0
            odds = common + world.seed_spread * (of_value + of_conclusion)
            hits.append(_sigmoid(odds[0]))
            false_alarms.append(_sigmoid(odds[1]))
    return actual, np.stack(hits), np.stack(false_alarms)


def _sigmoid(odds: Array) -> Array:
    return 1 / (1 + np.exp(-odds))


def draw(world: World, rng: np.random.Generator) -> tuple[ClusterCounts, list[list[int]]]:
    """One test set as counts, and the runs of each system."""
    sizes = rng.choice(SIZES, len(SIZES)) if world.sizes_drawn else SIZES
    probability, hits, false_alarms = rates(world, len(sizes), rng)
    actual = rng.binomial(sizes[:, None], probability)
    tp = rng.binomial(actual, hits)
    predicted = tp + rng.binomial(sizes[:, None] - actual, false_alarms)
    counts = ClusterCounts(tp.astype(float), predicted.astype(float), actual.astype(float))
    runs = range(len(world.systems) * world.seeds)
    return counts, [list(runs[i : i + world.seeds]) for i in runs[:: world.seeds]]


def true_scores(world: World, metric: Metric, conclusions: int = 200_000) -> Array:
    """The score that each system's mean over test sets and trainings tends to."""
    rng = np.random.default_rng(1)
    # Trainings have to be drawn often too: a value's deviation is one draw a training.
    rounds = 400 if world.seed_spread else 20
    scores = []
    totals = np.zeros((3, len(world.systems), 20))
    for _ in range(rounds):
        one = replace(world, seeds=1)
        actual, hits, false_alarms = rates(one, conclusions // rounds, rng)
        tp = (actual * hits).sum(1)
        part = np.stack([tp, tp + ((1 - actual) * false_alarms).sum(1),
                         np.broadcast_to(actual.sum(0), tp.shape)])  # fmt: skip
        scores.append(metric(*part)[0])
        totals += part
    return np.mean(scores, axis=0) if world.seed_spread else metric(*totals)[0]


# ------------------------------------------------------------------------------- intervals


def plain_bootstraps(
    counts: ClusterCounts, metric: Metric, resamples: int, seed: int
) -> dict[str, tuple[float, float]]:
    """Percentile and BCa interval of a single run, for comparison."""
    rng = np.random.default_rng(seed)
    n = counts.clusters
    weights = rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(float)
    parts = counts.tp[0], counts.predicted[0], counts.actual
    values, _ = metric(*(weights @ part for part in parts))
    estimated = float(metric(*(part.sum(0) for part in parts))[0])
    left, _ = metric(*(part.sum(0) - part for part in parts))
    skew = left.mean() - left
    normal = NormalDist()
    acceleration = (skew**3).sum() / (6 * (skew**2).sum() ** 1.5)
    below = np.clip((values < estimated).mean(), 1 / resamples, 1 - 1 / resamples)
    shift = normal.inv_cdf(float(below))
    ends = []
    for z in (normal.inv_cdf(0.025), normal.inv_cdf(0.975)):
        ends.append(normal.cdf(shift + (shift + z) / (1 - acceleration * (shift + z))))
    low, high, bca_low, bca_high = np.quantile(values, [0.025, 0.975, *ends])
    return {"percentile": (low, high), "BCa": (bca_low, bca_high)}


def coverage(
    world: World, metric: Metric, sets: int, resamples: int, seed: int = 1
) -> dict[str, tuple[float, float]]:
    """Kind of interval -> share of test sets in which it covers the truth, and its mean width."""
    truth = true_scores(world, metric)[0]
    rng = np.random.default_rng(seed)
    covered: dict[str, list[bool]] = defaultdict(list)
    width: dict[str, list[float]] = defaultdict(list)
    for number in range(sets):
        counts, rows = draw(world, rng)
        found = estimate(counts, rows, metric, resamples=resamples, seed=number)
        kinds = {"leaderboard's": (float(found.low[0]), float(found.high[0]))}
        if world.seeds == 1:
            kinds |= plain_bootstraps(counts, metric, resamples, number)
        for kind, (low, high) in kinds.items():
            covered[kind].append(low <= truth <= high)
            width[kind].append(high - low)
    return {kind: (float(np.mean(covered[kind])), float(np.mean(width[kind]))) for kind in covered}


# ------------------------------------------------------------------------------- tests


def equally_good(metric: Metric) -> World:
    """Two systems with different habits and the same true score: one cautious, one bold."""
    cautious, low, high = System(), -1.2, 0.8
    for _ in range(20):
        middle = (low + high) / 2
        pair = World(systems=(cautious, System(hits=middle, false_alarms=-2.9)))
        one, other = true_scores(pair, metric, conclusions=40_000)
        low, high = (middle, high) if other < one else (low, middle)
    return pair


def level(
    world: World, metric: Metric, sets: int, resamples: int, seed: int = 2
) -> dict[str, float]:
    """Test -> share of test sets in which it finds a difference at 5 % between equals."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[bool]] = defaultdict(list)
    for number in range(sets):
        counts, rows = draw(world, rng)
        boot = estimate(counts, rows, metric, best=1, resamples=resamples, seed=number)
        swaps = randomisation(counts, rows, 1, metric, resamples, seed=number)
        found["cluster bootstrap"].append(bool(boot.p[0] <= 0.05))
        if not np.isnan(swaps[0]):  # not defined for systems of several seeds
            found["randomisation"].append(bool(swaps[0] <= 0.05))
    return {test: float(np.mean(values)) for test, values in found.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Prints one line for each world, metric and kind."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--sets", type=int, default=2000, help="simulated test sets a line")
    parser.add_argument("--resamples", type=int, default=999)
    arguments = parser.parse_args(argv)
    error = 1.96 * (0.95 * 0.05 / arguments.sets) ** 0.5
    print(f"nominal 95 %; shares are exact to ± {100 * error:.1f} points\n")
    started = time.perf_counter()
    for title, world in WORLDS.items():
        for name, metric in METRICS.items():
            kinds = coverage(world, metric, arguments.sets, arguments.resamples)
            cells = (f"{kind} {100 * share:.1f} % (width {width:.3f})"
                     for kind, (share, width) in kinds.items())  # fmt: skip
            print(f"{title}, {name}: " + ", ".join(cells), flush=True)
    print()
    for name, metric in METRICS.items():
        pairs = {
            "two systems alike": World(systems=(System(), System())),
            "two equally good systems": equally_good(metric),
            "two systems alike, 3 seeds each": World(
                systems=(System(), System()), seeds=3, seed_spread=0.3
            ),
        }
        for title, world in pairs.items():
            shares = level(world, metric, arguments.sets, arguments.resamples)
            cells = (f"{test} {100 * share:.1f} %" for test, share in shares.items())
            print(f"level at 5 %, {title}, {name}: " + ", ".join(cells), flush=True)
    print(f"\n{time.perf_counter() - started:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
