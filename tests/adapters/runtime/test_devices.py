"""How many arguments are read at once where nothing is said: a GPU is filled."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from valueeval.adapters.runtime.devices import with_batch_size
from valueeval.adapters.runtime.options import AUTO_BATCH_SIZE, GPU_BATCH_SIZE, parse_batch_size


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let PyTorch say that there is one."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("flags", "model_args", "size"),
    [
        ({"batch_size": 1, "device": "cuda:0"}, {}, "auto"),
        ({"batch_size": "1", "device": None}, {}, "auto"),
        ({}, {}, "auto"),
        ({"batch_size": 8}, {}, 8),
        ({"batch_size": "auto:4"}, {}, "auto:4"),
        ({"batch_size": 1}, {"batch_size": 1}, 1),
        ({"batch_size": 1, "device": "cpu"}, {}, 1),
        ({"batch_size": 1, "device": "cuda:0"}, {"device": "cpu"}, 1),
    ],
)
def test_the_default_of_lm_eval_is_no_choice_on_a_gpu(
    flags: dict[str, Any], model_args: dict[str, Any], size: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        given = with_batch_size(flags, model_args)
    assert given == {**flags, "batch_size": size}
    assert ("would leave" in caplog.text) is (size == "auto")


def test_on_a_cpu_the_default_of_lm_eval_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    flags = {"batch_size": 1, "device": "cuda:0"}
    assert with_batch_size(flags, {}) == flags


def test_auto_is_more_on_a_gpu() -> None:
    assert parse_batch_size("auto", "cuda") == GPU_BATCH_SIZE
    assert parse_batch_size("auto", "cpu") == AUTO_BATCH_SIZE
    assert parse_batch_size("8", "cuda") == 8
