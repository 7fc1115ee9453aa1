"""Simulate test sets whose truth is known: do intervals cover it, do tests hold their level?

    python benchmarks/interval_coverage.py                # writes benchmarks/interval_coverage.md
    python benchmarks/interval_coverage.py --sets 200 --tables 50 --boots 0 --output first.md

Needs the official data (``VALUEEVAL_DATA``). Conclusions are as uneven in size as those of the main
test set, of validation, or of all labelled arguments together. Worlds:

- *real conclusions*: each conclusion of the simulated set is a real one of training or validation,
  drawn with its arguments, their labels and the out-of-fold predictions of two unlike classifiers
  (logistic regression on TF-IDF; nearest neighbours by cosine). Nothing is modelled.
- *beta-binomial*: each conclusion has its own probability of each value, hit rate and false-alarm
  rate, beta distributed with means and intraclass correlations fitted to those labels and
  predictions; systems share part of what makes a conclusion easy. Any number of systems and seeds.
- *all equal*: tables of 26 systems with the same true score: exchangeable ones from the
  beta-binomial world, and 26 unlike ones from real conclusions (the two classifiers at 13
  thresholds each), whose scores are shifted by their true means.

The truth of a world is the mean score over as many independent sets as are analysed.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, stdtrit
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

sys.path.append(str(Path(__file__).parent))
import studentised_bootstrap as bootstrap

from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.data.dataset import DataSet, joined, load_set
from valueeval.tasks.data.folds import folds_of
from valueeval.tasks.scores.average_precision import leave_one_out_ap
from valueeval.tasks.scores.differences import difference, holm
from valueeval.tasks.scores.f1 import Counts, means
from valueeval.tasks.scores.intervals import (
    LEVEL,
    MAX_SKEW,
    MIN_DF,
    Spread,
    contrast,
    deviations,
    score_bounds,
)
from valueeval.tasks.scores.jackknife import (
    LeaveOneOut,
    count_by_conclusion,
    degrees_of_freedom,
    score_counts,
)
from valueeval.tasks.scores.many_systems import rank_systems
from valueeval.tasks.values import VALUE_SLUGS

Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Sizes = npt.NDArray[np.int64]

RESAMPLES = 399
SYSTEMS = 26
SIZES = ("main", "validation", "pooled")
TABLE_CASES = (
    *(("main", which) for which in range(4)),
    *(("validation", which) for which in (0, 2, 3)),
    ("pooled", 0),
)
FOLDS = 5
NEIGHBOURS = 25
OUTPUT = Path(__file__).with_suffix(".md")


# ------------------------------------------------------------------------- real predictions


@dataclass(frozen=True, eq=False)
class Predicted:
    """Labelled arguments with out-of-fold scores of two classifiers.

    Attributes:
        truth: (n, 20).
        scores: Two of (n, 20).
        members: Indices of the arguments of each conclusion, the largest conclusion first.
    """

    truth: BoolArray
    scores: tuple[Array, Array]
    members: tuple[npt.NDArray[np.int64], ...]

    def decisions(self, classifier: int, often: float | None = None) -> BoolArray:
        """Return predictions by thresholds.

        Args:
            classifier: Which of the two.
            often: Each value is predicted this many times as often as it is held; by default,
                thresholds give the best F1 of each value.
        """
        tried = np.geomspace(0.3, 6, 40) if often is None else np.array([often])
        scores, n = self.scores[classifier], len(self.truth)
        decided = np.zeros(self.truth.shape, dtype=np.bool_)
        for value, truth in enumerate(self.truth.T):
            order = np.argsort(-scores[:, value], kind="stable")
            predicted = np.minimum(0.95 * n, tried * truth.sum()).astype(np.int64)
            f1 = 2 * truth[order].cumsum()[predicted - 1] / (predicted + truth.sum())
            decided[order[: predicted[np.argmax(f1)]], value] = True
        return decided


def predict(data: DataSet) -> Predicted:
    """Predict every argument from the folds that its conclusion is not in."""
    texts = [f"{a.premise} {a.stance} {a.conclusion}" for a in data.arguments]
    vectoriser = TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True)
    features = vectoriser.fit_transform(texts)
    folds, truth = folds_of(data, FOLDS), data.labels
    linear, near = np.zeros(truth.shape), np.zeros(truth.shape)
    for fold in range(FOLDS):
        rest, out = folds != fold, folds == fold
        for value in range(truth.shape[1]):
            model = LogisticRegression(C=5, solver="liblinear", tol=1e-2)
            model.fit(features[rest], truth[rest, value])
            linear[out, value] = model.decision_function(features[out])
        likeness = (features[out] @ features[rest].T).toarray()
        nearest = np.argpartition(-likeness, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        weights = np.take_along_axis(likeness, nearest, axis=1) + 1e-6
        votes = np.einsum("ik,ikv->iv", weights, truth[rest][nearest].astype(np.float64))
        near[out] = votes / weights.sum(1, keepdims=True)
    keys = np.array([conclusion_key(conclusion) for conclusion in data.conclusions])
    _, index, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    order = np.argsort(-sizes, kind="stable")
    return Predicted(truth, (linear, near), tuple(np.flatnonzero(index == c) for c in order))


def conclusion_sizes(*sets: DataSet) -> Sizes:
    """Return how many arguments each conclusion has, the most first."""
    keys = [conclusion_key(conclusion) for data in sets for conclusion in data.conclusions]
    sizes = np.unique(np.array(keys), return_counts=True)[1]
    return np.sort(sizes)[::-1].astype(np.int64)


# ----------------------------------------------------------------------------------- worlds


@dataclass(frozen=True, eq=False)
class RealConclusions:
    """Sets made of real conclusions, predicted by given runs.

    Attributes:
        data: Where conclusions come from.
        runs: (runs, n, 20), predictions for its arguments.
    """

    data: Predicted
    runs: BoolArray

    def arguments(self, sizes: Sizes, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Draw a conclusion for each size, one at least as large (or of the 40 largest)."""
        drawn, lengths = [], -np.array([len(members) for members in self.data.members])
        for size, enough in zip(sizes, np.searchsorted(lengths, -sizes, "right"), strict=True):
            first, last = max(0, enough - 200), max(enough, 40)
            members = self.data.members[rng.integers(first, last)]
            drawn.append(rng.choice(members, size, replace=size > len(members)))
        return np.concatenate(drawn)

    def draw(self, sizes: Sizes, rng: np.random.Generator) -> Counts:
        """Draw one set as counts by conclusion."""
        rows = self.arguments(sizes, rng)
        index = np.repeat(np.arange(len(sizes)), sizes)
        return count_by_conclusion(self.data.truth[rows], self.runs[:, rows], index, sizes)


