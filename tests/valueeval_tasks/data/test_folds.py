"""Folds by conclusion: the cut by hand, of the sample set and of the real data."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.data.dataset import CV_PARTS, joined, load_set
from valueeval.tasks.data.folds import (
    CV_FOLDS,
    assign_folds,
    folds_of,
    inner_fold,
    split_by_fold,
    split_for_cv,
)
from valueeval.tasks.errors import ValueEvalError

FOLDS = 3


def one_value(*values: int) -> np.ndarray:
    return np.eye(20, dtype=bool)[list(values)]


def test_a_cut_by_hand() -> None:
    """Four conclusions of one argument each, two with value 0, two with value 1: one of each."""
    folds = assign_folds(["a", "b", "c", "d"], one_value(0, 0, 1, 1), 2)
    assert folds[0] != folds[1]
    assert folds[2] != folds[3]


def test_large_conclusions_come_first() -> None:
    """Sizes 3, 2, 1 and the same value everywhere: 3 against 2 + 1."""
    folds = assign_folds(list("bbbaac"), one_value(*[0] * 6), 2)
    assert folds.tolist() == [0, 0, 0, 1, 1, 1]


def test_spellings_of_a_conclusion_are_one() -> None:
    spelled = ["We should act", "we  should Act. ", " We should act.", "We should not act"]
    folds = assign_folds(spelled, one_value(0, 1, 2, 3), 2)
    assert len(set(folds[:3])) == 1
    assert folds[3] != folds[0]


def test_more_folds_than_conclusions() -> None:
    with pytest.raises(ValueEvalError, match="folds: 3; allowed for this data: at most 2, the num"):
        assign_folds(["a", "b", "A"], one_value(0, 1, 2), 3)


@settings(max_examples=30)
@given(data=st.data(), folds=st.integers(2, 6))
def test_every_fold_has_conclusions_of_its_own_in_any_order(
    data: st.DataObject, folds: int
) -> None:
    names = data.draw(st.lists(st.sampled_from("abcdefghij"), min_size=10, max_size=40))
    names += list("abcdefghij")[:folds]
    random = np.random.default_rng(len(names))
    labels = random.random((len(names), 20)) < 0.2
    cut = assign_folds(names, labels, folds)
    assert sorted(set(cut.tolist())) == list(range(folds))
    homes = {(name, fold) for name, fold in zip(names, cut.tolist(), strict=True)}
    assert len(homes) == len(set(names))
    order = random.permutation(len(names))
    again = assign_folds([names[row] for row in order], labels[order], folds)
    assert (again == cut[order]).all()


def shares(labels: np.ndarray, cut: np.ndarray, folds: int) -> tuple[np.ndarray, np.ndarray]:
    """Arguments of each fold, and how often it has each value, against an even share."""
    sizes = np.bincount(cut, minlength=folds) * folds / len(cut)
    counts = np.array([labels[cut == fold].sum(axis=0) for fold in range(folds)])
    return sizes, counts * folds / labels.sum(axis=0)


def cut_of(prefix: str, folds: int, data_dir: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    sets = [load_set(f"{prefix}{name}", data_dir) for name in ("training", "validation")]
    labels = np.concatenate([part.labels for part in sets])
    conclusions: Sequence[str] = sets[0].conclusions + sets[1].conclusions
    return shares(labels, assign_folds(conclusions, labels, folds), folds)


def test_folds_of_the_sample_set_are_alike() -> None:
    sizes, values = cut_of("sample_", 5)
    assert 0.9 < sizes.min() <= sizes.max() < 1.1
    assert 0.5 < values.min() <= values.max() < 1.6


def test_folds_of_the_real_data_are_alike(real_data_dir: Path) -> None:
    """The numbers of the module's docstring."""
    sizes, values = cut_of("", 5, real_data_dir)
    assert [round(size * 7289 / 5) for size in (sizes.min(), sizes.max())] == [1419, 1493]
    assert [round(share, 2) for share in (values.min(), values.max())] == [0.86, 1.20]


