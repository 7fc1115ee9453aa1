"""Uncertainty of F1 over conclusions: intervals, paired tests and intervals of ranks.

Arguments that share a conclusion are not independent, so the unit that is resampled is the
conclusion (the cluster). In the main test set ten of 106 conclusions hold four fifths of the
arguments: as if there were about fifteen. With so few, the usual bootstrap intervals fail. In
simulations with known truth and these very cluster sizes (``benchmarks/interval_coverage.py``)
nominal 95 % percentile intervals cover macro_f1 in about 72 %, and BCa in about 84 %, for three
reasons: F1 over few clusters is biased downwards and every resample adds that bias once more; the
variance among the resamples is too small; and the error of the estimated variance is ignored. What
holds (94 to 96.5 % over the simulated worlds) puts right one thing each:

- the centre is the jackknife's bias-corrected estimate,
- the standard error is the jackknife's (deleting one conclusion at a time),
- the quantile is that of the studentised bootstrap: of the size of t* = (resampled estimate less
  the mean of the resampled estimates) / (standard error linearised within the resample).

With a dozen conclusions (the Zhihu set) it errs on the safe side: 96.5 % for macro_f1, 98.5 % for
official_f1. The interval is symmetric about the corrected estimate, hence not about the score. A
test and its interval agree: p is the share of |t*| at least as large as the observed |t|.

Sources: Efron and Tibshirani (1993), chapters 11 and 12, for jackknife and bootstrap-t; Cameron,
Gelbach and Miller (2008) for the bootstrap-t with few clusters; Yeh (2000) for approximate
randomisation; Holm (1979); Mogstad, Romano, Shaikh and Wilhelm (2024) for the intervals of ranks.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from valueeval.tasks.scores.f1 import Array, BoolArray, ClusterCounts, Metric, macro_f1

RESAMPLES = 10_000
SEED = 20230713
LEVEL = 0.95
MIN_CLUSTERS = 5
"""With fewer conclusions no interval is given: nothing can be learnt from so few."""

_BLOCK = 250  # resamples at a time: keeps the working memory at some tens of megabytes
_ROUNDING = 1e-12  # differences below are of arithmetic, not of systems
_NORMAL_QUANTILE = 1.959963984540054


@dataclass(frozen=True, eq=False)
class Estimates:
    """A metric of G rows with its uncertainty; what cannot be computed is NaN.

    Attributes:
        value: (G,), mean over the seeds of each row.
        stderr: (G,), over conclusions (and seeds, where a row has several).
        low, high: (G,), 95 % interval, within [0, 1].
        best: The row that the others are compared with: the one with the highest value.
        difference: (G,), value of the row less that of the best.
        difference_low, difference_high: (G,), 95 % interval of the difference.
        p: (G,), two-sided test of no difference from the best, not corrected for their number.
        rank_low, rank_high: (G,), 95 % interval of each row's rank among the rows.
    """

    value: Array
    stderr: Array
    low: Array
    high: Array
    best: int
    difference: Array
    difference_low: Array
    difference_high: Array
    p: Array
    rank_low: npt.NDArray[np.int64]
    rank_high: npt.NDArray[np.int64]


def estimate(
    counts: ClusterCounts,
    rows: Sequence[Sequence[int]],
    metric: Metric = macro_f1,
    best: int | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Estimates:
    """Intervals, paired tests against the best row and rank intervals, on the same arguments.

    Args:
        counts: Of all runs.
        rows: For each row the runs that are its seeds. Where there are several, seeds are resampled
            together with conclusions.
        metric: One of :mod:`valueeval.tasks.scores.f1`.
        best: The row to compare with; by default the one with the highest value.
        resamples: How many.
        seed: Of the draws; the same draws of conclusions serve every row, so differences are
            paired, and a row's interval does not depend on what stands beside it.
    """
    seen = _jackknife(counts, rows, metric)
    best = int(np.nanargmax(seen.value)) if best is None else best
    # Without a value's only cluster its F1 is undefined, and with it the jackknife.
    defined = np.isfinite(seen.value).all() and np.isfinite(seen.covariance).all()
    if counts.clusters < MIN_CLUSTERS or not defined:
        return _only_values(seen.value, best)
    replicates = [values for values, _ in _resample(counts, rows, seen, metric, resamples, seed)]
    centre = np.nanmean(np.concatenate(replicates), axis=0)
    own, paired, furthest = (np.empty((resamples, len(rows))) for _ in range(3))
    start = 0
    for values, influences in _resample(
        counts, rows, seen, metric, resamples, seed, linearise=True
    ):
        block = slice(start, start := start + len(values))
        products = influences @ influences.transpose(0, 2, 1)
        products[:, range(len(rows)), range(len(rows))] += seen.seed_variance
        shift = values - centre
        variances = np.diagonal(products, axis1=1, axis2=2)
        spread = variances[:, :, None] + variances[:, None, :] - 2 * products
        moved = np.abs(shift[:, :, None] - shift[:, None, :])
        t = _ratio(moved, np.sqrt(np.maximum(spread, 0)))
        own[block] = _ratio(np.abs(shift), np.sqrt(variances))
        paired[block], furthest[block] = t[:, :, best], t.max(-1)
    return _conclude(seen, best, own, paired, furthest)


@dataclass(frozen=True, eq=False)
class _Jackknife:
    """Rows as observed.

    Attributes:
        value, bias: (G,).
        covariance: (G, G), over conclusions and seeds.
        seed_effects: For each row how its seeds differ from their mean, but for chance in
            conclusions; empty for a single run.
    """

    value: Array
    bias: Array
    covariance: Array
    seed_effects: tuple[Array, ...]

    @property
    def seed_variance(self) -> Array:
        """Variance of each row's mean over its seeds, (G,)."""
        return np.array([_variance_of_mean(effects) for effects in self.seed_effects])