@dataclass(frozen=True, eq=False)
class Rate:
    """A rate that differs between conclusions: beta with these means and correlations, (20,)."""

    mean: Array
    correlation: Array


@dataclass(frozen=True, eq=False)
class BetaBinomial:
    """Sets whose labels and predictions are beta-binomial.

    Attributes:
        actual, hits, alarms: How often a value is held; predicted where it is held; where not.
        shared: Share of the variance of hits and alarms between conclusions that systems share.
        systems: Change of hits and of alarms, in log-odds, of each system.
        seeds: Runs of each system.
        seed_spread: Standard deviation over seeds of the log-odds, by value; half of it again by
            value and conclusion.
    """

    actual: Rate
    hits: Rate
    alarms: Rate
    shared: float
    systems: tuple[tuple[float, float], ...]
    seeds: int = 1
    seed_spread: float = 0.0

    def draw(self, sizes: Sizes, rng: np.random.Generator) -> Counts:
        """Draw one set as counts by conclusion."""
        n = sizes[:, None]
        shape = (len(sizes), 20)
        actual = rng.binomial(n, _beta(self.actual.mean, self.actual.correlation, shape, rng))
        tp, alarms = (
            rng.binomial(trials, self._rates(rate, which, shape, rng))
            for which, (rate, trials) in enumerate(((self.hits, actual), (self.alarms, n - actual)))
        )
        return Counts(*(part.astype(np.int32) for part in (tp, tp + alarms, actual)))

    def _rates(
        self, rate: Rate, which: int, shape: tuple[int, int], rng: np.random.Generator
    ) -> Array:
        """Draw the rates of all runs, (runs, conclusions, 20)."""
        common = _beta(rate.mean, self.shared * rate.correlation, shape, rng)
        # The rest of the variance is the system's own.
        own = (1 - self.shared) * rate.correlation / (1 - self.shared * rate.correlation)
        shifts = np.array([system[which] for system in self.systems])[:, None, None]
        shifted = expit(logit(common) + shifts)
        rates = _beta(shifted, own, (len(self.systems), *shape), rng)
        rates = np.repeat(rates, self.seeds, axis=0)
        if self.seed_spread:
            by_value = rng.standard_normal((len(rates), 1, shape[1]))
            by_conclusion = rng.standard_normal(rates.shape) / 2
            rates = expit(logit(rates) + self.seed_spread * (by_value + by_conclusion))
        return rates


def _beta(
    mean: Array, correlation: Array, shape: tuple[int, ...], rng: np.random.Generator
) -> Array:
    """Draw from betas with a mean and an intraclass correlation."""
    total = 1 / correlation - 1
    drawn = rng.beta(mean * total, (1 - mean) * total, shape)
    return np.clip(drawn, 1e-4, 1 - 1e-4)


def fit(data: Predicted) -> BetaBinomial:
    """Fit one system, the logistic regression."""
    n = np.array([[len(members)] for members in data.members], dtype=np.float64)
    index = np.empty(len(data.truth), dtype=np.int64)
    for conclusion, members in enumerate(data.members):
        index[members] = conclusion
    both = np.stack([data.decisions(0), data.decisions(1)])
    counts = count_by_conclusion(data.truth, both, index, n[:, 0].astype(np.int64))
    alarms = counts.predicted - counts.tp
    rates = [
        _rate(hits[0], trials)
        for hits, trials in (
            (counts.actual[None], np.broadcast_to(n, counts.actual.shape)),
            (counts.tp, counts.actual),
            (alarms, n - counts.actual),
        )
    ]
    shared = [
        _correlation(hits, trials)
        for hits, trials in ((counts.tp, counts.actual), (alarms, n - counts.actual))
    ]
    return BetaBinomial(*rates, float(np.clip(np.mean(shared), 0.05, 0.95)), ((0.0, 0.0),))