def test_what_is_left_out_and_what_is_not() -> None:
    training, validation = load_set("sample_training"), load_set("sample_validation")
    label_of = dict(zip(training.ids, training.labels.tolist(), strict=True))
    label_of |= dict(zip(validation.ids, validation.labels.tolist(), strict=True))
    left_out: list[str] = []
    for fold in range(FOLDS):
        kept, left = split_by_fold(joined(training, validation), FOLDS, fold)
        assert not set(kept.conclusions) & set(left.conclusions)
        assert sorted(kept.ids + left.ids) == sorted(training.ids + validation.ids)
        for part in (kept, left):
            assert part.sha256 == f"{training.sha256}+{validation.sha256}"
            assert part.name == "sample_training+sample_validation"
            for name, labels in zip(part.ids, part.labels.tolist(), strict=True):
                assert labels == label_of[name]
        left_out += left.ids
    assert sorted(left_out) == sorted(label_of)


def test_texts_that_stand_alone_are_in_folds_of_their_own_words() -> None:
    """They have no conclusion, which is not one conclusion of them all."""
    data = load_set("sample_training")
    texts = tuple(replace(one, conclusion="") for one in data.arguments)
    mixed = replace(data, arguments=texts[:60] + data.arguments[60:])
    cut = folds_of(mixed, FOLDS)
    assert set(cut[:60].tolist()) == set(range(FOLDS))


# ------------------------------------------------------------------------- the protocol cv

# Conclusion (a letter) and value of each of 14 arguments. The values occur 5, 4, 3 and 2 times, so
# sums of squared shares order the conclusions a, b, d, c, g, f, e. The first five open a fold each.
# The others join those with none of their value: f the fold of g, which is smaller than that of d;
# e the fold of d, which is now as small as that of g and f, and comes first.
TABLE = "a0 a0 a1 a2 b0 b1 b3 c0 c1 d2 d3 e0 f1 g2"


def test_a_made_up_table_of_five_folds() -> None:
    rows = [(row[0], int(row[1])) for row in TABLE.split()]
    conclusions, labels = [name for name, _ in rows], one_value(*[value for _, value in rows])
    cut = assign_folds(conclusions, labels, CV_FOLDS)
    home = dict(zip(conclusions, cut.tolist(), strict=True))
    assert home == {"a": 0, "b": 1, "d": 2, "c": 3, "g": 4, "f": 4, "e": 2}


@pytest.mark.parametrize("fold", range(CV_FOLDS))
def test_a_fold_of_cv_is_in_neither_part(fold: int) -> None:
    whole = joined(load_set("sample_training"), load_set("sample_validation"))
    fold_of = dict(zip(whole.ids, folds_of(whole, CV_FOLDS).tolist(), strict=True))
    training, inner = split_for_cv(whole, fold)
    assert {fold_of[id] for id in inner.ids} == {inner_fold(fold)} == {(fold + 1) % 5}
    assert {fold_of[id] for id in training.ids} == set(range(5)) - {fold, (fold + 1) % 5}
    assert len(training.ids) + len(inner.ids) == sum(of != fold for of in fold_of.values())


def test_folds_of_the_real_set_cv(real_data_dir: Path) -> None:
    """The numbers of the module's docstring, and the folds that everybody has."""
    data = load_set("cv", real_data_dir)
    parts = [load_set(name, real_data_dir) for name in CV_PARTS]
    assert (data.name, data.official, len(data.ids)) == ("cv", True, 8965)
    assert data.sha256 == "+".join(part.sha256 for part in parts)
    cut = folds_of(data, CV_FOLDS)
    assert np.bincount(cut).tolist() == [1823, 1822, 1785, 1763, 1772]
    _, values = shares(data.labels, cut, CV_FOLDS)
    assert [round(share, 2) for share in (values.min(), values.max())] == [0.88, 1.15]
    homes = {(conclusion_key(each), fold) for each, fold in zip(data.conclusions, cut, strict=True)}
    assert len(homes) == len({key for key, _ in homes}) == 584
    listed = "\n".join(sorted(f"{key} {fold}" for key, fold in homes))
    assert hashlib.sha256(listed.encode()).hexdigest().startswith("691a923509bd7969")
