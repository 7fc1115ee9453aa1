"""Cross-validation: training with one fold left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from training import small_config, write_small_data

from valueeval.adapters.classifier.classifier import load_classifier
from valueeval.adapters.classifier.ensemble import load_adapter
from valueeval.adapters.directory.ensemble import read_adapter
from valueeval.adapters.directory.manifest_file import CARD_FILE, read_manifest
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.scoring import score
from valueeval.train.cli import summary
from valueeval.train.config.choice import ConfigError
from valueeval.train.config.config import TrainConfig
from valueeval.train.options import changed, configure
from valueeval.train.run import load_splits, train

TRAINING, VALIDATION, FOLDS = 40, 20, 3


def test_the_cut_is_the_same_for_every_seed_and_subsets_are_of_the_rest() -> None:
    config = configure("x", data="sample", folds=5, fold=2)
    kept, left = load_splits(config)
    other = load_splits(changed(config, seed=7))
    assert (other[0].ids, other[1].ids) == (kept.ids, left.ids)
    ten, same = load_splits(changed(config, train_size=10, seed=7))
    assert len(ten.ids) == 10
    assert set(ten.ids) < set(kept.ids)
    assert same.ids == left.ids
    three, _ = load_splits(changed(config, shots_per_value=3))
    assert set(three.ids) < set(kept.ids)
    with pytest.raises(ConfigError, match=f"at most {len(kept.ids)}"):
        load_splits(changed(config, train_size=len(kept.ids) + 1))


# ------------------------------------------------------------------------------- training


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data"), TRAINING, VALIDATION)


@pytest.fixture(scope="module")
def config(
    tiny_bert: Path, data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> TrainConfig:
    output = tmp_path_factory.mktemp("runs") / "fold"
    options: dict[str, Any] = {"epochs": 2, "batch_size": 16, "learning_rate": 0.1}
    return small_config(output, tiny_bert, data_dir, method="head", folds=FOLDS, fold=0, **options)


@pytest.fixture(scope="module")
def adapters(config: TrainConfig) -> list[str]:
    """An adapter for each fold."""
    outputs = [f"{config.output}{fold}" for fold in range(FOLDS)]
    for fold, output in enumerate(outputs):
        train(changed(config, output=output, fold=fold))
    return outputs


def test_the_manifest_says_what_was_trained_on(
    adapters: list[str], config: TrainConfig, data_dir: Path
) -> None:
    hashes = [load_set(name, data_dir).sha256 for name in ("training", "validation")]
    for fold, folder in enumerate(adapters):
        manifest = read_manifest(folder)
        kept, left = load_splits(changed(config, fold=fold))
        assert manifest.data.set == "training+validation"
        assert manifest.data.sha256 == "+".join(hashes)
        assert (manifest.data.folds, manifest.data.left_out) == (FOLDS, (fold,))
        assert manifest.data.size == len(kept.ids) == TRAINING + VALIDATION - len(left.ids)
        assert manifest.thresholds.split == "fold"
        assert (manifest.config["folds"], manifest.config["fold"]) == (FOLDS, fold)
        # Epoch and thresholds were chosen on the fold.
        logits = load_classifier(folder, "cpu").logits(left.arguments)
        assert score(left.labels, manifest.thresholds.decide(logits)) == manifest.validation
        last = json.loads((Path(folder) / "metrics.jsonl").read_text("utf-8").splitlines()[-1])
        assert last["validation"].keys() == manifest.validation.keys()
    assert f"on fold 2 of {FOLDS};" in summary(changed(config, fold=2), manifest)


def test_the_model_card_names_the_fold(adapters: list[str], config: TrainConfig) -> None:
    for fold, folder in enumerate(adapters):
        _, left = load_splits(changed(config, fold=fold))
        text = (Path(folder) / CARD_FILE).read_text("utf-8")
        named = f"fold {fold} of {FOLDS} (counted from 0) of training+validation"
        assert f"tuned for macro_f1 on {named} |" in text
        assert f"On {named}, {len(left.ids)} arguments about " in text


def test_all_folds_together_are_one_adapter(adapters: list[str], data_dir: Path) -> None:
    both = read_adapter("+".join(adapters[:2]))
    assert (both.data.folds, both.data.left_out) == (FOLDS, (0, 1))
    average = load_adapter("+".join(adapters), "cpu")
    data = average.manifest.data
    assert (data.folds, data.left_out) == (FOLDS, (0, 1, 2))
    assert data.size == max(read_manifest(folder).data.size for folder in adapters)
    assert average.manifest.thresholds.split == "fold"
    validation = load_set("validation", data_dir)
    assert average.logits(validation.arguments).shape == (VALIDATION, 20)


def test_folds_are_averaged_with_folds_of_the_same_cut_only(
    adapters: list[str], config: TrainConfig
) -> None:
    two = train_to(config, "two", folds=2)
    with pytest.raises(ValueEvalError, match=r"fold 0 of 3 left out and .* fold 0 of 2 left"):
        read_adapter(f"{adapters[0]}+{two}")


def test_a_fold_is_averaged_with_an_adapter_of_a_part_of_its_data(
    adapters: list[str], config: TrainConfig
) -> None:
    """One of the training set alone: the average has learnt from training and validation."""
    plain = train_to(config, "plain", folds=None, fold=None)
    fold, alone = (read_manifest(folder).data for folder in (adapters[0], plain))
    assert (fold.set, alone.set) == ("training+validation", "training")
    size = max(fold.size, alone.size)
    for together in (f"{adapters[0]}+{plain}", f"{plain}+{adapters[0]}"):
        data = read_adapter(together).data
        assert (data.set, data.sha256, data.size) == (fold.set, fold.sha256, size)
        assert (data.folds, data.left_out) == (3, (0,))


def test_another_fold_is_another_run(adapters: list[str], config: TrainConfig) -> None:
    with pytest.raises(ValueEvalError, match=r"another run \(fold 0 there, 1 here\)"):
        train(changed(config, output=adapters[0], fold=1, resume=True))
    assert train(changed(config, output=adapters[0], resume=True)) == read_manifest(adapters[0])


def train_to(config: TrainConfig, name: str, **changes: object) -> Path:
    output = Path(config.output).with_name(name)
    train(changed(config, output=str(output), epochs=1, **changes))  # type: ignore[arg-type]
    return output
