"""Distillation: the loss by hand, what a teacher may have seen, and training with one."""

from __future__ import annotations

import json
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch.nn.functional import binary_cross_entropy_with_logits
from training import small_config, stop_training, write_small_data

from valueeval.adapters.classifier.classifier import load_classifier
from valueeval.adapters.classifier.ensemble import load_adapter
from valueeval.adapters.directory.manifest import Manifest
from valueeval.adapters.directory.manifest_file import CARD_FILE, read_manifest, write_manifest
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.train.config.config import TrainConfig
from valueeval.train.data.inputs import Split
from valueeval.train.objectives import distillation
from valueeval.train.objectives.distillation import TEACHER_FILE, teacher_logits
from valueeval.train.objectives.losses import DistillationLoss, weighted_bce
from valueeval.train.options import changed
from valueeval.train.run import train
from valueeval.train.storage.output import work_folder

TRAINING, VALIDATION, STEPS = 40, 20, 3  # steps in an epoch


# ------------------------------------------------------------------------------- the loss


def targets_of(labels: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    return torch.cat([labels, probabilities], dim=1)


def test_loss_by_hand() -> None:
    """The student says 1/2, so every answer costs log 2; a positive of weight 3 costs it thrice."""
    logits = torch.zeros(1, 20)
    targets = targets_of(torch.ones(1, 20), torch.full((1, 20), 0.25))
    loss = DistillationLoss(weighted_bce(torch.full((20,), 3.0)), weight=0.25)
    assert loss(logits, targets).item() == pytest.approx((0.75 * 3 + 0.25) * log(2))


def test_without_weights_of_positives_it_is_cross_entropy_against_the_mixture() -> None:
    torch.manual_seed(0)
    logits, labels, soft = torch.randn(6, 20), torch.rand(6, 20).round(), torch.rand(6, 20)
    loss = DistillationLoss(weighted_bce(torch.ones(20)), weight=0.3)
    expected = binary_cross_entropy_with_logits(logits, 0.7 * labels + 0.3 * soft)
    torch.testing.assert_close(loss(logits, targets_of(labels, soft)), expected)


def test_a_student_that_agrees_with_its_teacher_has_nothing_to_learn_from_it() -> None:
    logits = torch.randn(4, 20, requires_grad=True)
    targets = targets_of(torch.ones(4, 20), logits.detach().sigmoid())
    DistillationLoss(weighted_bce(torch.full((20,), 5.0)), weight=1.0)(logits, targets).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.zeros(4, 20), atol=1e-7, rtol=0)


def test_targets_are_labels_and_probabilities() -> None:
    labels = np.eye(20, dtype=bool)[:2]
    logits = np.zeros((2, 20), dtype=np.float32)
    logits[0, 3] = log(3)
    split = Split(inputs=None, labels=labels)  # type: ignore[arg-type]
    assert torch.equal(split.targets, torch.from_numpy(labels).float())
    both = replace(split, teacher=logits).targets
    assert torch.equal(both[:, :20], split.targets)
    assert both[0, 23].item() == pytest.approx(0.75)
    assert both[1, 20:].tolist() == [0.5] * 20


# ------------------------------------------------------------------------------- training


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data"), TRAINING, VALIDATION)


@pytest.fixture(scope="module")
def recipe(tiny_bert: Path, data_dir: Path) -> TrainConfig:
    options: dict[str, Any] = {"epochs": 2, "batch_size": 16, "learning_rate": 0.1}
    return small_config(Path("set by each test"), tiny_bert, data_dir, method="head", **options)


