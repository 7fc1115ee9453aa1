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
from scipy.special import expit, logit
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

sys.path.append(str(Path(__file__).parent))
import studentised_bootstrap as bootstrap

from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.data.dataset import DataSet, load_set
from valueeval.tasks.scores.average_precision import leave_one_out_ap
from valueeval.tasks.scores.differences import difference, holm
from valueeval.tasks.scores.f1 import Counts
from valueeval.tasks.scores.intervals import MIN_CONCLUSIONS, MIN_DF, contrast
from valueeval.tasks.scores.jackknife import (
    LeaveOneOut,
    count_by_conclusion,
    degrees_of_freedom,
    score_counts,
)
from valueeval.tasks.scores.many_systems import rank_systems
from valueeval.train.data.folds import folds_of, joined

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
        return Counts(*(part.astype(np.float64) for part in (tp, tp + alarms, actual)))

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


def simulate(world: World, sizes: Sizes, metric: str, sets: int, seed: int = 1) -> Drawn:
    """Draw sets, and as many others for the truth."""
    rng = np.random.default_rng(seed)
    keys = tuple(f"{number:04d}" for number in range(len(sizes)))
    counts = [world.draw(sizes, rng) for _ in range(sets)]
    scores = [LeaveOneOut(*score_counts(each, metric), keys, sizes) for each in counts]
    others = (world.draw(sizes, rng) for _ in range(sets))
    truth = np.mean([score_counts(each, metric)[0] for each in others], axis=0)
    return Drawn(counts, scores, truth)


def share(hits: Sequence[bool] | BoolArray) -> str:
    """Return a share in percent with its Monte Carlo error (one standard error)."""
    p = float(np.mean(hits))
    return f"{100 * p:.1f} ± {100 * np.sqrt(max(p * (1 - p), 1e-9) / len(hits)):.1f}"


def covers(
    drawn: Drawn, runs: Sequence[int], minus: Sequence[int] = ()
) -> tuple[list[bool], list[float]]:
    """Return whether each set's interval covers the truth, and its width."""
    truth = drawn.truth[list(runs)].mean() - (drawn.truth[list(minus)].mean() if minus else 0.0)
    covered, widths = [], []
    sides = [(1.0, runs), (-1.0, minus)] if minus else [(1.0, runs)]
    for scores in drawn.scores:
        value, spread = contrast(scores, sides, even_if_few=True)
        assert spread is not None  # noqa: S101
        covered.append(abs(value - truth) <= spread.reach())
        widths.append(2 * spread.reach())
    return covered, widths


def bootstrapped(
    drawn: Drawn, metric: str, which: int, sets: int
) -> tuple[list[bool], list[float]]:
    """Return coverage and widths of the studentised bootstrap, of A, B or A less B."""
    truth = [drawn.truth[0], drawn.truth[1], drawn.truth[0] - drawn.truth[1]][which]
    covered, widths = [], []
    for number, counts in enumerate(drawn.counts[:sets]):
        rng = np.random.default_rng(number)
        centre, reach = bootstrap.half_width(counts, metric, RESAMPLES, rng)
        covered.append(bool(abs(centre[which] - truth) <= reach[which]))
        widths.append(2 * float(reach[which]))
    return covered, widths


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
    low, high = 1.5, 6.0
    for _ in range(9):
        middle = (low + high) / 2
        world = RealConclusions(data, np.stack([data.decisions(0, middle), near]))
        rng = np.random.default_rng(7)
        scores = [score_counts(world.draw(sizes, rng), "macro_f1")[0] for _ in range(sets)]
        better, other = np.mean(scores, axis=0)
        low, high = (middle, high) if better > other else (low, middle)
    return middle


PAIRS_HEAD = (
    "| sizes | world | score | true B - A | A: coverage | width | B - A: coverage | width "
    "| B - A is not 0 | bootstrap, A: coverage | width | B - A: coverage | width |\n"
    "| --- | --- | --- |" + " ---: |" * 10
)


