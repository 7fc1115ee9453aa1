"""Contrastive learning: the loss by hand, the queue, and training with it."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from math import exp, log
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from training import small_config, stop_training, write_small_data, write_without_dropout

from valueeval.adapters.classifier.classifier import ValueClassifier, load_backbone
from valueeval.tasks.errors import ValueEvalError
from valueeval.train.config.config import TrainConfig
from valueeval.train.loop.gradient_cache import backward_in_parts
from valueeval.train.loop.pretraining import Pretraining, ViewsLoss
from valueeval.train.loop.training import Training
from valueeval.train.objectives.contrastive import (
    ContrastiveLoss,
    JointLoss,
    WithFeatures,
    contrastive_loss,
)
from valueeval.train.options import changed
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
        manifest = train(changed(config, contrastive_positives=positives, contrastive_epochs=2))
    assert len(steps) == 2 * 3
    assert torch.equal(steps[0], steps[-1])
    assert manifest.objective == "contrastive, bce"
    plain = train(changed(config, contrastive="none", output=config.output + "-plain"))
    assert plain.parameters == manifest.parameters
    assert plain.weights_sha256 != manifest.weights_sha256


def test_the_first_stage_is_freed_before_the_second_starts(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its optimizer has two moments of every weight."""
    optimizers: list[weakref.ref[torch.optim.Optimizer]] = []
    freed: list[bool] = []
    all_steps, run = Pretraining.all_steps, Training.run

    def note_stage(stage: Any) -> None:
        all_steps(stage)
        stage.itself = stage  # as the passes that a GPU has recorded refer to it
        optimizers.append(weakref.ref(stage.optimizer))

    def note_freed(training: Training) -> Any:
        freed.extend(optimizer() is None for optimizer in optimizers)
        return run(training)

    monkeypatch.setattr(Pretraining, "all_steps", note_stage)
    monkeypatch.setattr(Training, "run", note_freed)
    train(config)
    assert freed == [True]


def test_views_of_a_model_without_dropout_are_refused(config: TrainConfig, tmp_path: Path) -> None:
    base = write_without_dropout(tmp_path / "base", Path(config.base))
    config = changed(config, base=str(base), contrastive_positives="views")
    with pytest.raises(ValueEvalError, match=r"has no dropout: both views .* are the same"):
        train(config)
    assert not Path(config.output + ".training").exists()
    train(changed(config, method="lora"))


def test_views_of_parts_and_of_processes_stand_in_one_order() -> None:
    """First views, then second ones; of two processes that have read two parts each, or one."""
    first, second = torch.arange(5.0), 10 + torch.arange(5.0)

    def part(*rows: int) -> torch.Tensor:
        return torch.cat([first[list(rows)], second[list(rows)]])

    def joined(*outputs: torch.Tensor) -> torch.Tensor:
        return Pretraining.joined(cast(Any, None), outputs)

    whole = joined(joined(part(0, 2), part(4)), joined(part(1, 3)))
    order = [0, 2, 4, 1, 3]
    assert whole.tolist() == [*first[order].tolist(), *second[order].tolist()]


# ------------------------------------------------------------------------- batches in parts


def losses_of(config: TrainConfig) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The loss of every step of both stages, and the trained head."""
    losses: list[float] = []
    whole, part = Training._backward_of_whole, Training._backward

    def noted(function: Any) -> Any:
        def call(training: Training, *inputs: Any) -> torch.Tensor:
            loss: torch.Tensor = function(training, *inputs)
            losses.append(loss.item())
            return loss

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "_backward_of_whole", noted(whole))
        patch.setattr(Training, "_backward", noted(part))
        train(config)
    return losses, load_file(Path(config.output) / "head.safetensors")


@pytest.mark.parametrize("positives", ["labels", "views"])
def test_a_batch_read_in_parts_is_compared_as_a_whole(
    config: TrainConfig, tmp_path: Path, positives: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without dropout, whose noise depends on the parts; 48 tokens at once are one argument."""
    monkeypatch.setattr(Pretraining, "check_views", lambda stage: None)
    base = write_without_dropout(tmp_path / "base", Path(config.base))
    config = changed(config, base=str(base), dropout=0.0, contrastive_positives=positives)
    losses, head = losses_of(config)
    parts = changed(config, output=config.output + "-parts", max_tokens_per_microbatch=48)
    steps = 3  # of the first stage; the losses of parts of the second add up
    in_parts, head_of_parts = losses_of(parts)
    assert in_parts[:steps] == pytest.approx(losses[:steps], rel=1e-4)
    torch.testing.assert_close(head_of_parts["weight"], head["weight"], atol=1e-4, rtol=1e-3)


def test_both_losses_of_a_batch_read_in_parts(config: TrainConfig, tmp_path: Path) -> None:
    base = write_without_dropout(tmp_path / "base", Path(config.base))
    config = changed(config, base=str(base), dropout=0.0, contrastive="joint", epochs=2)
    config = changed(config, contrastive_weight=1.0)
    losses, head = losses_of(config)
    parts = changed(config, output=config.output + "-parts", max_tokens_per_microbatch=48)
    in_parts, head_of_parts = losses_of(parts)
    assert in_parts == pytest.approx(losses, rel=1e-4)
    torch.testing.assert_close(head_of_parts["weight"], head["weight"], atol=1e-4, rtol=1e-3)


def test_gradient_of_a_loss_over_parts_is_that_of_the_whole() -> None:
    """With dropout: the one graph over all parts, each read under its own seed."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.5), nn.Linear(5, 4))
    inputs, labels = torch.randn(3, 2, 6), labels_of((0,), (0, 1), (1,), (2,), (0, 2), (1, 2))

    def read(part: int) -> torch.Tensor:
        torch.manual_seed(part)
        return nn.functional.normalize(model(inputs[part]), dim=1)

    def loss(outputs: Sequence[torch.Tensor]) -> torch.Tensor:
        nothing = torch.zeros(0, 4), torch.zeros(0, 20)
        return contrastive_loss(torch.cat(list(outputs)), labels, *nothing, 0.1)

    value = loss([read(part) for part in range(3)])
    value.backward()
    expected = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    torch.testing.assert_close(backward_in_parts(read, 3, loss), value.detach())
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_a_part_has_the_same_dropout_at_both_readings(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings: list[torch.Tensor] = []
    read = Pretraining._read

    def noted(stage: Pretraining, rows: Sequence[int]) -> torch.Tensor:
        outputs = read(stage, rows)
        readings.append(outputs.detach().clone())
        return outputs

    monkeypatch.setattr(Pretraining, "_read", noted)
    train(changed(config, max_tokens_per_microbatch=4 * 48, contrastive_epochs=1, train_size=8))
    first, second = readings[: len(readings) // 2], readings[len(readings) // 2 :]
    assert len(first) >= 2
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)
        views = one.chunk(2)
        assert not torch.equal(*views)


@pytest.mark.parametrize("stage", [Pretraining, Training])
def test_stopped_in_either_stage_and_resumed_gives_the_same_adapter(
    config: TrainConfig, stage: type[Training]
) -> None:
    whole = train(changed(config, output=config.output + "-whole"))
    stop_training(config, 2, stage)
    again = train(changed(config, resume=True))
    assert again.weights_sha256 == whole.weights_sha256
    assert (again.thresholds, again.validation) == (whole.thresholds, whole.validation)
    assert not Path(config.output + ".training").exists()
