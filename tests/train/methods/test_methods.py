"""Methods that leave the base model as it is: what they train, what they write, how it is read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from training import small_config, write_encoder, write_small_data

from valueeval.adapters.classifier.classifier import load_backbone, load_classifier, load_tokenizer
from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.manifest_file import read_manifest
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.scoring import score
from valueeval.train.config.config import TrainConfig
from valueeval.train.options import changed
from valueeval.train.run import train

TRAINING, VALIDATION = 40, 20


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data"), TRAINING, VALIDATION)


@pytest.fixture
def config(tiny_bert: Path, data_dir: Path, tmp_path: Path) -> TrainConfig:
    options = {"method": "head", "epochs": 2, "batch_size": 16, "learning_rate": 0.1}
    return small_config(tmp_path / "adapter", tiny_bert, data_dir, **options)


def check_adapter(folder: Path, data_dir: Path) -> None:
    """Loaded, it has the manifest's scores, and the same logits at every batch size."""
    classifier = load_classifier(folder, device="cpu")
    manifest = classifier.manifest
    validation = load_set("validation", data_dir)
    one = classifier.logits(validation.arguments, batch_size=1)
    eight = classifier.logits(validation.arguments, batch_size=8)
    np.testing.assert_allclose(one, eight, atol=1e-5)
    for logits in (one, eight):
        assert score(validation.labels, manifest.thresholds.decide(logits)) == manifest.validation


@pytest.mark.parametrize(
    ("heads", "pooling", "size"),
    [
        ("single", "mean", 20 * 32 + 20),
        ("single", "cls", 20 * 32 + 20),
        ("single", "attention", 20 * 32 + 20 + 32),
        ("multiple", "attention", 20 * 32 + 20 + 20 * 32),
    ],
)
def test_head_on_a_frozen_encoder(
    config: TrainConfig, data_dir: Path, heads: str, pooling: str, size: int
) -> None:
    manifest = train(changed(config, heads=heads, pooling=pooling))
    assert manifest.parameters.trainable == size
    backbone = load_backbone(Path(config.base))
    assert manifest.parameters.total == size + sum(p.numel() for p in backbone.parameters())
    files = {path.name for path in Path(config.output).iterdir()}
    assert files == {"README.md", "head.safetensors", "metrics.jsonl", "valueeval.json"}
    check_adapter(Path(config.output), data_dir)


@pytest.mark.parametrize("method", ["full", "head"])
@pytest.mark.parametrize("family", ["roberta", "deberta-v2", "modernbert"])
def test_saved_and_loaded_gives_the_same_scores(
    config: TrainConfig, data_dir: Path, tiny_bert: Path, tmp_path: Path, family: str, method: str
) -> None:
    base = write_encoder(tmp_path / "base", family, tiny_bert)
    train(changed(config, base=str(base), method=method, learning_rate=0.01, epochs=1))
    check_adapter(Path(config.output), data_dir)


def test_head_learns_what_full_fine_tuning_would_with_the_encoder_frozen(
    config: TrainConfig, data_dir: Path
) -> None:
    """Features computed once, without dropout, give the steps that reading the text gives."""
    from accelerate.utils import set_seed

    from valueeval.adapters.classifier.classifier import ValueClassifier, collate
    from valueeval.adapters.classifier.encoding import encode
    from valueeval.train.data.epoch_order import epoch_batches

    config = changed(
        config, dropout=0.0, epochs=1, warmup_ratio=0.0, schedule="constant_with_warmup"
    )
    train(config)
    training, tokenizer = load_set("training", data_dir), load_tokenizer(Path(config.base))
    encoded = encode(tokenizer, training.arguments, config.classifier.input_format)
    backbone = load_backbone(Path(config.base)).eval()
    set_seed(config.seed)
    model = ValueClassifier(backbone, "mean")
    optimizer = torch.optim.AdamW(
        [
            {"params": [model.head.weight], "weight_decay": config.optimisation.weight_decay},
            {"params": [model.head.bias], "weight_decay": 0.0},
        ],
        lr=0.1,
    )
    loss = config.loss.build(training.labels)
    # The order of the features: each of length 1.
    for rows in epoch_batches([1] * TRAINING, config.optimisation.batch_size, config.seed, 0):
        labels = torch.from_numpy(training.labels[rows]).float()
        loss(model(**collate(encoded, rows, 0)), labels).backward()
        torch.nn.utils.clip_grad_norm_(model.head.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    trained = load_file(Path(config.output) / "head.safetensors")
    torch.testing.assert_close(trained["weight"], model.head.weight.data, atol=1e-4, rtol=1e-3)


@pytest.fixture
def moved_base(config: TrainConfig, tmp_path: Path) -> Callable[[], Path]:
    """Trains on a copy of the base model; gives a function that changes a weight of the copy."""
    base = shutil.copytree(config.base, tmp_path / "base")
    train(changed(config, base=str(base), epochs=1))

    def change() -> Path:
        weights = load_file(base / "model.safetensors")
        weights["embeddings.LayerNorm.bias"][0] += 1
        save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
        return base

    return change


def test_refuses_other_weights_under_the_name_of_the_base(
    config: TrainConfig, moved_base: Callable[[], Path]
) -> None:
    load_classifier(config.output)
    base = moved_base()
    with pytest.raises(ManifestError, match=f"trained on base model '{base}' with weights"):
        load_classifier(config.output)
    shutil.rmtree(base)
    with pytest.raises(ValueEvalError, match="is not a folder here"):
        load_classifier(config.output)


def test_a_base_named_by_a_relative_path_is_found_from_elsewhere(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(config.base).parent)
    train(changed(config, base=Path(config.base).name, epochs=1))
    monkeypatch.chdir(tmp_path)
    assert read_manifest(config.output).base_model.name == str(Path(config.base).resolve())
    load_classifier(config.output)


def test_less_training_data(config: TrainConfig, data_dir: Path) -> None:
    manifest = train(changed(config, train_size=17, epochs=1))
    assert manifest.data.size == 17
    assert manifest.config["train_size"] == 17
    assert manifest.data.sha256 == load_set("training", data_dir).sha256