def rows_of_pairs(study: Study, name: str) -> Iterator[str]:
    """Yield the rows on single intervals and on pairs."""
    sizes, pooled = study.sizes[name], name == "pooled"
    cases = pairs(study.data, study.fitted, sizes)
    for case in cases[::2][:2] if pooled else cases:
        several = len(case.a) > 1
        sets = study.sets // 4 if pooled else study.sets
        for metric in ("macro_f1",) if pooled or several else ("macro_f1", "official_f1"):
            drawn = simulate(case.world, sizes, metric, sets)
            gap = drawn.truth[list(case.b)].mean() - drawn.truth[list(case.a)].mean()
            cells = [name, case.title, metric, f"{gap:+.3f}"]
            for runs, minus in ((case.a, ()), (case.b, case.a)):
                covered, widths = covers(drawn, runs, minus)
                cells += [share(covered), f"{np.mean(widths):.3f}"]
            found = [difference(scores, case.a, case.b) for scores in drawn.scores]
            cells.append(share([result.told_apart for result in found]))
            for which in (0, 2):
                if several or pooled or not study.boots:
                    cells += ["", ""]
                    continue
                covered, widths = bootstrapped(drawn, metric, which, study.boots)
                cells += [share(covered), f"{np.mean(widths):.3f}"]
            yield "| " + " | ".join(cells) + " |"


AP_HEAD = """\
| sizes | A: coverage | width | B - A: coverage | width | B - A is not 0 | true B - A |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |"""


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
    cells = [name]
    for runs, minus in (((0,), ()), ((1,), (0,))):
        covered, widths = covers(drawn, runs, minus)
        cells += [share(covered), f"{np.mean(widths):.3f}"]
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
    tables = study.tables // 4 if name == "pooled" else study.tables
    drawn = simulate(world, study.sizes[name], "macro_f1", tables, seed=3)
    truth = drawn.truth if which == 3 else np.zeros_like(drawn.truth)
    systems = [list(range(g * seeds, (g + 1) * seeds)) for g in range(SYSTEMS)]
    excluded, wrong, leader = [], [], []
    for scores in drawn.scores:
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
    "| conclusions | degrees of freedom | real: coverage | width | B - A: coverage | width "
    "| beta-binomial: coverage | width | B - A: coverage | width |\n"
    "| --- | ---: |" + " ---: |" * 8
)


def rows_of_few(study: Study) -> Iterator[str]:
    """Yield the rows on few conclusions."""
    data = study.data
    real = RealConclusions(data, np.stack([data.decisions(0), data.decisions(1)]))
    alike = replace(study.fitted, systems=((0.0, 0.0), (0.0, 0.0)))
    cases = {f"{n} of 50 arguments": np.full(n, 50) for n in (3, 4, 5, 6, 8, 12)}
    cases["12, those of zhihu"] = study.zhihu
    for large in (2, 4, 6):
        cases[f"{large} of 150, 30 of 5"] = np.array([150] * large + [5] * 30)
    for title, sizes in cases.items():
        cells = [title, f"{degrees_of_freedom(sizes):.1f}"]
        for world in (real, alike):
            drawn = simulate(world, sizes, "macro_f1", study.sets, seed=5)
            for runs, minus in (((0,), ()), ((1,), (0,))):
                covered, widths = covers(drawn, runs, minus)
                cells += [share(covered), f"{np.mean(widths):.3f}"]
        yield "| " + " | ".join(cells) + " |"


CAUTIOUS_HEAD = """\
| sizes | predicted for one held | coverage | width |
| --- | ---: | ---: | ---: |"""


