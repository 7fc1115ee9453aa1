"""A short run on a few arguments, and the adapter that it gives."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import BATCH, EPOCHS, STEPS, TRAINING, VALIDATION
from training import (
    small_config,
    stop_training,
    write_small_data,
)

from valueeval.train.config.config import TrainConfig
from valueeval.train.options import changed
from valueeval.train.run import train


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data"), TRAINING, VALIDATION)


@pytest.fixture(scope="module")
def recipe(tiny_bert: Path, data_dir: Path) -> TrainConfig:
    anywhere = Path("set by each test")
    return small_config(
        anywhere, tiny_bert, data_dir, epochs=EPOCHS, batch_size=BATCH, learning_rate=0.01
    )


@pytest.fixture
def config(recipe: TrainConfig, tmp_path: Path) -> TrainConfig:
    return changed(recipe, output=str(tmp_path / "adapter"))


@pytest.fixture(scope="module")
def adapter(recipe: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished adapter, which the tests leave as it is."""
    output = tmp_path_factory.mktemp("trained") / "adapter"
    train(changed(recipe, output=str(output)))
    return output


@pytest.fixture
def unfinished(config: TrainConfig) -> TrainConfig:
    """A run that was stopped in its second epoch."""
    stop_training(config, STEPS + 1)
    return config
