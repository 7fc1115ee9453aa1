"""Folds by conclusion, for cross-validation: ``--folds N --fold K``.

Training and validation are joined and cut into N folds; epochs and thresholds are chosen on fold K,
and the other folds are trained on. So each of N runs has its thresholds from arguments that it was
not trained on, and their average (``adapter=A+B+…``) has learnt from all of them: an ensemble by
cross-validation (Krogh and Vedelsby, 1995, «Neural network ensembles, cross validation, and active
learning»).

Arguments that share a conclusion are not independent, so a conclusion is in one fold. The folds are
alike in size and in how often each value occurs, as far as that allows: Sechidis et al., 2011, «On
the stratification of multi-label data», name the aim; the way is the greedy one of scikit-learn's
StratifiedGroupKFold, which itself knows single labels only. Into 5, the real data fall in folds of
1419 to 1493 arguments, in which each value has 0.86 to 1.20 times its even share (GroupKFold: 1457
or 1458 arguments, 0.50 to 1.91 times). The cut depends on the arguments and on N, on nothing else:
not on a seed, not on their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from valueeval.tasks.data.conclusions import normalise_conclusion
from valueeval.tasks.data.dataset import DataSet
from valueeval.train.config.choice import ConfigError


def split_by_fold(
    training: DataSet, validation: DataSet, folds: int, fold: int
) -> tuple[DataSet, DataSet]:
    """Return the training part and the fold that is left out, each in the order of the files.

    Names and hashes of both sets are joined by ``+``.

    Args:
        training: The training set.
        validation: The validation set.
        folds: Number of folds, N.
        fold: Number of the fold that is left out, from 0.

    Raises:
        ConfigError: There are fewer conclusions than folds.
    """
    whole = joined(training, validation)
    left_out = folds_of(whole, folds) == fold
    parts = []
    for chosen in (~left_out, left_out):
        rows = np.flatnonzero(chosen).tolist()
        kept = tuple(whole.arguments[row] for row in rows)
        parts.append(replace(whole, arguments=kept, labels=whole.labels[rows]))
    return parts[0], parts[1]


def joined(training: DataSet, validation: DataSet) -> DataSet:
    """Return both sets as one; names and hashes are joined by ``+``."""
    return replace(
        training,
        name=f"{training.name}+{validation.name}",
        arguments=training.arguments + validation.arguments,
        labels=np.concatenate([training.labels, validation.labels]),
        sha256=f"{training.sha256}+{validation.sha256}",
        official=training.official and validation.official,
    )


def merged(parts: Sequence[DataSet]) -> DataSet:
    """Return one split of several data sets as one: the first's name, hashes joined by ``+``."""
    if len(parts) == 1:
        return parts[0]
    return replace(
        parts[0],
        arguments=tuple(argument for part in parts for argument in part.arguments),
        labels=np.concatenate([part.labels for part in parts]),
        sha256="+".join(part.sha256 for part in parts),
        official=False,
    )


def folds_of(data: DataSet, folds: int) -> npt.NDArray[np.int64]:
    """Return the fold of each argument of a set, as `assign_folds` does.

    Raises:
        ConfigError: There are fewer conclusions than folds.
    """
    return assign_folds([argument.conclusion for argument in data.arguments], data.labels, folds)


def assign_folds(
    conclusions: Sequence[str], labels: npt.NDArray[np.bool_], folds: int
) -> npt.NDArray[np.int64]:
    """Return the fold of each argument, from 0.

    The conclusions, those with the most arguments and values first, each go to the fold where the
    sum of squares of the folds' shares (of all arguments, and of each value) grows least.

    Args:
        conclusions: The conclusions of n arguments; differences in case, blanks and the final mark
            do not count.
        labels: (n, 20).
        folds: Number of folds.

    Returns:
        Shape (n,).

    Raises:
        ConfigError: There are fewer conclusions than folds.
    """
    distinct, group = np.unique(
        [normalise_conclusion(text) for text in conclusions], return_inverse=True
    )
    if folds > len(distinct):
        raise ConfigError(
            f"folds: {folds}; allowed for this data: at most {len(distinct)}, the number of "
            "conclusions"
        )
    counts = np.zeros((len(distinct), 1 + labels.shape[1]))
    np.add.at(counts, group, np.column_stack([np.ones(len(labels)), labels]))
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    filled = np.zeros((folds, shares.shape[1]))
    fold_of = np.zeros(len(distinct), dtype=np.int64)
    for number in np.argsort(-_rounded(shares**2), kind="stable").tolist():
        # (filled + share)² - filled² grows with their product alone: the rest is the same for all.
        chosen = int(np.argmin(_rounded(filled * shares[number])))
        fold_of[number] = chosen
        filled[chosen] += shares[number]
    return fold_of[group]


def _rounded(terms: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return sums along the last axis, rounded so that noise in the last digit decides no tie."""
    rounded: npt.NDArray[np.float64] = terms.sum(axis=-1).round(12)
    return rounded
