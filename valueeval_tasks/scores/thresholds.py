"""Thresholds from labelled arguments: where a value's score turns into a decision.

All of this maximises macro_f1, never official_f1, which thresholds per value can inflate at the
cost of every single value's F1. Classifiers, trained templates and prompted models are tuned alike.

One threshold for all values (``global``) ignores that a model is surer of some than of others; the
best one of each value (``per-value``) overfits, since some have few positives. ``shrunk`` is the
middle between the two, as logits. Chosen on validation alone: over 80 splits of the real validation
set into two halves by conclusion, thresholds from one half scored on the other gave macro_f1 0.433
(global), 0.430 (per-value), 0.438 (shrunk; best in 90% of the splits against global).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from valueeval.tasks.scores.f1 import Counts, f1_per_value, means

Rule = Literal["global", "per-value", "shrunk"]

GRID = np.arange(1, 100) / 100
"""Candidate probabilities. Finer ones would only fit the noise of validation."""

_CUTS = np.log(GRID / (1 - GRID))  # the same as logits
_TAIL = np.arange(1, 50) / 50  # quantiles of scores beyond them


def tune_thresholds(
    rule: Rule, truth: npt.NDArray[np.bool_], logits: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Return the threshold of each value, as a probability: (20,).

    Args:
        rule: How they are chosen, see above.
        truth: (arguments, 20).
        logits: (arguments, 20).
    """
    common = global_threshold(truth, logits)
    shared = np.full(truth.shape[1], common)
    if rule == "global":
        return shared
    own = per_value_thresholds(truth, logits, common)
    return own if rule == "per-value" else _middle(own, shared)


def tune_cuts(
    rule: Rule, truth: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Return the threshold of each value of a prompted model, as a score: (20,).

    As `tune_thresholds`, but log-likelihoods can differ by far more nats than the logits of a
    classifier, so that scores beyond `GRID` are candidates as well.

    Args:
        rule: How they are chosen, see above.
        truth: (arguments, 20).
        scores: (arguments, 20), in nats.
    """
    cuts, places = _cuts_for(scores)
    counts = counts_on_grid(truth, scores, cuts)
    common = _best_nearest_to(0.5, means(counts).macro_f1, places)
    shared = np.full(truth.shape[1], cuts[common])
    if rule == "global":
        return shared
    f1 = f1_per_value(counts)
    own = cuts[[_best_nearest_to(places[common], column, places) for column in f1.T]]
    return own if rule == "per-value" else (own + shared) / 2


def per_value_thresholds(
    truth: npt.NDArray[np.bool_], logits: npt.NDArray[np.floating], common: float
) -> npt.NDArray[np.float64]:
    """Return each value's threshold with its highest F1; of equals the nearest to the common one.

    Args:
        truth: (arguments, 20).
        logits: (arguments, 20).
        common: The global threshold; a value with no positive has this one.

    Returns:
        20 probabilities of `GRID`.
    """
    f1 = f1_per_value(counts_on_grid(truth, logits))
    return GRID[[_best_nearest_to(common, column) for column in f1.T]]


def global_threshold(truth: npt.NDArray[np.bool_], logits: npt.NDArray[np.floating]) -> float:
    """Return the one threshold for all values with the highest macro_f1.

    Of equals it is the nearest to 0.5.

    Args:
        truth: (arguments, 20).
        logits: (arguments, 20).

    Returns:
        A probability of `GRID`.
    """
    macro_f1 = means(counts_on_grid(truth, logits)).macro_f1
    return float(GRID[_best_nearest_to(0.5, macro_f1)])


def counts_on_grid(
    truth: npt.NDArray[np.bool_],
    logits: npt.NDArray[np.floating],
    cuts: npt.NDArray[np.float64] = _CUTS,
) -> Counts:
    """Count what would be predicted at every threshold: counts of shape (cuts, 20).

    Args:
        truth: (arguments, 20).
        logits: (arguments, 20).
        cuts: The thresholds, as logits; those of `GRID`.
    """
    predicted, tp = (
        np.stack(
            [
                # Of the logits in increasing order, those to the right of the cut exceed it.
                np.count_nonzero(kept) - np.searchsorted(np.sort(column[kept]), cuts, side="right")
                for column, kept in zip(logits.T.astype(np.float64), chosen.T, strict=True)
            ],
            axis=1,
        )
        for chosen in (np.ones_like(truth), truth)
    )
    return Counts(tp, predicted, np.broadcast_to(truth.sum(axis=0), tp.shape))


def _cuts_for(
    scores: npt.NDArray[np.floating],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return thresholds, and their places on the scale by which one is near to another.

    They are those of `GRID`, by their probabilities, and at each side quantiles of the scores that
    lie beyond it, where probabilities hardly differ, by their logits.
    """
    found = scores[np.isfinite(scores)].astype(np.float64)
    cuts, places = [_CUTS], [GRID]
    for side, end, shown in (
        (found[found < _CUTS[0]], _CUTS[0], GRID[0]),
        (found[found > _CUTS[-1]], _CUTS[-1], GRID[-1]),
    ):
        if side.size:
            beyond = np.quantile(side, _TAIL)
            cuts.append(beyond)
            places.append(shown + beyond - end)
    return np.concatenate(cuts), np.concatenate(places)


def _middle(
    first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the probabilities whose logits are in the middle between those of two others."""
    middle = (np.log(first / (1 - first)) + np.log(second / (1 - second))) / 2
    return 1 / (1 + np.exp(-middle))


def _best_nearest_to(
    anchor: float, scores: npt.NDArray[np.float64], places: npt.NDArray[np.float64] = GRID
) -> int:
    """Return the index on `places` of the best score; of equal ones the nearest to the anchor."""
    scores = np.nan_to_num(scores, nan=-1.0)
    best = np.flatnonzero(scores >= scores.max() - 1e-12)
    return int(best[np.argmin(np.abs(places[best] - anchor))])