def _jackknife(counts: ClusterCounts, rows: Sequence[Sequence[int]], metric: Metric) -> _Jackknife:
    """Leaves out one conclusion at a time."""
    n = counts.clusters
    totals = counts.tp.sum(1), counts.predicted.sum(1), counts.actual.sum(0)
    of_runs, _ = metric(*totals[:2], np.broadcast_to(totals[2], totals[0].shape))
    left, _ = metric(
        totals[0][:, None] - counts.tp,
        totals[1][:, None] - counts.predicted,
        np.broadcast_to(totals[2] - counts.actual, counts.tp.shape),
    )
    value = _mean_of_seeds(of_runs[None], rows)[0]
    without = _mean_of_seeds(left.T, rows)  # (clusters, G)
    mean = without.mean(0)
    deviations = without - mean
    effects = tuple(_seed_effects(of_runs[list(runs)], left[list(runs)]) for runs in rows)
    seen = _Jackknife(
        value, (n - 1) * (mean - value), (n - 1) / n * deviations.T @ deviations, effects
    )
    return replace(seen, covariance=seen.covariance + np.diag(seen.seed_variance))


def _seed_effects(values: Array, left: Array) -> Array:
    """How seeds differ from their mean, less what conclusions account for.

    Seeds differ for two reasons: one training is better than another on the whole, or it happens to
    be on some of these conclusions. The jackknife over conclusions already counts the second, so
    only the first is left here: deviations shrunk to the variance that remains.

    Args:
        values: (seeds,).
        left: (seeds, clusters), with one cluster left out.
    """
    seeds, n = left.shape
    if seeds == 1:
        return np.empty(0)
    own = left - left.mean(0)
    by_conclusion = (n - 1) / n * ((own - own.mean(1, keepdims=True)) ** 2).sum(1).mean()
    total = values.var(ddof=1)
    remaining = max(0.0, total - by_conclusion * seeds / (seeds - 1))
    return np.asarray((values - values.mean()) * np.sqrt(remaining / total if total > 0 else 0.0))


def _variance_of_mean(effects: Array) -> float:
    return float(effects.var(ddof=1)) / len(effects) if len(effects) > 1 else 0.0