@pytest.fixture(scope="module")
def teachers(recipe: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("teachers")
    outputs = [str(folder / name) for name in "ab"]
    for seed, output in enumerate(outputs):
        train(changed(recipe, output=output, seed=seed))
    return outputs


@pytest.fixture
def config(recipe: TrainConfig, teachers: list[str], tmp_path: Path) -> TrainConfig:
    return changed(recipe, output=str(tmp_path / "student"), teacher=teachers[0], seed=7)


def test_the_student_learns_to_answer_as_its_teacher(config: TrainConfig, data_dir: Path) -> None:
    """The same head on the same frozen encoder: nothing is left but the teacher's own entropy."""
    teacher = load_classifier(config.distillation.teacher, "cpu")
    manifest = train(changed(config, teacher_weight=1.0, epochs=20, dropout=0.0))
    logits = torch.from_numpy(teacher.logits(load_set("training", data_dir).arguments))
    entropy = binary_cross_entropy_with_logits(logits, logits.sigmoid()).item()
    lines = (Path(config.output) / "metrics.jsonl").read_text("utf-8").splitlines()
    first, *_, last = [json.loads(line)["loss"] - entropy for line in lines]
    assert 0 < last < 0.1 * first
    assert manifest.objective == "bce+distillation"
    assert manifest.config["teacher"] == config.distillation.teacher
    assert manifest.config["teacher_weight"] == 1.0
    assert manifest.config["teacher_sha256"] == teacher.manifest.weights_sha256
    assert read_manifest(config.output) == manifest
    card = (Path(config.output) / CARD_FILE).read_text("utf-8")
    assert f"`{teacher.manifest.weights_sha256}`; its probabilities count 1, labels 0 |" in card
    assert config.distillation.teacher not in card


def test_it_learns_what_the_teacher_answers_in_an_evaluation(
    config: TrainConfig, teachers: list[str], data_dir: Path
) -> None:
    joined = "+".join(teachers)
    stop_training(changed(config, teacher=joined), 0)
    kept = load_file(work_folder(Path(config.output)) / TEACHER_FILE)["logits"]
    expected = load_adapter(joined, "cpu").logits(load_set("training", data_dir).arguments)
    np.testing.assert_allclose(kept, expected, atol=1e-5)


@pytest.mark.parametrize("step", [0, STEPS + 1])
def test_resumed_it_is_the_same_student(
    config: TrainConfig, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(changed(config, output=config.output + "-whole"))
    stop_training(config, step)
    # The teacher is not asked a second time.
    monkeypatch.setattr(distillation, "load_members", None)
    again = train(changed(config, resume=True))
    assert again.weights_sha256 == whole.weights_sha256
    assert (again.thresholds, again.config) == (whole.thresholds, whole.config)
    assert train(changed(config, resume=True)) == again  # finished: nothing is done


def test_another_teacher_is_another_run(config: TrainConfig, teachers: list[str]) -> None:
    stop_training(config, STEPS + 1)
    with pytest.raises(ValueEvalError, match=r"another configuration \(teacher_sha256 "):
        train(changed(config, teacher=teachers[1], resume=True))
    with pytest.raises(ValueEvalError, match=r"teacher_weight 0\.5 there, 0\.9 here"):
        train(changed(config, teacher_weight=0.9, resume=True))


def test_kept_answers_that_cannot_be_read(config: TrainConfig) -> None:
    stop_training(config, 1)
    kept = work_folder(Path(config.output)) / TEACHER_FILE
    kept.write_bytes(kept.read_bytes()[:100])
    with pytest.raises(ValueEvalError, match="remove it, and the teacher will be asked again"):
        train(changed(config, resume=True))
    kept.unlink()
    train(changed(config, resume=True))


def test_answers_that_are_no_numbers(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = distillation.find_members(config.distillation.teacher)
    classifier = load_adapter(config.distillation.teacher, "cpu")
    monkeypatch.setattr(
        classifier, "logits", lambda arguments: np.full((len(arguments), 20), np.nan)
    )
    monkeypatch.setattr(distillation, "load_members", lambda members: classifier)
    with pytest.raises(ValueEvalError, match="numbers that are not finite"):
        teacher_logits(members, load_set("sample"), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("contrastive", "objective"),
    [("joint", "bce+distillation+contrastive"), ("pretrain", "contrastive, bce+distillation")],
)
def test_beside_contrastive_learning(config: TrainConfig, contrastive: str, objective: str) -> None:
    config = changed(config, method="full", learning_rate=0.01, epochs=1)
    manifest = train(changed(config, contrastive=contrastive))  # type: ignore[arg-type]
    assert manifest.objective == objective
    plain = train(changed(config, output=config.output + "-plain"))
    assert plain.weights_sha256 != manifest.weights_sha256


# ------------------------------------------------------------------------- what it may have seen


def test_a_teacher_of_other_data_is_refused(
    config: TrainConfig, teachers: list[str], tmp_path: Path
) -> None:
    other = str(write_small_data(tmp_path / "other", TRAINING - 1, VALIDATION))
    with pytest.raises(
        ValueEvalError, match=r"trained on touche23 training .* its student on touc"
    ):
        train(changed(config, data_dir=other))
    with pytest.raises(ValueEvalError, match=r"its student on sample training"):
        train(changed(config, data="sample", data_dir=None, teacher="+".join(teachers)))
    with pytest.raises(ValueEvalError, match="no such adapter directory"):
        train(changed(config, teacher=str(tmp_path / "nobody")))
    assert not work_folder(Path(config.output)).exists()


def test_a_teacher_of_the_same_fold_alone(config: TrainConfig) -> None:
    """Folds 0 and 1 of 3: each has seen what the other left out, and so has the first teacher."""
    in_fold = changed(config, teacher=None, folds=3, fold=0, epochs=1)
    folds = [f"{config.output}-{fold}" for fold in (0, 1)]
    for fold, output in enumerate(folds):
        train(changed(in_fold, fold=fold, output=output))
    with pytest.raises(ValueEvalError, match=r"fold 1 of 3 left out, but its student .* fold 0 of"):
        train(changed(in_fold, teacher=folds[1]))
    with pytest.raises(ValueEvalError, match="it may hand on labels that the student must not see"):
        train(changed(in_fold, teacher="+".join(folds)))
    with pytest.raises(ValueEvalError, match=r"trained on touche23 training .* fold 0 of 3"):
        train(changed(in_fold, teacher=config.distillation.teacher))
    with pytest.raises(ValueEvalError, match=r"fold 0 of 3 left out, but its student on touche23"):
        train(changed(config, teacher=folds[0]))
    with pytest.raises(ValueEvalError, match=r"of data in 3 folds, its student's are in 4: .* 3,"):
        train(changed(in_fold, folds=4, teacher=folds[0]))
    manifest = train(changed(in_fold, teacher=folds[0]))
    assert manifest.data.left_out == (0,)


def test_a_teacher_of_the_same_subset_or_a_smaller_one(config: TrainConfig) -> None:
    small = changed(config, train_size=20, epochs=1)
    with pytest.raises(ValueEvalError, match="has seen arguments beside the 20 of its student"):
        train(small)
    other_seed = f"{config.output}-other"
    train(changed(small, teacher=None, seed=1, output=other_seed))
    with pytest.raises(ValueEvalError, match="the same --seed"):
        train(changed(small, teacher=other_seed))
    smaller = f"{config.output}-smaller"
    train(changed(small, teacher=None, train_size=19, output=smaller))
    assert train(changed(small, teacher=smaller)).data.size == 20
    train(changed(config, teacher=other_seed, epochs=1, output=f"{config.output}-all"))


def test_a_teacher_needs_a_head(config: TrainConfig, tmp_path: Path) -> None:
    folder = tmp_path / "words"
    train(changed(config, teacher=None, output=str(folder), epochs=1))
    manifest: Manifest = read_manifest(folder)
    write_manifest(folder, replace(manifest, head=None, input=None, template="bca"))
    with pytest.raises(ValueEvalError, match="template 'bca' answers in words; a teacher needs a"):
        train(changed(config, teacher=str(folder)))
