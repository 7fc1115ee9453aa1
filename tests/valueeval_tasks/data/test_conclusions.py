"""One conclusion under several spellings has one key, wherever arguments are grouped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from valueeval.tasks.data.conclusions import conclusion_key, normalise_conclusion
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.data.folds import assign_folds
from valueeval.tasks.harness.fewshot import pick_arguments


@pytest.mark.parametrize(
    "spelling",
    [
        "We should ban it",
        "we  should ban\tit",
        " We should ban it. ",
        "We should ban IT!?",
        "WE should ban it . ",
    ],
)
def test_spellings_of_one_conclusion_have_one_key(spelling: str) -> None:
    assert normalise_conclusion(spelling) == "we should ban it"
    assert conclusion_key(spelling) == conclusion_key("We should ban it")


def test_other_conclusions_have_other_keys() -> None:
    texts = ["We should ban it", "We should not ban it", "We should ban it, now", "Straße", "a.b"]
    assert len({conclusion_key(text) for text in texts}) == len(texts)
    assert normalise_conclusion("a.b?") == "a.b"
    assert conclusion_key("STRASSE") == conclusion_key("Straße")


def test_marks_alone_are_a_conclusion_too() -> None:
    assert normalise_conclusion(" ?! ") == ""
    assert len(conclusion_key("?")) == 8


def test_folds_and_few_shot_examples_keep_spellings_together() -> None:
    conclusions = ["Ban it", "ban it.", "Ban it!", "Keep it", "keep  it?", "Tax it"]
    labels = np.zeros((6, 20), dtype=bool)
    labels[np.arange(6), [0, 1, 2, 0, 1, 2]] = True
    folds = assign_folds(conclusions, labels, 3)
    assert len(set(folds[:3])) == len(set(folds[3:5])) == 1
    examples = pick_arguments(labels, conclusions, 3, seed=0)
    assert len({normalise_conclusion(conclusions[one.argument]) for one in examples}) == 3


@pytest.mark.parametrize(
    ("name", "spellings", "conclusions"),
    [("main", 106, 103), ("training", 332, 318), ("validation", 157, 151), ("zhihu", 12, 12)],
)
def test_conclusions_of_the_published_sets(
    real_data_dir: Path, name: str, spellings: int, conclusions: int
) -> None:
    data = load_set(name, real_data_dir)
    assert len(set(data.conclusions)) == spellings
    assert len({conclusion_key(text) for text in data.conclusions}) == conclusions


def test_no_conclusion_of_the_main_set_is_in_training_or_validation(real_data_dir: Path) -> None:
    keys = {
        name: {conclusion_key(text) for text in load_set(name, real_data_dir).conclusions}
        for name in ("main", "training", "validation")
    }
    assert not keys["main"] & (keys["training"] | keys["validation"])
