"""Contrastive learning: the loss by hand, the queue, and training with it."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log
from pathlib import Path

import pytest
import torch
from torch import nn
from training import small_config, stop_training, write_small_data

from valueeval.adapters.classifier import ValueClassifier, load_backbone
from valueeval.train.config import TrainConfig
from valueeval.train.contrastive import ContrastiveLoss, JointLoss, WithFeatures, contrastive_loss
from valueeval.train.loop import Training
from valueeval.train.pretraining import Pretraining, ViewsLoss
from valueeval.train.run import train

EAST, NORTH = [1.0, 0.0], [0.0, 1.0]
NOTHING = torch.zeros(0, 2), torch.zeros(0, 20)


def labels_of(*rows: tuple[int, ...]) -> torch.Tensor:
    labels = torch.zeros(len(rows), 20)
    for row, values in enumerate(rows):
        labels[row, list(values)] = 1.0
    return labels


def test_two_alike_and_one_apart_by_hand() -> None:
    """The first two share a value; each sees similarities 1 and 0. The third has no positive."""
    features, labels = torch.tensor([EAST, EAST, NORTH]), labels_of((0,), (0,), (1,))
    loss = contrastive_loss(features, labels, *NOTHING, temperature=1.0)
    assert loss.item() == pytest.approx(-log(exp(1) / (exp(1) + 1)))
    half = contrastive_loss(features, labels, *NOTHING, temperature=0.5)
    assert half.item() == pytest.approx(-log(exp(2) / (exp(2) + 1)))


def test_positives_weigh_as_much_as_they_share() -> None:
    """An argument with values 0 and 1; one has both (Jaccard 1), one of them 1 alone (1/2)."""
    features = torch.tensor([EAST])
    past = torch.tensor([EAST, NORTH, NORTH])
    past_labels = labels_of((0, 1), (1,), (2,))
    loss = contrastive_loss(features, labels_of((0, 1)), past, past_labels, 1.0)
    total = exp(1) + 1 + 1
    expected = -(1 * log(exp(1) / total) + 0.5 * log(1 / total)) / 1.5
    assert loss.item() == pytest.approx(expected)


def test_nothing_in_common_costs_nothing() -> None:
    features = torch.tensor([EAST, NORTH], requires_grad=True)
    for labels in (labels_of((0,), (1,)), labels_of((), ())):
        loss = contrastive_loss(features, labels, *NOTHING, temperature=0.1)
        loss.backward()
        assert loss.item() == 0.0
    alone = contrastive_loss(features[:1], labels_of((0,)), *NOTHING, temperature=0.1)
    alone.backward()
    assert alone.item() == 0.0
    assert features.grad is not None
    assert torch.equal(features.grad, torch.zeros(2, 2))


def test_gradients_draw_together_what_shares_values() -> None:
    torch.manual_seed(0)
    raw = nn.Parameter(torch.randn(3, 4))
    labels = labels_of((0,), (0,), (1,))
    optimizer = torch.optim.SGD([raw], lr=0.5)
    for _ in range(100):
        features = nn.functional.normalize(raw, dim=1)
        contrastive_loss(features, labels, torch.zeros(0, 4), torch.zeros(0, 20), 0.1).backward()
        optimizer.step()
        optimizer.zero_grad()
    features = nn.functional.normalize(raw, dim=1).detach()
    similarity = features @ features.T
    # At a temperature of 0.1 a difference of 0.5 is a ratio of exp(5).
    assert similarity[0, 1] - similarity[0, 2] > 0.5
    assert similarity[0, 1] - similarity[1, 2] > 0.5


def memory_of(tiny_bert: Path, queue: int, kind: str = "linear") -> WithFeatures:
    pooling = "attention" if kind == "multiple" else "mean"
    return WithFeatures(ValueClassifier(load_backbone(tiny_bert), pooling, 0.0, kind), queue)


def test_the_queue_forgets_the_oldest(tiny_bert: Path) -> None:
    memory = memory_of(tiny_bert, 3)
    for number in range(5):
        memory.remember(torch.full((1, 32), float(number)), labels_of((number,)))
        features, labels = memory.past()
        kept = sorted(features[:, 0].tolist())
        assert kept == list(range(max(0, number - 2), number + 1))
        assert labels.argmax(dim=1).tolist() == features[:, 0].tolist()
    memory.remember(torch.arange(4.0).unsqueeze(1).expand(4, 32), labels_of((0,), (1,), (2,), (3,)))
    assert sorted(memory.past()[0][:, 0].tolist()) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("kind", ["linear", "multiple"])
def test_sum_of_both_losses(tiny_bert: Path, kind: str) -> None:
    torch.manual_seed(0)
    memory = memory_of(tiny_bert, 8, kind)
    tokens = torch.tensor([[5, 6, 7], [8, 9, 10]])
    batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    labels = labels_of((0,), (0, 1))
    memory.eval()
    logits = memory(**batch)
    assert torch.equal(logits, memory.classifier(**batch))
    memory.train()
    memory.classifier.backbone.eval()  # no dropout
    outputs = memory(**batch)
    torch.testing.assert_close(outputs[:, :20], logits)
    torch.testing.assert_close(outputs[:, 20:].norm(dim=1), torch.ones(2))
    plain = nn.BCEWithLogitsLoss()
    contrast = contrastive_loss(outputs[:, 20:], labels, *(t for t in memory.past()), 0.1)
    joint = JointLoss(plain, ContrastiveLoss(memory, 0.1), weight=0.25)
    assert not list(joint.parameters())
    expected = plain(outputs[:, :20], labels) + 0.25 * contrast
    torch.testing.assert_close(joint(outputs, labels), expected)
    assert int(memory.seen) == 2


# ------------------------------------------------------------------------------- pretraining


def test_two_views_by_hand() -> None:
    """Two arguments, east and north; a view sees its twin (1) and two of the other (0)."""
    views = torch.zeros(4, 22)
    views[:, 20:] = torch.tensor([EAST, NORTH, EAST, NORTH])
    loss = ViewsLoss(temperature=1.0)(views, torch.zeros(4, 20))
    assert loss.item() == pytest.approx(-log(exp(1) / (exp(1) + 2)))


@pytest.fixture
def config(tiny_bert: Path, tmp_path: Path) -> TrainConfig:
    data_dir = write_small_data(tmp_path / "data", 24, 12)
    options = {"epochs": 1, "batch_size": 8, "contrastive": "pretrain", "checkpoint_seconds": 0.0}
    return small_config(tmp_path / "adapter", tiny_bert, data_dir, **options)


@pytest.mark.parametrize("positives", ["labels", "views"])
def test_pretraining_changes_what_is_learnt_and_leaves_the_layer_alone(
    config: TrainConfig, positives: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[torch.Tensor] = []
    before = Pretraining._step

    def step(stage: Pretraining) -> float:
        steps.append(stage.model.classifier.head.weight.detach().clone())
        return before(stage)

    with monkeypatch.context() as patch:
        patch.setattr(Pretraining, "_step", step)
        manifest = train(replace(config, contrastive_positives=positives, contrastive_epochs=2))
    assert len(steps) == 2 * 3
    assert torch.equal(steps[0], steps[-1])
    assert manifest.objective == "contrastive, bce"
    plain = train(replace(config, contrastive="none", output=config.output + "-plain"))
    assert plain.parameters == manifest.parameters
    assert plain.weights_sha256 != manifest.weights_sha256


@pytest.mark.parametrize("stage", [Pretraining, Training])
def test_stopped_in_either_stage_and_resumed_gives_the_same_adapter(
    config: TrainConfig, stage: type[Training]
) -> None:
    whole = train(replace(config, output=config.output + "-whole"))
    stop_training(config, 2, stage)
    again = train(replace(config, resume=True))
    assert again.weights_sha256 == whole.weights_sha256
    assert (again.thresholds, again.validation) == (whole.thresholds, whole.validation)
    assert not Path(config.output + ".training").exists()