def _rate(hits: Array, trials: Array) -> Rate:
    """Fit means and intraclass correlations by the analysis of variance (Ridout et al., 1999)."""
    total = trials.sum(0)
    mean = hits.sum(0) / total
    groups = (trials > 0).sum(0)
    share = hits / np.maximum(trials, 1)
    between = (trials * (share - mean) ** 2).sum(0) / (groups - 1)
    within = (trials * share * (1 - share)).sum(0) / (total - groups)
    size = (total - (trials**2).sum(0) / total) / (groups - 1)
    correlation = (between - within) / (between + (size - 1) * within)
    return Rate(mean, np.clip(correlation, 0.005, 0.9))


def _correlation(hits: Array, trials: Array) -> float:
    """Correlation of two classifiers' rates between conclusions of at least 10 trials."""
    mean = hits.sum(1) / trials.sum(0)
    use = trials >= 10
    one, other = (
        np.where(use, each / np.maximum(trials, 1) - usual, 0)
        for each, usual in zip(hits, mean, strict=True)
    )
    return float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum()))


# ------------------------------------------------------------------------------ experiments

World = RealConclusions | BetaBinomial
Rows = Callable[..., Iterator[str]]


@dataclass(frozen=True, eq=False)
class Drawn:
    """Sets of one world, analysed.

    Attributes:
        counts: Counts of each set.
        scores: The score of each set, whole and without each conclusion.
        truth: (runs,), the mean score over other sets.
    """

    counts: list[Counts]
    scores: list[LeaveOneOut]
    truth: Array


def simulate(
    world: World, sizes: Sizes, metrics: Sequence[str], sets: int, seed: int = 1
) -> list[Drawn]:
    """Draw sets, and as many others for the truth; analyse them by each metric."""
    rng = np.random.default_rng(seed)
    counts = [world.draw(sizes, rng) for _ in range(sets)]
    totals = [_totals(world.draw(sizes, rng)) for _ in range(sets)]
    found = []
    for metric in metrics:
        truth = np.mean([getattr(means(total), metric) for total in totals], axis=0)
        found.append(Drawn(counts, [analyse(each, sizes, metric) for each in counts], truth))
    return found


def analyse(counts: Counts, sizes: Sizes, metric: str) -> LeaveOneOut:
    """Score a set, whole and without each conclusion."""
    keys = tuple(f"{number:04d}" for number in range(len(sizes)))
    return LeaveOneOut(*score_counts(counts, metric), keys, sizes, sizes.astype(np.float64))


def _totals(counts: Counts) -> Counts:
    tp, predicted, actual = counts
    return Counts(tp.sum(1), predicted.sum(1), np.broadcast_to(actual.sum(0), tp[:, 0].shape))


def share(hits: Sequence[bool] | BoolArray) -> str:
    """Return a share in percent with its Monte Carlo error (one standard error)."""
    p = float(np.mean(hits))
    return f"{100 * p:.1f} ± {100 * np.sqrt(max(p * (1 - p), 1e-9) / len(hits)):.1f}"


@dataclass(frozen=True)
class Coverage:
    """How the intervals of many sets lie to the truth.

    Attributes:
        low, high: (sets,), the ends.
        truth: The expected score or difference.
    """

    low: Array
    high: Array
    truth: float

    @property
    def covered(self) -> BoolArray:
        """Return which intervals hold the truth, (sets,)."""
        return (self.low <= self.truth) & (self.truth <= self.high)

    @property
    def width(self) -> str:
        """Return the mean width."""
        return f"{np.mean(self.high - self.low):.3f}"

    @property
    def missed(self) -> str:
        """Return the shares of intervals that end below and begin above the truth, in percent."""
        too_low, too_high = np.mean(self.high < self.truth), np.mean(self.low > self.truth)
        return f"{100 * too_low:.1f}, {100 * too_high:.1f}"


def spreads(
    drawn: Drawn, runs: Sequence[int], minus: Sequence[int] = ()
) -> list[tuple[float, Spread]]:
    """Return value and spread of a system or a difference in each set, however few conclusions."""
    sides = [(1.0, runs), (-1.0, minus)] if minus else [(1.0, runs)]
    found = []
    for scores in drawn.scores:
        value, spread = contrast(scores, sides, even_if_few=True)
        assert spread is not None  # noqa: S101
        found.append((value, spread))
    return found


def coverage(drawn: Drawn, runs: Sequence[int], minus: Sequence[int] = ()) -> Coverage:
    """Return the intervals that users see: of a system's score, or of a difference."""
    truth = drawn.truth[list(runs)].mean() - (drawn.truth[list(minus)].mean() if minus else 0.0)
    ends = [
        (value - spread.reach(), value + spread.reach())
        if minus
        else score_bounds(value, spread.reach())
        for value, spread in spreads(drawn, runs, minus)
    ]
    low, high = np.array(ends).T
    return Coverage(low, high, float(truth))


