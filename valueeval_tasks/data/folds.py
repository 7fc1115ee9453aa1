"""Folds by conclusion, for cross-validation.

Arguments that share a conclusion are not independent, so a conclusion is in one fold, and so is a
text that stands alone, without a conclusion, however often it occurs. The folds are alike in size
and in how often each value occurs, as far as that allows: Sechidis et al., 2011, «On the
stratification of multi-label data», name the aim; the way is the greedy one of scikit-learn's
StratifiedGroupKFold, which itself knows single labels only. The cut depends on the arguments and on
the number of folds, on nothing else: not on a seed, on their order, or on a library's version.

``--folds N --fold K`` joins training and validation. Into 5, the real data fall in folds of 1419 to
1493 arguments, in which each value has 0.86 to 1.20 times its even share (GroupKFold: 1457 or 1458
arguments, 0.50 to 1.91 times).

The protocol ``cv`` cuts set `valueeval.tasks.data.dataset.CV`, all 8965 labelled arguments, into
`CV_FOLDS` (of 1763 to 1823 arguments; each value 0.88 to 1.15 times its even share). Fold K is
predicted by what was trained on three other folds; epoch and thresholds are chosen on its *inner*
fold, (K + 1) mod 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from valueeval.tasks.data.conclusions import normalise_conclusion
from valueeval.tasks.data.dataset import DataSet
from valueeval.tasks.errors import ValueEvalError

CV_FOLDS = 5


def inner_fold(fold: int) -> int:
    """Return the fold that choices for a fold of the protocol ``cv`` are made on."""
    return (fold + 1) % CV_FOLDS


def split_for_cv(data: DataSet, fold: int) -> tuple[DataSet, DataSet]:
    """Return the training part and the inner fold for a fold of the protocol ``cv``.

    Args:
        data: The set `valueeval.tasks.data.dataset.CV`.
        fold: The fold that is in neither part, from 0.

    Raises:
        ValueEvalError: There are fewer conclusions than folds.
    """
    fold_of = folds_of(data, CV_FOLDS)
    inner = fold_of == inner_fold(fold)
    return part_of(data, ~inner & (fold_of != fold)), part_of(data, inner)


def split_by_fold(data: DataSet, folds: int, fold: int) -> tuple[DataSet, DataSet]:
    """Return the training part and the fold that is left out, each in the order of the files.

    Args:
        data: The arguments.
        folds: Number of folds, N.
        fold: Number of the fold that is left out, from 0.

    Raises:
        ValueEvalError: There are fewer conclusions than folds.
    """
    left_out = folds_of(data, folds) == fold
    return part_of(data, ~left_out), part_of(data, left_out)


def part_of(data: DataSet, chosen: npt.NDArray[np.bool_]) -> DataSet:
    """Return the chosen arguments, in their order; name and hash stay.

    Args:
        data: n arguments.
        chosen: (n,).
    """
    rows = np.flatnonzero(chosen).tolist()
    kept = tuple(data.arguments[row] for row in rows)
    return replace(data, arguments=kept, labels=data.labels[rows])


def folds_of(data: DataSet, folds: int) -> npt.NDArray[np.int64]:
    """Return the fold of each argument of a set, as `assign_folds` does.

    Raises:
        ValueEvalError: There are fewer conclusions than folds.
    """
    return assign_folds(data.groups, data.labels, folds)


def assign_folds(
    groups: Sequence[str], labels: npt.NDArray[np.bool_], folds: int
) -> npt.NDArray[np.int64]:
    """Return the fold of each argument, from 0.

    The conclusions, those with the most arguments and values first, each go to the fold where the
    sum of squares of the folds' shares (of all arguments, and of each value) grows least.

    Args:
        groups: The conclusions of n arguments, or texts that stand alone; differences in case,
            blanks and the final mark do not count.
        labels: (n, 20).
        folds: Number of folds.

    Returns:
        Shape (n,).

    Raises:
        ValueEvalError: There are fewer conclusions than folds.
    """
    distinct, group = np.unique(
        [normalise_conclusion(text) for text in groups], return_inverse=True
    )
    if folds > len(distinct):
        raise ValueEvalError(
            f"folds: {folds}; allowed for this data: at most {len(distinct)}, the number of "
            "conclusions (of texts, where they stand alone)"
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