def rows_of_cautious(study: Study, name: str) -> Iterator[str]:
    """Yield the rows on systems that predict too seldom."""
    often = (0.45, 0.7, 1.0, 1.5)
    world = RealConclusions(
        study.data, np.stack([study.data.decisions(0, ratio) for ratio in often])
    )
    drawn = simulate(world, study.sizes[name], "macro_f1", study.sets, seed=6)
    for run, ratio in enumerate(often):
        covered, widths = covers(drawn, [run])
        yield f"| {name} | {ratio:g} | {share(covered)} | {np.mean(widths):.3f} |"


# ---------------------------------------------------------------------------------- command


@dataclass(frozen=True, eq=False)
class Study:
    """The simulated designs and the number of simulations.

    Attributes:
        data: Real arguments and predictions.
        fitted: The beta-binomial world.
        sizes: Sizes of conclusions: main, validation, pooled.
        zhihu: Those of a small set.
        sets: Simulated sets a row; a quarter of them for the pooled sizes.
        tables: Simulated tables of 26 systems a row; likewise.
        boots: Sets that the bootstrap is computed on, 0 to leave it out.
    """

    data: Predicted
    fitted: BetaBinomial
    sizes: dict[str, Sizes]
    zhihu: Sizes
    sets: int = 2000
    tables: int = 500
    boots: int = 300


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
        "A is the logistic regression or the first system, B the nearest neighbours or the second. "
        "Thresholds give the best F1 of each value; to be only as good as B, A predicts too often. "
        "«B - A is not 0» is the share of significant differences: the level where the true "
        "difference is 0, else the power. At the right the studentised bootstrap that was used "
        "before.",
        PAIRS_HEAD,
        tuple((rows_of_pairs, (name,)) for name in SIZES),
    ),
    (
        "macro_ap",
        "Real conclusions, the two classifiers.",
        AP_HEAD,
        tuple((rows_of_macro_ap, (name,)) for name in SIZES[:2]),
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
        f"With fewer than {MIN_CONCLUSIONS} conclusions or {MIN_DF:g} degrees of freedom users see "
        "no interval: it would cover, but be 0.2 to 0.4 wide, which tells nothing where systems "
        "score between 0.25 and 0.55.",
        FEW_HEAD,
        ((rows_of_few, ()),),
    ),
    (
        "Where intervals are too narrow",
        "A regression that predicts each value less often than it is held: its score hangs on few "
        "conclusions where it does well, so the distribution is skewed, and a score that is too "
        "low comes with a standard error that is too small.",
        CAUTIOUS_HEAD,
        tuple((rows_of_cautious, (name,)) for name in SIZES[:2]),
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
    lines = [
        "# Intervals and tests in simulation\n",
        "Written by `python benchmarks/interval_coverage.py`, which says what is simulated. Shares "
        "are in percent, ± one Monte Carlo standard error. Nominal: intervals cover in 95 %, tests "
        "reject equals in 5 %, in 5 % of the tables of 26 equal systems some row is excluded.\n",
        f"{study.sets} sets a row ({study.sets // 4} for pooled sizes, {study.sets // 2} for "
        f"macro_ap), {study.tables} tables of {SYSTEMS} systems ({study.tables // 4} for pooled "
        f"sizes), the bootstrap on {study.boots} sets with {RESAMPLES} resamples; "
        f"{seconds / 60:.0f} minutes of one core.\n",
        "| sizes | arguments | conclusions | degrees of freedom |\n| --- | ---: | ---: | ---: |",
    ]
    for name, each in study.sizes.items():
        lines.append(f"| {name} | {each.sum()} | {len(each)} | {degrees_of_freedom(each):.1f} |")
    for section, (title, note, head, _) in enumerate(SECTIONS):
        lines += [f"\n## {title}\n\n{note}\n", head]
        for job, rows in zip(jobs, found, strict=True):
            lines += rows if job[0] == section else []
    text = "\n".join(lines) + "\n"
    print(text)
    options.output.write_text(text, encoding="utf-8")
    return 0


_WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)

if __name__ == "__main__":
    raise SystemExit(main())