def _resample(
    counts: ClusterCounts,
    rows: Sequence[Sequence[int]],
    seen: _Jackknife,
    metric: Metric,
    resamples: int,
    seed: int,
    *,
    linearise: bool = False,
) -> Iterator[tuple[Array, Array]]:
    """Blocks of resamples: values (block, G) and, if asked for, influences (block, G, clusters).

    Influences are scaled by the square root of the cluster's weight, so that their products sum to
    covariances. The draws are the same for the same arguments, whether linearised or not.
    """
    rng = np.random.default_rng(seed)
    of_seeds = [_generator_of(counts, row, seed) for row in rows]
    runs, n = len(counts.tp), counts.clusters
    flat = np.concatenate([counts.tp, counts.predicted]).transpose(1, 0, 2).reshape(n, -1)
    table = np.concatenate(
        [counts.tp, counts.predicted, np.broadcast_to(counts.actual, counts.tp.shape)], axis=-1
    ).transpose(0, 2, 1)  # (runs, 60, clusters)
    for start in range(0, resamples, _BLOCK):
        size = min(_BLOCK, resamples - start)
        weights = rng.multinomial(n, np.full(n, 1 / n), size=size).astype(np.float64)
        totals = (weights @ flat).reshape(size, 2, runs, -1)
        actual = np.broadcast_to((weights @ counts.actual)[:, None], totals[:, 0].shape)
        values, gradient = metric(totals[:, 0], totals[:, 1], actual)
        of_rows = _mean_of_seeds(values, rows) + _seed_noise(seen.seed_effects, size, of_seeds)
        if not linearise:
            yield of_rows, np.empty((0, 0, 0))
            continue
        influences = (gradient.transpose(1, 0, 2) @ table).transpose(1, 2, 0)
        yield (
            of_rows,
            (_mean_of_seeds(influences, rows) * np.sqrt(weights)[:, :, None]).transpose(0, 2, 1),
        )


def _mean_of_seeds(values: Array, rows: Sequence[Sequence[int]]) -> Array:
    """(…, runs) → (…, G)."""
    if [list(runs) for runs in rows] == [[run] for run in range(values.shape[-1])]:
        return values
    return np.stack([values[..., list(runs)].mean(-1) for runs in rows], axis=-1)


def _generator_of(counts: ClusterCounts, row: Sequence[int], seed: int) -> np.random.Generator:
    """Draws of a row's own, the same whatever rows stand beside it: told from its counts."""
    told = [part[list(row)].astype(np.int64) for part in (counts.tp, counts.predicted)]
    return np.random.default_rng([seed, zlib.crc32(b"".join(part.tobytes() for part in told))])


def _seed_noise(
    seed_effects: Sequence[Array], resamples: int, generators: Sequence[np.random.Generator]
) -> Array:
    """Change of each row's mean when its seeds are drawn anew, with replacement; (resamples, G).

    Drawing n seeds from n makes their mean vary by (n - 1)/n of what it should: scaled up.
    """
    noise = np.zeros((resamples, len(seed_effects)))
    for row, (effects, rng) in enumerate(zip(seed_effects, generators, strict=True)):
        n = len(effects)
        if n > 1:
            drawn = rng.multinomial(n, np.full(n, 1 / n), size=resamples) / n
            noise[:, row] = drawn @ effects * np.sqrt(n / (n - 1))
    return noise


