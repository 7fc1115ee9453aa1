"""Learning rates and weight decay of each layer."""

from __future__ import annotations

from pathlib import Path

from training import learning_rates

from valueeval.adapters.classifier.classifier import ValueClassifier, load_backbone
from valueeval.train.loop.optimizer import parameter_groups


def test_learning_rates_by_layer(tiny_bert: Path) -> None:
    """Two layers: head 1, layer 1 a half, layer 0 a quarter, embeddings an eighth."""
    model = ValueClassifier(load_backbone(tiny_bert), "mean")
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, learning_rates(0.5, 0.01))
    rates = {names[p]: group["lr"] for group in groups for p in group["params"]}
    assert rates.keys() == dict(model.named_parameters()).keys()
    expected = {"head": 1.0, "layer.1": 0.5, "layer.0": 0.25, "embeddings": 0.125}
    for name, rate in rates.items():
        assert rate == next(value for part, value in expected.items() if part in name), name


def test_biases_and_norms_do_not_decay(tiny_bert: Path) -> None:
    model = ValueClassifier(load_backbone(tiny_bert), "mean")
    names = {parameter: name for name, parameter in model.named_parameters()}
    for group in parameter_groups(model, learning_rates(1.0, 0.01)):
        for parameter in group["params"]:
            plain = "LayerNorm" in names[parameter] or names[parameter].endswith("bias")
            assert group["weight_decay"] == (0.0 if plain else 0.01)
