"""Tasks of set ``cv``: all labelled arguments in five folds, or one of the folds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.data.folds import CV_FOLDS, folds_of, inner_fold
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.task import ValueEvalTask

Load = Callable[..., ValueEvalTask]


def test_every_argument_names_its_fold(load: Load, official_layout: Path) -> None:
    data = load_set("cv", official_layout)
    folds = folds_of(data, CV_FOLDS)
    task = load("valueeval_bca_cv")
    assert [doc["fold"] for doc in task.task_docs] == folds.tolist()
    assert [doc["id"] for doc in task.task_docs] == list(data.ids)
    assert "fold" not in load("valueeval_bca_validation").task_docs[0]
    metadata = task.dump_config()["metadata"]
    assert (metadata["set"], metadata["data_sha256"]) == ("cv", data.sha256)
    assert "fold" not in metadata


def test_one_fold_alone(load: Load) -> None:
    whole = load("valueeval_bca_cv")
    parts = [load("valueeval_bca_cv", fold=fold) for fold in range(CV_FOLDS)]
    for fold, part in enumerate(parts):
        assert {doc["fold"] for doc in part.task_docs} == {fold}
        metadata = part.dump_config()["metadata"]
        assert metadata["fold"] == fold
        assert metadata["data_sha256"] == whole.dump_config()["metadata"]["data_sha256"]
    ids = [doc["id"] for part in parts for doc in part.task_docs]
    assert sorted(ids) == sorted(doc["id"] for doc in whole.task_docs)


def test_examples_are_of_the_folds_that_are_trained_on(load: Load, official_layout: Path) -> None:
    data = load_set("cv", official_layout)
    folds = dict(zip(data.conclusions, folds_of(data, CV_FOLDS).tolist(), strict=True))
    task = load("valueeval_cot_cv")
    firsts = {doc["fold"]: doc for doc in reversed(list(task.task_docs))}
    openings = set()
    for fold, doc in firsts.items():
        (prompt,) = task.fewshot_context(doc, 4)
        examples = prompt.replace(doc["conclusion"], "").replace(doc["premise"], "")
        shown = {of for conclusion, of in folds.items() if conclusion in examples}
        assert shown
        assert shown <= set(range(CV_FOLDS)) - {fold, inner_fold(fold)}
        openings.add(examples)
    assert len(openings) == CV_FOLDS


@pytest.mark.parametrize(
    ("task", "fold", "message"),
    [
        ("valueeval_bca_cv", 5, "fold must be a whole number from 0 to 4, not 5"),
        ("valueeval_bca_cv", "0", "fold must be a whole number from 0 to 4, not 0"),
        ("valueeval_bca_validation", 0, r"set cv \(valueeval_cls_cv, …\) only; .*has no folds"),
    ],
)
def test_folds_that_are_refused(load: Load, task: str, fold: object, message: str) -> None:
    with pytest.raises(ValueEvalError, match=message):
        load(task, fold=fold)


def test_ids_of_two_sets_must_differ(official_layout: Path, tmp_path: Path) -> None:
    for file in official_layout.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for kind in ("arguments", "labels"):
        copy = (tmp_path / f"{kind}-test.tsv").read_bytes()
        (tmp_path / f"{kind}-validation-zhihu.tsv").write_bytes(copy)
    with pytest.raises(ValueEvalError, match="set cv joins training, validation, zhihu, main, but"):
        load_set("cv", tmp_path)