def _ratio(numerator: Array, denominator: Array) -> Array:
    """Quotient; 0/0 is 0 (no difference at all), x/0 infinite, and so is what is undefined.

    Undefined is a resample without any positive; counting it as extreme errs on the safe side.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(numerator <= _ROUNDING, 0.0, numerator / denominator)
    return np.where(np.isnan(ratio), np.inf, ratio)


def _conclude(seen: _Jackknife, best: int, own: Array, paired: Array, furthest: Array) -> Estimates:
    corrected, spread = seen.value - seen.bias, np.sqrt(np.diag(seen.covariance))
    reach = _reach(_quantile(own), spread)
    variances = np.diag(seen.covariance)
    errors = np.sqrt(np.maximum(variances[:, None] + variances - 2 * seen.covariance, 0))
    t = _ratio(np.abs(corrected[:, None] - corrected), errors)
    difference = corrected - corrected[best]
    paired_reach = _reach(_quantile(paired), errors[:, best])
    apart = t > _quantile(furthest)[:, None]
    higher = corrected > corrected[:, None]  # the column's row is better than the row
    p = (1 + (paired >= t[:, best] - _ROUNDING).sum(0)) / (1 + len(paired))
    return Estimates(
        value=seen.value,
        stderr=spread,
        low=np.clip(corrected - reach, 0, 1),
        high=np.clip(corrected + reach, 0, 1),
        best=best,
        difference=seen.value - seen.value[best],
        difference_low=np.clip(difference - paired_reach, -1, 1),
        difference_high=np.clip(difference + paired_reach, -1, 1),
        p=p,
        rank_low=1 + (apart & higher).sum(1),
        rank_high=len(seen.value) - (apart & ~higher).sum(1),
    )


def _reach(quantile: Array, error: Array) -> Array:
    """Half the width of an interval; 0 where nothing varies, though the quantile be infinite."""
    return np.where(error > 0, quantile, 0.0) * error


def _quantile(t: Array) -> Array:
    """The 95 % quantile of each column, taken upwards, so that infinities stay what they are."""
    return np.quantile(t, LEVEL, axis=0, method="higher")


def _only_values(value: Array, best: int) -> Estimates:
    nothing = np.full(len(value), np.nan)
    first, last = np.ones(len(value), dtype=np.int64), np.full(len(value), len(value))
    return Estimates(value, nothing, nothing, nothing, best, value - value[best], nothing, nothing,
                     nothing, first, last)  # fmt: skip


# ------------------------------------------------------------------------------- further tests


def argument_interval(
    truth: BoolArray, predictions: Sequence[BoolArray], metric: Metric = macro_f1
) -> tuple[float, float, float]:
    """Standard error and 95 % interval as if arguments were independent.

    Shown beside the interval over conclusions, for comparison with papers that resample arguments.
    Bias-corrected estimate ± 1.96 standard errors of the jackknife, in closed form: with a thousand
    units and more there is nothing for resampling to add. NaN with fewer than two arguments, or
    where leaving one out leaves no positive.

    Args:
        truth: (n, 20).
        predictions: One (n, 20) a seed.
        metric: As for :func:`estimate`.

    Returns:
        Standard error, lower and upper bound.
    """
    if len(truth) < 2:
        return (np.nan,) * 3
    counts = ClusterCounts(
        np.stack([truth & prediction for prediction in predictions]).astype(np.float64),
        np.stack(list(predictions)).astype(np.float64),
        truth.astype(np.float64),
    )
    seen = _jackknife(counts, [range(len(predictions))], metric)
    centre = float(seen.value[0] - seen.bias[0])
    stderr = float(np.sqrt(seen.covariance[0, 0]))
    low, high = np.clip(
        [centre - _NORMAL_QUANTILE * stderr, centre + _NORMAL_QUANTILE * stderr], 0, 1
    )
    return stderr, float(low), float(high)


def randomisation(
    counts: ClusterCounts,
    rows: Sequence[Sequence[int]],
    best: int,
    metric: Metric = macro_f1,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Array:
    """The p of each row against row `best`, (G,), by approximate randomisation over conclusions.

    Under the hypothesis that the two are the same system, what they predicted for a conclusion may
    be swapped; p is the share of random swaps with a difference at least as large (Yeh, 2000).
    NaN where a row or the best has several seeds: what differs between trainings is the same for
    all conclusions, so swapping conclusions does not show it (simulated level: 13 % for 5 %).
    """
    single = np.array([len(runs) == 1 and len(rows[best]) == 1 for runs in rows])
    if not single.any() or counts.clusters < MIN_CLUSTERS:
        return np.full(len(rows), np.nan)
    first = [runs[0] for runs in rows]
    tp, predicted = counts.tp[first], counts.predicted[first]
    both = np.concatenate([tp, predicted], axis=-1)  # (G, clusters, 40)
    change = (both[best] - both).transpose(1, 0, 2)
    actual = counts.actual.sum(0)
    observed = np.abs(_differences(both.sum(1), both[best].sum(0), actual, metric))
    rng = np.random.default_rng(seed)
    exceeded = np.zeros(len(rows))
    for start in range(0, resamples, _BLOCK):
        size = min(_BLOCK, resamples - start)
        swap = rng.integers(0, 2, size=(size, counts.clusters)).astype(np.float64)
        moved = (swap @ change.reshape(counts.clusters, -1)).reshape(size, len(rows), -1)
        gap = _differences(both.sum(1) + moved, both[best].sum(0) - moved, actual, metric)
        exceeded += (np.abs(gap) >= observed - _ROUNDING).sum(0)
    return np.where(single, (1 + exceeded) / (1 + resamples), np.nan)


def _differences(one: Array, other: Array, actual: Array, metric: Metric) -> Array:
    """Metric of totals `one` less that of `other`, each (…, 40): tp, then predicted."""
    values = []
    for totals in (one, np.broadcast_to(other, one.shape)):
        tp, predicted = np.split(totals, 2, axis=-1)
        values.append(metric(tp, predicted, np.broadcast_to(actual, tp.shape))[0])
    return values[0] - values[1]


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction: adjusted p, in the order given."""
    order = sorted(range(len(p)), key=lambda index: p[index])
    adjusted, running = [0.0] * len(p), 0.0
    for place, index in enumerate(order):
        running = max(running, min(1.0, (len(p) - place) * p[index]))
        adjusted[index] = running
    return adjusted
