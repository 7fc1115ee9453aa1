"""`valueeval train --text_alone_share`: a share of the arguments as their premise alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_runs import STEPS, weights
from training import stop_training

from valueeval.adapters.classifier.classifier import load_classifier
from valueeval.adapters.directory.manifest_file import CARD_FILE, read_manifest
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.scores.scoring import score
from valueeval.train.config.choice import ConfigError
from valueeval.train.config.config import TrainConfig
from valueeval.train.options import changed, configure
from valueeval.train.run import train

SHARE = 0.5


@pytest.fixture
def mixed(config: TrainConfig) -> TrainConfig:
    return changed(config, text_alone_share=SHARE)


def test_the_manifest_has_the_share_and_the_score_of_premises_alone(
    mixed: TrainConfig, data_dir: Path
) -> None:
    manifest = train(mixed)
    assert manifest.config["text_alone_share"] == SHARE
    classifier = load_classifier(mixed.output, device="cpu")
    validation = load_set("validation", data_dir)
    premises = [replace(one, conclusion="", stance="") for one in validation.arguments]
    prediction = manifest.thresholds.decide(classifier.logits(premises, batch_size=64))
    alone = score(validation.labels, prediction)["macro_f1"]
    assert manifest.validation["macro_f1_text_alone"] == alone
    whole = manifest.thresholds.decide(classifier.logits(validation.arguments, batch_size=64))
    assert manifest.validation["macro_f1"] == score(validation.labels, whole)["macro_f1"]
    assert f"on premises alone {alone:.3f}" in (Path(mixed.output) / CARD_FILE).read_text("utf-8")


def test_0_is_the_training_on_whole_arguments_and_reports_the_score(
    config: TrainConfig, adapter: Path
) -> None:
    manifest = train(changed(config, text_alone_share=0.0))
    assert weights(Path(config.output)) == weights(adapter)
    assert manifest.validation.keys() - read_manifest(adapter).validation.keys() == {
        "macro_f1_text_alone"
    }


def test_a_resumed_run_gives_the_same_bytes(mixed: TrainConfig) -> None:
    train(mixed)
    again = changed(mixed, output=mixed.output + "-resumed")
    stop_training(again, STEPS + 1)
    train(changed(again, resume=True))
    assert weights(Path(again.output)) == weights(Path(mixed.output))


def test_less_at_once_draws_the_same(mixed: TrainConfig) -> None:
    """What is shown alone does not depend on how a step is cut into parts."""
    plain = changed(mixed, dropout=0.0, epochs=1)
    train(plain)
    parts = changed(plain, output=plain.output + "-parts", max_tokens_per_microbatch=200)
    train(parts)
    losses = [
        json.loads((Path(run.output) / "metrics.jsonl").read_text("utf-8").splitlines()[0])["loss"]
        for run in (plain, parts)
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.02)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "head"},
        {"method": "lora"},
        {"method": "head", "pooling": "attention"},
        {"method": "lora", "heads": "cross-encoder", "values_per_step": 4},
        {"method": "full", "contrastive": "pretrain"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_every_kind_of_input_has_both_forms(mixed: TrainConfig, options: dict[str, object]) -> None:
    manifest = train(changed(mixed, epochs=1, **options))
    assert manifest.validation["macro_f1_text_alone"] is not None


def test_a_student_of_all_folds_learns_texts_alone_from_answers_to_whole_arguments(
    mixed: TrainConfig,
) -> None:
    folds = changed(mixed, method="head", folds=2, fold=0, text_alone_share=None, epochs=1)
    teachers = [f"{mixed.output}-{fold}" for fold in range(2)]
    for fold, output in enumerate(teachers):
        train(changed(folds, fold=fold, output=output))
    named = "+".join(teachers)
    manifest = train(changed(folds, fold=None, teacher=named, text_alone_share=SHARE))
    assert manifest.validation == {}  # it has seen all arguments
    assert manifest.config["text_alone_share"] == SHARE
    whole = mixed.output + "-whole"
    other = train(changed(folds, fold=None, teacher=named, output=whole))
    assert other.weights_sha256 != manifest.weights_sha256


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=r"text_alone_share: .*; allowed: 0 to 1"):
        configure("out", text_alone_share=share)


def test_it_needs_a_head_and_a_segment_with_the_premise() -> None:
    with pytest.raises(ConfigError, match=r"text_alone_share: 0\.5 has no meaning with --template"):
        configure("out", text_alone_share=0.5, template="bca", method="lora")
    with pytest.raises(ConfigError, match=r"text_alone_share: 0\.5: segments: .*\{premise\}"):
        configure("out", text_alone_share=0.5, segments=("{conclusion}",))
