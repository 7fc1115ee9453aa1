"""The scorer as a metric of the ``evaluate`` library, loaded offline from its path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valueeval.tasks import metric_path
from valueeval.tasks.scores.scoring import score


@pytest.fixture(scope="module")
def metric(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The metric, loaded as a user does, its module copied into a cache of this test's own."""
    import evaluate

    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("hf")
        for module in (evaluate.config, evaluate.loading.config):
            patch.setattr(module, "HF_MODULES_CACHE", str(home / "modules"))
        loaded = evaluate.load(metric_path(), cache_dir=str(home))
    return loaded


@pytest.fixture
def matrices() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.random((30, 20)) < 0.3, rng.random((30, 20)) < 0.4


def test_path_is_a_file_in_the_package() -> None:
    assert Path(metric_path()).is_file()


@pytest.mark.parametrize("form", ["bool", "int", "lists"])
def test_agrees_with_the_scorer(
    metric: Any, matrices: tuple[np.ndarray, np.ndarray], form: str
) -> None:
    truth, prediction = matrices
    expected = score(truth, prediction)
    del expected["unparsed"]
    convert = {"bool": lambda x: x, "int": lambda x: x.astype(int), "lists": lambda x: x.tolist()}
    references, predictions = convert[form](truth), convert[form](prediction)
    assert metric.compute(predictions=predictions, references=references) == expected


def test_in_batches(metric: Any, matrices: tuple[np.ndarray, np.ndarray]) -> None:
    truth, prediction = matrices
    for start in range(0, 30, 7):
        metric.add_batch(
            predictions=prediction[start : start + 7], references=truth[start : start + 7]
        )
    assert metric.compute()["macro_f1"] == score(truth, prediction)["macro_f1"]


def test_value_without_positive_is_none(metric: Any) -> None:
    truth = np.zeros((2, 20), dtype=int)
    truth[0, 0] = 1
    result = metric.compute(predictions=np.ones((2, 20), dtype=int), references=truth)
    assert result["f1_stimulation"] is None
    assert result["f1_self_direction_thought"] == pytest.approx(2 / 3)


def test_refuses_probabilities(metric: Any) -> None:
    with pytest.raises(ValueError, match="prediction: only 0 and 1"):
        metric.compute(predictions=np.full((2, 20), 0.9), references=np.ones((2, 20)))
