"""Calibrations: what they take off, and what is refused as one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.calibration import (
    Calibration,
    Origin,
    Prior,
    PriorFrom,
    fit,
    mean_prior,
    read_calibration,
    to_json,
)
from valueeval.tasks.values import VALUE_SLUGS

ORIGIN = Origin("m", "bca", 1, "chat", 0, "validation", "a" * 64)


def biased(bias: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores that tell the labels, plus a bias that hides it; a quarter of labels are positive."""
    rng = np.random.default_rng(seed)
    truth = rng.random((200, 20)) < 0.25
    return np.where(truth, 1.0, -1.0) + bias, truth


def test_the_prior_is_each_values_mean() -> None:
    scores = np.arange(40.0).reshape(2, 20)
    prior = mean_prior("batch", scores)
    assert prior == Prior("batch", tuple(np.arange(20.0) + 10), 2)
    calibration = fit(scores, np.zeros((2, 20), dtype=bool), ORIGIN, prior, None)
    assert calibration.method == "batch prior"
    assert calibration.thresholds == (0.0,) * 20
    assert calibration.apply(scores).tolist() == [[-10.0] * 20, [10.0] * 20]


@pytest.mark.parametrize("source", ["batch", "content-free", None])
@pytest.mark.parametrize("bias", [-3.0, 0.0, 3.0])
def test_bias_of_a_prompt_is_taken_off(source: PriorFrom | None, bias: float) -> None:
    scores, truth = biased(bias)
    prior = (
        mean_prior(source, np.full((6, 20), bias) if source == "content-free" else scores)
        if source
        else None
    )
    calibration = fit(scores, truth, ORIGIN, prior, "shrunk")
    assert calibration.method == (
        f"{source} prior, shrunk thresholds" if source else "shrunk thresholds"
    )
    other_scores, other_truth = biased(bias, seed=1)
    assert ((calibration.apply(other_scores) > 0) == other_truth).all()


def test_labels_are_not_read_without_a_rule() -> None:
    scores, truth = biased(2.0)
    prior = mean_prior("batch", scores)
    assert fit(scores, truth, ORIGIN, prior, None) == fit(scores, ~truth, ORIGIN, prior, None)


def test_a_prior_alone_does_not_depend_on_the_bias() -> None:
    decisions = []
    for bias in (-3.0, 3.0):
        scores, truth = biased(bias)
        prior = mean_prior("batch", scores)
        decisions.append(fit(scores, truth, ORIGIN, prior, None).apply(scores) > 0)
    assert (decisions[0] == decisions[1]).all()


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    scores, truth = biased(1.5)
    calibration = fit(scores, truth, ORIGIN, mean_prior("batch", scores), "shrunk")
    content = to_json(calibration)
    assert content["method"] == "batch prior, shrunk thresholds"
    assert (content["prior"]["source"], content["prior"]["arguments"]) == ("batch", 200)
    assert content["fitted_on"]["labels_used"] is True
    assert content["fitted_on"]["set"] == "validation"
    (tmp_path / "c.json").write_text(json.dumps(content), encoding="utf-8")
    assert read_calibration(tmp_path / "c.json") == calibration


def test_order_of_values_in_the_file_does_not_matter(tmp_path: Path) -> None:
    numbers = tuple(float(n) for n in range(20))
    prior = Prior("content-free", numbers, 6)
    content = to_json(Calibration(prior, numbers, None, 1, ORIGIN))
    content["prior"]["scores"] = dict(reversed(content["prior"]["scores"].items()))
    (tmp_path / "c.json").write_text(json.dumps(content), encoding="utf-8")
    assert read_calibration(tmp_path / "c.json").prior == prior


def broken(**changes: Any) -> str:
    prior = changes.pop("in_prior", {})
    content = to_json(Calibration(Prior("batch", (0.0,) * 20, 1), (0.0,) * 20, None, 1, ORIGIN))
    content["prior"].update(prior)
    return json.dumps({**content, **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "not a calibration"),
        (broken(schema_version=1), "schema_version 1; known is 2"),
        (broken(prior={}), "KeyError 'source'"),
        (broken(in_prior={"source": "labels"}), "prior.source: 'labels'"),
        (broken(in_prior={"arguments": 1.5}), "prior.arguments: 1.5"),
        (broken(in_prior={"scores": {}}), "prior.scores: not the 20 values"),
        (broken(in_prior={"scores": dict.fromkeys(VALUE_SLUGS, "1")}), "'1' is no finite number"),
        (
            broken(in_prior={"scores": dict.fromkeys(VALUE_SLUGS, float("nan"))}),
            "nan is no finite number",
        ),
        (broken(thresholds=dict.fromkeys(VALUE_SLUGS, True)), "True is no finite number"),
        (broken(thresholds=dict.fromkeys(VALUE_SLUGS, 10**400)), "not a calibration"),
        (broken(rule=3), "rule: 3"),
        (broken(fitted_on={}), "KeyError 'model'"),
    ],
)
def test_what_is_no_calibration(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueEvalError, match=message):
        read_calibration(tmp_path / "c.json")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueEvalError, match="cannot be read"):
        read_calibration(tmp_path / "c.json")


def test_runs_differ_only_in_what_is_known_of_both() -> None:
    assert ORIGIN.differs(Origin()) is None
    assert ORIGIN.differs(Origin(model="m", set="main")) is None  # other arguments may be scored
    assert ORIGIN.differs(Origin(model="n")) == "model"
    assert ORIGIN.differs(Origin(model="m", wording="plain")) == "wording"
    assert ORIGIN.differs(Origin(shots=4)) == "shots"


def test_labels_of_the_arguments_that_are_scored_must_not_have_been_seen() -> None:
    scores, truth = biased(0.0)
    tuned = fit(scores, truth, ORIGIN, None, "shrunk")
    same = Origin(set="validation", data_sha256="a" * 64)
    assert "tuned on the labels of validation" in (tuned.refusal(same, "it") or "")
    assert "tuned on the labels" in (tuned.refusal(Origin(set="validation"), "it") or "")
    assert tuned.refusal(Origin(set="main"), "it") is None
    other_folder = Origin(set="validation", data_sha256="b" * 64)
    assert tuned.refusal(other_folder, "it") is None
    both = Origin(set="validation+zhihu", data_sha256=f"{'a' * 64}+{'b' * 64}")
    assert "tuned on" in (fit(scores, truth, both, None, "global").refusal(same, "it") or "")
    prior_alone = fit(scores, truth, ORIGIN, mean_prior("batch", scores), None)
    assert prior_alone.refusal(same, "it") is None
    assert "fitted with model m, but it has n" in (
        prior_alone.refusal(Origin(model="n"), "it") or ""
    )