def bootstrapped(drawn: Drawn, metric: str, sets: int) -> list[str]:
    """Return coverage and width of the studentised bootstrap, of A and of the difference."""
    truth = np.array([drawn.truth[0], drawn.truth[0] - drawn.truth[1]])
    covered, widths = [], []
    for number, counts in enumerate(drawn.counts[:sets]):
        rng = np.random.default_rng(number)
        centre, reach = bootstrap.half_width(counts, metric, RESAMPLES, rng)
        covered.append(np.abs(centre[[0, 2]] - truth) <= reach[[0, 2]])
        widths.append(2 * reach[[0, 2]])
    one, two = np.transpose(covered)
    width, other = np.mean(widths, axis=0)
    return [share(one), f"{width:.3f}", share(two), f"{other:.3f}"]


@dataclass(frozen=True)
class Pair:
    """Systems A and B of a world: their runs, and what to call them."""

    title: str
    world: World
    a: tuple[int, ...] = (0,)
    b: tuple[int, ...] = (1,)


def pairs(data: Predicted, fitted: BetaBinomial, sizes: Sizes) -> list[Pair]:
    """Return the pairs of systems of all worlds."""
    near = data.decisions(1)
    real = RealConclusions(data, np.stack([data.decisions(0), near]))
    equal = RealConclusions(data, np.stack([data.decisions(0, as_good(data, near, sizes)), near]))
    alike = replace(fitted, systems=((0.0, 0.0), (0.0, 0.0)))
    bold = replace(fitted, systems=((0.0, 0.0), (0.6, 0.45)))
    three = ((0, 1, 2), (3, 4, 5))
    return [
        Pair("real conclusions, unlike classifiers", real),
        Pair("real conclusions, unlike but equally good", equal),
        Pair("beta-binomial, alike", alike),
        Pair("beta-binomial, cautious and bold", bold),
        Pair("beta-binomial, 3 seeds", replace(alike, seeds=3, seed_spread=0.15), *three),
        Pair("beta-binomial, 3 seeds far apart", replace(alike, seeds=3, seed_spread=0.5), *three),
    ]


def as_good(data: Predicted, near: BoolArray, sizes: Sizes, sets: int = 400) -> float:
    """Return how often the regression must predict to be only as good as `near`: too often."""
    rng = np.random.default_rng(7)
    world = RealConclusions(data, near[None])
    drawn = [world.arguments(sizes, rng) for _ in range(sets)]
    low, high = 1.5, 6.0
    for _ in range(9):
        middle = (low + high) / 2
        runs = np.stack([data.decisions(0, middle), near])
        counts = [per_value_counts(data.truth[rows], runs[:, rows]) for rows in drawn]
        better, other = np.mean([means(each).macro_f1 for each in counts], axis=0)
        low, high = (middle, high) if better > other else (low, middle)
    return middle


def per_value_counts(truth: BoolArray, runs: BoolArray) -> Counts:
    """Count over all arguments: truth (n, 20), runs (runs, n, 20)."""
    actual = np.broadcast_to(truth.sum(0), (len(runs), truth.shape[1]))
    return Counts((truth & runs).sum(1), runs.sum(1), actual)


PAIRS_HEAD = (
    "| sizes | world | score | true B - A | A: coverage | too low, too high | width "
    "| B - A: coverage | width | B - A is not 0 "
    "| bootstrap, A: coverage | width | B - A: coverage | width |\n"
    "| --- | --- | --- |" + " ---: |" * 11
)


def rows_of_pairs(study: Study, name: str) -> Iterator[str]:
    """Yield the rows on single intervals and on pairs."""
    sizes, pooled = study.sizes[name], name == "pooled"
    sets = study.sets // 2 if pooled else study.sets
    for case in pairs(study.data, study.fitted, sizes):
        several = len(case.a) > 1
        metrics = ("macro_f1",) if pooled or several else ("macro_f1", "official_f1")
        for metric, drawn in zip(metrics, simulate(case.world, sizes, metrics, sets), strict=True):
            one, two = coverage(drawn, case.a), coverage(drawn, case.b, case.a)
            found = [difference(scores, case.a, case.b) for scores in drawn.scores]
            cells = [
                name, case.title, metric, f"{two.truth:+.3f}", share(one.covered), one.missed,
                one.width, share(two.covered), two.width,
                share([result.told_apart for result in found]),
            ]  # fmt: skip
            if several or pooled or not study.boots:
                cells += [""] * 4
            else:
                cells += bootstrapped(drawn, metric, study.boots)
            yield "| " + " | ".join(cells) + " |"


