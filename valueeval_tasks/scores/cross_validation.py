"""Cross-validation by conclusion: calibrate by fold, and choose among configurations.

**Calibrated by fold.** A prompted model is not trained, but its thresholds need labels. Under the
protocol ``cv`` those of fold K come from its inner fold alone (`valueeval.tasks.data.folds`), as
the thresholds of a trained model do: equal terms for both.

**Selection.** Configurations are compared on the same arguments, each answered by a model that was
not trained on it. The best macro_f1 is chosen. How sure that is, is told in three ways: differences
with intervals over conclusions that hold for all of them together, the set of configurations that
can be the best (:mod:`valueeval.tasks.scores.many_systems`), and how often each is chosen when
conclusions are drawn anew with replacement (the bootstrap; Efron and Tibshirani, 1993, chapter 6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from valueeval.tasks.data.folds import CV_FOLDS, inner_fold
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.calibration import Origin, fit, mean_prior
from valueeval.tasks.scores.differences import Difference
from valueeval.tasks.scores.f1 import Counts, means
from valueeval.tasks.scores.intervals import Interval, interval
from valueeval.tasks.scores.jackknife import count_by_conclusion, group, leave_one_out
from valueeval.tasks.scores.many_systems import differences_from, rank_systems
from valueeval.tasks.scores.thresholds import Rule

BoolArray = npt.NDArray[np.bool_]
RESAMPLES = 1000
_SEED = 20230713


def calibrate_by_fold(
    scores: npt.NDArray[np.float64],
    truth: BoolArray,
    folds: npt.NDArray[np.int64],
    rule: Rule,
) -> npt.NDArray[np.float64]:
    """Return the scores of set ``cv``, each fold calibrated on its inner fold.

    A value is predicted where its score is above 0.

    From the scores of fold K the mean of each value over the inner fold is subtracted, and the
    thresholds that are tuned on it.

    Args:
        scores: (n, 20), in nats.
        truth: (n, 20).
        folds: (n,), the fold of each argument.
        rule: How thresholds are tuned.

    Raises:
        ValueEvalError: A fold has no argument.
    """
    if missing := sorted(set(range(CV_FOLDS)) - set(folds.tolist())):
        raise ValueEvalError(
            f"no argument of fold {', '.join(map(str, missing))}: all {CV_FOLDS} folds are needed"
        )
    calibrated = np.empty_like(scores)
    for fold in range(CV_FOLDS):
        inner = folds == inner_fold(fold)
        prior = mean_prior("batch", scores[inner])
        calibration = fit(scores[inner], truth[inner], Origin(), prior, rule)
        calibrated[folds == fold] = calibration.apply(scores[folds == fold])
    return calibrated


@dataclass(frozen=True)
class Candidate:
    """A configuration among those that one is chosen of.

    Attributes:
        name: Its name.
        macro_f1: The mean over its runs, with an interval over conclusions (and runs).
        difference: Its macro_f1 less that of the chosen configuration, with an interval that holds
            for all candidates together.
        can_be_best: Whether it can be the best (95 % for all together); None where there are too
            few conclusions to say.
        chosen_share: The share of resamples of conclusions in which it would be chosen.
    """

    name: str
    macro_f1: Interval
    difference: Difference
    can_be_best: bool | None
    chosen_share: float


@dataclass(frozen=True)
class Selection:
    """A choice among configurations.

    Attributes:
        chosen: Name of the configuration with the highest macro_f1; the first of equals.
        candidates: All configurations, best first.
        arguments, conclusions: Numbers of what they were compared on.
    """

    chosen: str
    candidates: tuple[Candidate, ...]
    arguments: int
    conclusions: int


def select(
    truth: BoolArray, predictions: Mapping[str, Sequence[BoolArray]], clusters: Sequence[str]
) -> Selection:
    """Choose the configuration with the highest macro_f1.

    Args:
        truth: (n, 20).
        predictions: By configuration, at least two: one (n, 20) for each run (seed), in which each
            argument is answered by a model that was not trained on its conclusion.
        clusters: n keys, one for each argument's conclusion.

    Raises:
        ValueError: Shapes do not fit, or a configuration has no run.
    """
    if len(predictions) < 2 or not all(predictions.values()):
        raise ValueError("two configurations at least, each with a run")
    runs = [run for of_one in predictions.values() for run in of_one]
    starts = np.cumsum([0, *map(len, predictions.values())]).tolist()
    systems = [range(start, end) for start, end in pairwise(starts)]
    left = leave_one_out(truth, runs, clusters)
    values = np.array([left.value[list(system)].mean() for system in systems])
    best = int(np.argmax(values))
    ranking = rank_systems(left, systems)
    shares = _chosen_shares(truth, runs, clusters, systems)
    candidates = [
        Candidate(
            name,
            interval(left, list(system)),
            difference,
            None if ranking is None else bool(ranking.can_be_best[place]),
            float(shares[place]),
        )
        for place, (name, system, difference) in enumerate(
            zip(predictions, systems, differences_from(left, systems, best), strict=True)
        )
    ]
    order = np.argsort(-values, kind="stable").tolist()
    names = list(predictions)
    return Selection(
        names[best], tuple(candidates[place] for place in order), len(truth), len(left.keys)
    )


def _chosen_shares(
    truth: BoolArray,
    runs: Sequence[BoolArray],
    clusters: Sequence[str],
    systems: Sequence[Sequence[int]],
) -> npt.NDArray[np.float64]:
    """Return the share of resamples of conclusions in which each system scores highest."""
    keys, index, sizes = group(clusters, len(truth))
    counts = count_by_conclusion(truth, np.stack(runs), index, sizes)
    rng = np.random.default_rng(_SEED)
    drawn = rng.multinomial(len(keys), np.full(len(keys), 1 / len(keys)), size=RESAMPLES)
    tp, predicted, actual = (drawn.astype(np.float64) @ part for part in counts)
    resampled = Counts(tp, predicted, np.broadcast_to(actual, tp.shape))  # (runs, resamples, 20)
    scores = np.nan_to_num(means(resampled).macro_f1)
    of_systems = np.stack([scores[list(system)].mean(axis=0) for system in systems])
    chosen = np.argmax(of_systems, axis=0)
    return np.bincount(chosen, minlength=len(systems)) / RESAMPLES
