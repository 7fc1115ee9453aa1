"""Calibrations that ``--model_args`` name: decisions, results, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
import pytest
import torch
from language_models import task_manager
from tiny_adapters import make_manifest, write_adapter

from valueeval.adapters.directory.manifest import Thresholds
from valueeval.adapters.harness.classifier_lm import ClassifierLM
from valueeval.adapters.harness.thresholds import (
    ModelCalibration,
    apply_thresholds,
    dtype_of_thresholds,
)
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.origin import origin_of
from valueeval.tasks.harness.requests import ValueRequest
from valueeval.tasks.scores.calibration import Calibration, Origin, Prior, to_json
from valueeval.tasks.templates.decide import ASKS, decide

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

PRIOR = Prior("content-free", tuple(np.linspace(-1.5, 1.5, 20).tolist()), 6)
THRESHOLDS = (0.25,) * 20


def write_calibration(path: Path, origin: Origin, rule: str | None = "shrunk") -> str:
    calibration = Calibration(PRIOR, THRESHOLDS, rule, 60, origin)
    path.write_text(json.dumps(to_json(calibration)), encoding="utf-8")
    return str(path)


def evaluated(task: str, arguments: dict[str, Any], **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = lm_eval.simple_evaluate(
        model="valueeval", model_args=arguments, tasks=[task], limit=2, device="cpu",
        task_manager=task_manager(), bootstrap_iters=0, **options,
    )  # fmt: skip
    return found


def scores(results: dict[str, Any], task: str) -> np.ndarray:
    return np.array([sample["macro_f1"]["scores"] for sample in results["samples"][task]])


@pytest.mark.parametrize("template", ["bca", "cls"])
def test_decisions_of_a_prompted_model_are_calibrated(
    lively: Path, tmp_path: Path, template: str
) -> None:
    task, given = f"valueeval_{template}_sample", {"pretrained": str(lively)}
    origin = Origin(str(lively), template, 1, "plain", 0, "validation", "a" * 64)
    path = write_calibration(tmp_path / "c.json", origin)
    raw = evaluated(task, given)
    now = evaluated(task, {**given, "calibration": path})
    expected = scores(raw, task) - np.add(PRIOR.scores, THRESHOLDS)
    np.testing.assert_allclose(scores(now, task), expected, atol=1e-5)
    for sample, row in zip(now["samples"][task], expected, strict=True):
        assert sample["macro_f1"]["prediction"] == (row > 0).tolist()
    mass = "answer_mass,none"
    assert now["results"][task][mass] == pytest.approx(raw["results"][task][mass], rel=1e-6)
    assert raw["config"]["calibration"] is None
    manifest = now["config"]["calibration"]
    assert manifest["method"] == "content-free prior, shrunk thresholds"
    assert manifest["fitted_on"]["labels_used"] is True
    assert manifest["fitted_on"]["set"] == "validation"


def test_decisions_of_an_adapter_with_a_head_are_calibrated(
    tmp_path: Path, tiny_bert: Path
) -> None:
    folder = write_adapter(tmp_path / "adapter", tiny_bert)
    task, given = "valueeval_bca_sample", {"adapter": str(folder)}
    raw = evaluated(task, given)
    path = write_calibration(tmp_path / "c.json", Origin(model=ClassifierLM(str(folder)).name))
    now = evaluated(task, {**given, "calibration": path})
    expected = scores(raw, task) - np.add(PRIOR.scores, THRESHOLDS)
    np.testing.assert_allclose(scores(now, task), expected, atol=1e-5)
    assert now["results"][task]["answer_mass,none"] is None
    assert now["config"]["calibration"]["thresholds"]["face"] == 0.25


@pytest.mark.parametrize(
    ("split", "given", "expected", "warned"),
    [
        ("validation", None, "float32", False),
        ("validation", "auto", "float32", False),
        ("fold", "auto", "float32", False),
        ("validation", "float32", "float32", False),
        ("validation", torch.float32, torch.float32, False),
        ("validation", "bfloat16", "bfloat16", True),
        ("validation", torch.float16, torch.float16, True),
        ("none", "auto", "auto", False),
        ("none", None, None, False),
        ("none", "bfloat16", "bfloat16", False),
        (None, "auto", "auto", False),
        (None, "bfloat16", "bfloat16", False),
    ],
)
def test_tuned_thresholds_decide_in_float32(
    caplog: pytest.LogCaptureFixture, split: str | None, given: Any, expected: Any, warned: bool
) -> None:
    thresholds = None if split is None else Thresholds((0.5,) * 20, split, "macro_f1")
    manifest = None if thresholds is None else make_manifest({}, thresholds=thresholds)
    assert dtype_of_thresholds(manifest, given) == expected
    name = str(given).removeprefix("torch.")
    said = [f"dtype={name}: the adapter's thresholds were chosen in float32"] if warned else []
    assert [record.getMessage().split(",")[0] for record in caplog.records] == said


ORIGIN = Origin("m", "bca", 1, "plain", 0, "validation", "a" * 64)
RUN = replace(ORIGIN, model=None, set="main", data_sha256="b" * 64)


def asked(origin: Origin = RUN, role: str = "yes") -> ValueRequest:
    return ValueRequest(
        request_type="loglikelihood", doc={}, arguments=("p", role), idx=0,
        metadata=("valueeval_bca", 0, 1), template="bca", value=3, role=role, origin=origin,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"template": "cls"}, "fitted with template bca, but valueeval_bca has cls"),
        ({"wording": "chat"}, "fitted with wording plain, but valueeval_bca has chat"),
        ({"shots": 4}, "fitted with shots 0, but valueeval_bca has 4"),
        ({"paraphrase": 2}, "fitted with paraphrase 1, but valueeval_bca has 2"),
        ({"data_sha256": "a" * 64}, "tuned on the labels of main, and valueeval_bca is about"),
    ],
)
def test_other_prompts_and_labels_that_were_seen_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = write_calibration(tmp_path / "c.json", ORIGIN)
    calibration = ModelCalibration.from_args(path, {"pretrained": "m"})
    with pytest.raises(ValueEvalError, match=message):
        calibration.apply([asked(replace(RUN, **changes))], [(-1.0, True)])


def test_another_model_and_generated_answers_are_refused(tmp_path: Path) -> None:
    path = write_calibration(tmp_path / "c.json", ORIGIN)
    other = ModelCalibration.from_args(path, {"pretrained": "m", "peft": "adapter"})
    with pytest.raises(ValueEvalError, match=r"fitted with model m, but .* has adapter"):
        other.apply([asked()], [(-1.0, True)])
    with pytest.raises(ValueEvalError, match="generated answers have no scores"):
        other.refuse_generation()


def test_probability_moves_from_yes_to_no(tmp_path: Path) -> None:
    """0.2 + 0.1 for yes and 0.3 for no, odds 1 : 1; less log 2, they are 1 : 2."""
    prior = Prior("batch", (0.0,) * 3 + (math.log(2),) + (0.0,) * 16, 6)
    path = tmp_path / "c.json"
    path.write_text(json.dumps(to_json(Calibration(prior, (0.0,) * 20, None, 6, ORIGIN))))
    calibration = ModelCalibration.from_args(path, {"pretrained": "m"})
    requests = [asked(role="yes"), asked(role="yes"), asked(role="no")]
    answers = [(math.log(p), False) for p in (0.2, 0.1, 0.3)]
    found = [math.exp(score) for score, _ in calibration.apply(requests, answers)]
    assert found == pytest.approx([0.2 * 2 / 3, 0.1 * 2 / 3, 0.4])


@pytest.mark.parametrize("probability", [0.5, 0.12, 0.88])
@pytest.mark.parametrize("template", ["bca", "cls"])
def test_thresholds_of_an_adapter_leave_the_answer_mass(template: str, probability: float) -> None:
    """Of bca P(no) = 0.9 and P(yes) = 0.08, each in two spellings; of cls 20 names."""
    tau = math.log(probability / (1 - probability))
    thresholds = Thresholds((probability,) * 20, "validation", "macro_f1")
    manifest = make_manifest({}, template=template, head=None, thresholds=thresholds)
    requests = [
        replace(asked(role=ask.role), template=template, value=ask.value) for ask in ASKS[template]
    ]
    scale = {"bca": 1, "cls": 40}[template]
    given = [(math.log(p / scale), p == 0.6) for p in (0.6, 0.3, 0.07, 0.01)] * 20
    given = given[: len(requests)]
    found = apply_thresholds(manifest, requests, given)
    raw, decided = decide(template, given), decide(template, found)
    assert decided.answer_mass == pytest.approx({"bca": 0.98, "cls": 0.1225}[template])
    assert decided.scores == pytest.approx(np.subtract(raw.scores, tau))
    assert [greedy for _, greedy in found] == [greedy for _, greedy in given]
    if tau == 0:  # to the last bit
        assert found == given
    assert apply_thresholds(replace(manifest, template="oa"), requests, given) == given
    # lm-eval repeats a process's last request, so that all processes have as many.
    padded = apply_thresholds(manifest, requests + 8 * requests[-1:], given + 8 * given[-1:])
    assert padded == found + 8 * found[-1:]


def test_calibrated_samples_are_not_calibrated_again(tmp_path: Path) -> None:
    """Their run's model has another name: what is fitted to one is refused for the other."""
    date, task = "2026-11-28T12-00-00.000001", "valueeval_bca"
    metadata = {
        "template": "bca", "paraphrase": 1, "wording": "plain", "set": "main",
        "data_sha256": "b" * 64,
    }  # fmt: skip
    results = {
        "model_name": "m", "config": {"model_args": {}, "calibration": {"method": "batch prior"}},
        "configs": {task: {"metadata": metadata}}, "n-shot": {task: 0},
    }  # fmt: skip
    (tmp_path / f"results_{date}.json").write_text(json.dumps(results), encoding="utf-8")
    assert origin_of(tmp_path / f"samples_{task}_{date}.jsonl").model == "m (calibrated)"