AP_HEAD = """\
| sizes | A: coverage | too low, too high | width | B - A: coverage | width | B - A is not 0 \
| true B - A |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""


def rows_of_macro_ap(study: Study, name: str) -> Iterator[str]:
    """Yield the row on macro_ap, which needs scores: real conclusions only."""
    data, sizes, sets = study.data, study.sizes[name], study.sets // 2
    world = RealConclusions(data, np.zeros((0, *data.truth.shape), dtype=np.bool_))
    rng = np.random.default_rng(1)
    keys = [f"{number:04d}" for number in np.repeat(np.arange(len(sizes)), sizes)]
    scores = []
    for _ in range(2 * sets):
        rows = world.arguments(sizes, rng)
        given = [scored[rows] for scored in data.scores]
        scores.append(leave_one_out_ap(data.truth[rows], given, keys))
    truth = np.mean([one.value for one in scores[sets:]], axis=0)
    drawn = Drawn([], scores[:sets], truth)
    one, two = coverage(drawn, (0,)), coverage(drawn, (1,), (0,))
    cells = [name, share(one.covered), one.missed, one.width, share(two.covered), two.width]
    cells.append(share([difference(one, [0], [1]).told_apart for one in drawn.scores]))
    yield "| " + " | ".join([*cells, f"{truth[1] - truth[0]:+.3f}"]) + " |"


TABLES_HEAD = """\
| sizes | world | some row excluded | some rank wrong | against the leader, Holm |
| --- | --- | ---: | ---: | ---: |"""


def rows_of_tables(study: Study, name: str, which: int) -> Iterator[str]:
    """Yield the row on tables of 26 systems with equal scores, of one of the worlds."""
    often = np.linspace(0.6, 2.4, SYSTEMS // 2)
    equal = replace(study.fitted, systems=((0.0, 0.0),) * SYSTEMS)
    world: World
    title, world, seeds = (
        ("beta-binomial, alike", equal, 1),
        ("beta-binomial, 3 seeds", replace(equal, seeds=3, seed_spread=0.15), 3),
        ("beta-binomial, 3 seeds far apart", replace(equal, seeds=3, seed_spread=0.5), 3),
        ("real conclusions, unlike, shifted", equal, 1),
    )[which]
    if which == 3:
        unlike = [study.data.decisions(one, ratio) for one in (0, 1) for ratio in often]
        world = RealConclusions(study.data, np.stack(unlike))
    rng, sizes = np.random.default_rng(3), study.sizes[name]
    truth = np.zeros(SYSTEMS * seeds)
    if which == 3:
        others = [_totals(world.draw(sizes, rng)) for _ in range(study.sets)]
        truth = np.mean([means(total).macro_f1 for total in others], axis=0)
    systems = [list(range(g * seeds, (g + 1) * seeds)) for g in range(SYSTEMS)]
    excluded, wrong, leader = [], [], []
    for _ in range(study.tables):
        scores = analyse(world.draw(sizes, rng), sizes, "macro_f1")
        shifted = replace(
            scores, value=scores.value - truth, without=scores.without - truth[:, None]
        )
        found = rank_systems(shifted, systems)
        assert found is not None  # noqa: S101
        excluded.append(not found.can_be_best.all())
        wrong.append(bool((found.rank_low > 1).any()))
        best = max(systems, key=lambda runs: float(shifted.value[runs].mean()))
        p = [difference(shifted, best, runs).p for runs in systems if runs != best]
        leader.append(min(holm([1.0 if one is None else one for one in p])) < 0.05)
    yield f"| {name} | {title} | {share(excluded)} | {share(wrong)} | {share(leader)} |"


FEW_HEAD = (
    "| conclusions | degrees of freedom | real: coverage | width | above every value "
    "| B - A: coverage | width | beta-binomial: coverage | width | above every value "
    "| B - A: coverage | width |\n"
    "| --- | ---: |" + " ---: |" * 10
)


def rows_of_few(study: Study) -> Iterator[str]:
    """Yield the rows on few conclusions, by degrees of freedom."""
    data = study.data
    everything = np.ones_like(data.truth)
    real = RealConclusions(data, np.stack([data.decisions(0), data.decisions(1), everything]))
    # Hits and alarms nearly always: that is every value, too.
    alike = replace(study.fitted, systems=((0.0, 0.0), (0.0, 0.0), (9.0, 12.0)))
    cases = {f"{n} of 50 arguments": np.full(n, 50) for n in (3, 4, 5, 6, 7, 8, 10, 12)}
    cases["5 of 150"] = np.full(5, 150)
    cases["12, those of zhihu"] = study.zhihu
    for large in (2, 3, 4, 5, 6, 8):
        cases[f"{large} of 150, 30 of 5"] = np.array([150] * large + [5] * 30)
    for title, sizes in sorted(cases.items(), key=lambda case: degrees_of_freedom(case[1])):
        cells = [title, f"{degrees_of_freedom(sizes):.1f}"]
        for world in (real, alike):
            (drawn,) = simulate(world, sizes, ("macro_f1",), study.sets // 2, seed=5)
            one, two = coverage(drawn, (0,)), coverage(drawn, (1,), (0,))
            above = share(one.low > drawn.truth[2])
            cells += [share(one.covered), one.width, above, share(two.covered), two.width]
        yield "| " + " | ".join(cells) + " |"


SINGLE_HEAD = """\
| sizes | value | degrees of freedom | by arguments: coverage | width | by positives: coverage \
| width |
| --- | --- | ---: | ---: | ---: | ---: | ---: |"""


def rows_of_single_values(study: Study, name: str) -> Iterator[str]:
    """Yield the rows on the F1 of single values."""
    world = RealConclusions(study.data, study.data.decisions(0)[None])
    sizes, rng = study.sizes[name], np.random.default_rng(8)
    drawn = [world.draw(sizes, rng) for _ in range(study.sets // 2)]
    by_arguments = degrees_of_freedom(sizes)
    for value, slug in enumerate(VALUE_SLUGS):
        scores, errors, df = [], [], []
        for counts in drawn:
            score, without = score_counts(counts, f"f1_{slug}")
            by_positives = degrees_of_freedom(counts.actual[:, value])
            if by_positives > 0 and np.isfinite(without).all():
                scores.append(score[0])
                errors.append(np.sqrt((deviations(without[0]) ** 2).sum()))
                df.append(by_positives)
        cells = [name, slug, f"{np.median(df):.1f}"]
        truth, error = np.mean(scores), np.array(errors)
        for used in (np.full_like(error, by_arguments), np.array(df)):
            each = zip(scores, quantiles(used) * error, strict=True)
            lows, highs = np.array([score_bounds(*one) for one in each]).T
            result = Coverage(lows, highs, float(truth))
            cells += [share(result.covered), result.width]
        yield "| " + " | ".join(cells) + " |"


LOW_HEAD = """\
| sizes | A predicts | macro_f1 | reach above half the score | in use: coverage \
| too low, too high | width | 1 / score: coverage | too low, too high | width |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""


