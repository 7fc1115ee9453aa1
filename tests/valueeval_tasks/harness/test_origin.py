"""Which run samples are from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from valueeval.tasks.harness.origin import origin_of
from valueeval.tasks.scores.calibration import Origin

DATE = "2026-11-28T12-00-00.000001"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("samples_valueeval_bca_" + DATE, Origin(template="bca", paraphrase=1, set="main")),
        ("samples_valueeval_cls_p3_zhihu", Origin(template="cls", paraphrase=3, set="zhihu")),
        (
            f"samples_valueeval_bca_p2_validation_{DATE}",
            Origin(template="bca", paraphrase=2, set="validation"),
        ),
        ("samples_valueeval_bcax", Origin()),
        ("samples_gsm8k", Origin()),
    ],
)
def test_what_a_name_tells(tmp_path: Path, name: str, expected: Origin) -> None:
    assert origin_of(tmp_path / f"{name}.jsonl") == expected


def results(**changes: Any) -> dict[str, Any]:
    metadata = {
        **{"template": "bca", "paraphrase": 1, "wording": "chat", "set": "validation"},
        "data_sha256": "a" * 64,
    }
    return {
        "model_name": "org/model",
        "config": {"model_args": {"pretrained": "org/model", "peft": "org/adapter"}},
        "configs": {"valueeval_bca_validation": {"metadata": metadata}},
        "n-shot": {"valueeval_bca_validation": 4},
        **changes,
    }


@pytest.mark.parametrize("key", ["peft", "delta", "lora_local_path"])
def test_what_the_results_beside_them_tell(tmp_path: Path, key: str) -> None:
    arguments = {"model_args": {"pretrained": "org/model", key: "org/adapter"}}
    told = json.dumps(results(config=arguments))
    (tmp_path / f"results_{DATE}.json").write_text(told, encoding="utf-8")
    origin = origin_of(tmp_path / f"samples_valueeval_bca_validation_{DATE}.jsonl")
    assert origin == Origin("org/model + org/adapter", "bca", 1, "chat", 4, "validation", "a" * 64)


@pytest.mark.parametrize("text", ["{", "[]", json.dumps(results(configs={})), "[" * 100_000])
def test_results_that_are_not_lm_evals(tmp_path: Path, text: str) -> None:
    (tmp_path / f"results_{DATE}.json").write_text(text, encoding="utf-8")
    origin = origin_of(tmp_path / f"samples_valueeval_bca_validation_{DATE}.jsonl")
    assert origin == Origin(template="bca", paraphrase=1, set="validation")