def rows_of_low_scores(study: Study, name: str) -> Iterator[str]:
    """Yield the rows on systems that predict next to nothing."""
    often = (0.15, 0.07, 0.03, 0.01)
    world = RealConclusions(
        study.data, np.stack([study.data.decisions(0, ratio) for ratio in often])
    )
    sizes = study.zhihu if name == "zhihu" else study.sizes[name]
    (drawn,) = simulate(world, sizes, ("macro_f1",), study.sets // 2, seed=9)
    for run, ratio in enumerate(often):
        truth = float(drawn.truth[run])
        found = [(value, spread.reach()) for value, spread in spreads(drawn, (run,))]
        far = float(np.mean([reach > MAX_SKEW * value for value, reach in found]))
        reciprocal = [
            (value**2 / (value + reach), min(value**2 / max(value - reach, 1e-9), 1.0))
            if value > 0
            else (0.0, 0.0)
            for value, reach in found
        ]
        cells = [name, f"{ratio:g} for one held", f"{truth:.3f}", f"{100 * far:.0f} %"]
        for ends in ([score_bounds(*each) for each in found], reciprocal):
            low, high = np.array(ends).T
            result = Coverage(low, high, truth)
            cells += [share(result.covered), result.missed, result.width]
        yield "| " + " | ".join(cells) + " |"


CHOICES_HEAD = (
    "| sizes | world | SE / SD | score and SE | degrees of freedom of SE² "
    "| in use: coverage | too low, too high | width | score ± t SE: coverage | too low, too high "
    "| width | df by positives: coverage | width | df by influence: coverage | width "
    "| Hall: coverage | width |\n"
    "| --- | --- |" + " ---: |" * 15
)


def rows_of_choices(study: Study, name: str) -> Iterator[str]:
    """Yield the rows on what the choices made are worth: the same sets, other intervals."""
    often = (0.45, 0.7, 1.0, 1.5)
    predicted = [
        study.data.decisions(0),
        study.data.decisions(1),
        *(study.data.decisions(0, ratio) for ratio in often),
    ]
    titles = [
        "real, A", "real, B", *(f"real, A predicts {ratio:g} for one held" for ratio in often)
    ]  # fmt: skip
    worlds: list[tuple[World, list[str]]] = [
        (RealConclusions(study.data, np.stack(predicted)), titles),
        (study.fitted, ["beta-binomial"]),
    ]
    for world, systems in worlds:
        sets = study.sets // 2 if name == "pooled" else study.sets
        (drawn,) = simulate(world, study.sizes[name], ("macro_f1",), sets, seed=6)
        by_positives = np.array([df_by_positives(counts.actual) for counts in drawn.counts])
        for run, title in enumerate(systems):
            values, found = zip(*spreads(drawn, (run,)), strict=True)
            score, truth = np.array(values), float(drawn.truth[run])
            error = np.array([spread.stderr for spread in found])
            df = np.full_like(error, found[0].df)
            without = np.stack([scores.without[run] for scores in drawn.scores])
            influences = -deviations(without) / error[:, None]
            by_influence = np.minimum(df, 1 / (influences**4).sum(1))
            low, high = (
                hall(sign * quantiles(df), (influences**3).sum(1)) * error for sign in (-1, 1)
            )
            variance = error**2
            cells = [
                name, title, f"{np.sqrt(variance.mean()) / score.std():.2f}",
                f"{np.corrcoef(score, error)[0, 1]:+.2f}",
                f"{2 * variance.mean() ** 2 / variance.var():.1f}",
            ]  # fmt: skip
            in_use = zip(score, quantiles(df) * error, strict=True)
            ends = [np.array([score_bounds(*each) for each in in_use]).T]
            for each in (df, by_positives, by_influence):
                reach = quantiles(each) * error
                ends.append(np.stack([score - reach, score + reach]))
            ends.append(np.stack([score - high, score - low]))
            for number, (lows, highs) in enumerate(ends):
                result = Coverage(lows, highs, truth)
                cells += [share(result.covered), *([result.missed] if number < 2 else [])]
                cells.append(result.width)
            yield "| " + " | ".join(cells) + " |"


def df_by_positives(actual: Array) -> float:
    """Return degrees of freedom for conclusions that move values by their share of the positives.

    With p_cv the share of conclusion c, and values moved independently, c moves their mean by a
    standard deviation proportional to (Σ_v p_cv²)^½, which takes the place of its arguments.

    Args:
        actual: (conclusions, 20).
    """
    shares = actual / np.maximum(actual.sum(0), 1)
    return degrees_of_freedom(np.sqrt((shares**2).sum(1)))


def quantiles(df: Array) -> Array:
    """Return the quantiles of t that 95 % intervals take."""
    return np.asarray(stdtrit(df, (1 + LEVEL) / 2))


def hall(t: Array, skewness: Array) -> Array:
    """Undo Hall's (1992) monotone transformation of t, which takes its skewness away."""
    g = np.where(np.abs(skewness) < 1e-9, 1e-9, skewness)
    return 3 / g * (np.cbrt(1 + g * (t - g / 6)) - 1)


# ---------------------------------------------------------------------------------- command


@dataclass(frozen=True, eq=False)
class Study:
    """The simulated designs and the number of simulations.

    Attributes:
        data: Real arguments and predictions.
        fitted: The beta-binomial world.
        sizes: Sizes of conclusions: main, validation, pooled.
        zhihu: Those of a small set.
        sets: Simulated sets a row; half of them for the pooled sizes.
        tables: Simulated tables of 26 systems a row.
        boots: Sets that the bootstrap is computed on, 0 to leave it out.
    """

    data: Predicted
    fitted: BetaBinomial
    sizes: dict[str, Sizes]
    zhihu: Sizes
    sets: int = 2000
    tables: int = 400
    boots: int = 200


def prepare(data_dir: str | Path | None, sets: int, tables: int, boots: int) -> Study:
    """Read the data, predict them and fit the beta-binomial world."""
    training, validation, main, zhihu = (
        load_set(name, data_dir) for name in ("training", "validation", "main", "zhihu")
    )
    data = predict(joined(training, validation))
    sizes = {
        "main": conclusion_sizes(main),
        "validation": conclusion_sizes(validation),
        "pooled": conclusion_sizes(training, validation, zhihu, main),
    }
    return Study(data, fit(data), sizes, conclusion_sizes(zhihu), sets, tables, boots)


SECTIONS: tuple[tuple[str, str, str, tuple[tuple[Rows, tuple[object, ...]], ...]], ...] = (
    (
        "Scores and differences",
        "A is the logistic regression or the first system, B the nearest neighbours or the "
        "second. Thresholds give the best F1 of each value; to be only as good as B, A "
        "predicts too often. «Too low, too high»: the shares of intervals of A that end below "
        "the truth and that begin above it. «B - A is not 0» is the share of significant "
        "differences: the level where the true difference is 0, else the power. At the right "
        "the studentised bootstrap that was used before.\n\n"
        "Tests between equals stay below 6 %; on main they reject less than 5 %, least in the "
        "beta-binomial world and with seeds, because what seeds do on single conclusions is "
        "counted twice, which is the careful side.",
        PAIRS_HEAD,
        tuple((rows_of_pairs, (name,)) for name in SIZES),
    ),
    (
        "What each choice is worth",
        "Scores of the same sets with other intervals. First what an interval must cope with: "
        "the root mean square of the jackknife's standard error by the true standard "
        "deviation of the score; the correlation of score and standard error; the degrees of "
        "freedom that the variance of SE² shows, 2 mean² / variance.\n\n"
        "Intervals of real conclusions cover less than 95 %, for two reasons. The standard "
        "error is not too small on average, and bias plays no part, since the target is the "
        "mean of the score itself. But it is too small where the score is too low: a set that "
        "misses conclusions that a system does well on misses their large influences, too. "
        "With score ± t SE most misses therefore end below the truth. The scale of 1 / score "
        "moves the interval up: on main it covers up to a point more, elsewhere it shares the "
        "misses out more evenly, at nearly the same width. And the standard error varies more "
        "than the sizes of the conclusions let expect (their degrees of freedom stand at the "
        "top), since some conclusions matter far more than their size says. Nothing here "
        "makes up for that, so 93 to 94 % remain.\n\n"
        "What was tried instead: degrees of freedom by the positives of the values add less "
        "than half a point; those by the influences (1 / Σ of their squared shares of the "
        "variance) reach 95 % with intervals half as wide again; Hall's correction of "
        "skewness covers less. All three are estimated from each set, and widen where SE is "
        "large already, not where it is too small. For seeds, taking off what conclusions "
        "account for (two-way clustering) wrongly excluded some of 26 equal systems in 10.7 ± "
        "1.8 % of the tables of 3 seeds far apart on validation, so it is not done.\n\n"
        "A system that predicts each value half as often as it is held (0.45) stays outside "
        "95 ± 2 %: what it scores hangs on few conclusions, its correlation of score and "
        "standard error is the largest, and a set without these conclusions has no trace of "
        "them to estimate from.",
        CHOICES_HEAD,
        tuple((rows_of_choices, (name,)) for name in SIZES),
    ),
    (
        "macro_ap",
        "Real conclusions, the two classifiers.",
        AP_HEAD,
        tuple((rows_of_macro_ap, (name,)) for name in SIZES[:2]),
    ),
    (
        "F1 of single values",
        "Real conclusions, A. The positives of a value are in fewer conclusions than the "
        "arguments, so degrees of freedom by arguments promise too much. Those by positives "
        f"are in use; most values have fewer than {MIN_DF:g}, and users see no interval of "
        "them.",
        SINGLE_HEAD,
        ((rows_of_single_values, ("main",)),),
    ),
    (
        "Low scores",
        "Real conclusions; A predicts each value so seldom that its score is low, and its standard "
        "error large beside it. An interval symmetric on the scale of 1 / score then has no upper "
        "end: it covers because it reaches to 1, and its lower end is too high. In use: both ends "
        f"in proportion to the reach from where that is {MAX_SKEW:g} of the score; up to there "
        "nothing differs. A set on which nothing is right has score 0 and no width; with 12 "
        "conclusions and a score of 0.01 that is every eighth set.",
        LOW_HEAD,
        tuple((rows_of_low_scores, (name,)) for name in ("main", "zhihu")),
    ),
    (
        "Tables of equal systems",
        "Every exclusion, and every rank that leaves out the first place, is an error. At the "
        "right the usual way: each row against the leading one, Holm's correction.",
        TABLES_HEAD,
        tuple((rows_of_tables, case) for case in TABLE_CASES),
    ),
    (
        "Few conclusions",
        "«Above every value»: A's interval lies above the expected score of predicting every "
        "value for every argument, 0.27 to 0.28, while A itself scores 0.34 to 0.38. An "
        "interval that often cannot say that a classifier beats this is of no use. From "
        f"{MIN_DF:g} degrees of freedom (six conclusions of the same size) it can in four of "
        "five sets of both worlds, whatever the sizes; with fewer it depends on them. So "
        f"users see no interval below {MIN_DF:g}, although it would cover.",
        FEW_HEAD,
        ((rows_of_few, ()),),
    ),
)


def run_job(job: tuple[int, int, Study]) -> list[str]:
    """Return the rows of one part of one section."""
    section, part, study = job
    rows, arguments = SECTIONS[section][3][part]
    found = []
    for row in rows(study, *arguments):
        print(row, file=sys.stderr, flush=True)
        found.append(row)
    return found


def report(study: Study, found: Sequence[list[str]], seconds: float) -> str:
    """Return the page.

    Args:
        study: What was simulated.
        found: The rows of each part of each section, in order.
        seconds: The processor time that it took.
    """
    lines = [
        "# Intervals and tests in simulation\n",
        "Written by `python benchmarks/interval_coverage.py`, which says what is simulated. Shares "
        "are in percent, ± one Monte Carlo standard error. Nominal: intervals cover in 95 %, tests "
        "reject equals in 5 %, in 5 % of the tables of 26 equal systems some row is excluded.\n",
        f"{study.sets} sets a row ({study.sets // 2} for pooled sizes, macro_ap, single values, "
        f"low scores and few conclusions), {study.tables} tables of {SYSTEMS} systems, the "
        f"bootstrap on {study.boots} sets with {RESAMPLES} resamples; {seconds / 60:.0f} minutes "
        "of one core.\n",
        "| sizes | arguments | conclusions | degrees of freedom |\n| --- | ---: | ---: | ---: |",
    ]
    for name, each in study.sizes.items():
        lines.append(f"| {name} | {each.sum()} | {len(each)} | {degrees_of_freedom(each):.1f} |")
    rest = iter(found)
    for title, note, head, parts in SECTIONS:
        lines += [f"\n## {title}\n\n{note}\n", head]
        for _ in parts:
            lines += next(rest)
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the simulations and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data_dir", help="folder of the official files")
    parser.add_argument("--sets", type=int, default=Study.sets, help="simulated sets a row")
    parser.add_argument("--tables", type=int, default=Study.tables, help="simulated tables a row")
    parser.add_argument(
        "--boots", type=int, default=Study.boots, help="sets that the bootstrap is computed on"
    )
    parser.add_argument("--processes", type=int, default=1, help="how many parts to run at a time")
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, help="where the report goes (default: %(default)s)"
    )
    options = parser.parse_args(argv)
    study = prepare(options.data_dir, options.sets, options.tables, options.boots)
    jobs = [
        (section, part, study)
        for section, (*_, parts) in enumerate(SECTIONS)
        for part in range(len(parts))
    ]
    with ProcessPoolExecutor(options.processes) as pool:
        found = list(pool.map(run_job, jobs))
    seconds = sum(resource.getrusage(who).ru_utime for who in _WHO)
    text = report(study, found, seconds)
    print(text)
    options.output.write_text(text, encoding="utf-8")
    return 0


_WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)

if __name__ == "__main__":
    raise SystemExit(main())
