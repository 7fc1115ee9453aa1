"""Half precision on a CPU without instructions for it: float32, unless the user says otherwise."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from valueeval.adapters.harness.language_model_lm import LanguageModelLM
from valueeval.adapters.runtime import precision
from valueeval.adapters.runtime.precision import (
    is_slow,
    multiplies_bfloat16,
    overflows_in_8_bits,
    widen_where_slow,
)

CPU = torch.device("cpu")
AVX2 = {"architecture": "x86_64", "avx2": True, "avx512_bf16": False}
ZEN4 = {"architecture": "x86_64", "avx2": True, "avx512_bf16": True}


@pytest.fixture
def half(tiny_gpt2: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_gpt2, dtype=torch.bfloat16)


def processor(monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, object]) -> None:
    monkeypatch.setattr(precision, "cpu_capabilities", lambda: capabilities)


@pytest.mark.parametrize(
    ("capabilities", "bfloat16", "float16"),
    [
        (AVX2, True, True),
        (ZEN4, False, True),
        ({"architecture": "x86_64", "amx_bf16": True, "amx_fp16": True}, False, False),
        ({"architecture": "aarch64"}, False, False),  # not known
        ({}, False, False),  # a PyTorch that does not tell
    ],
)
def test_where_half_precision_is_slow(
    capabilities: dict[str, object],
    bfloat16: bool,
    float16: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    processor(monkeypatch, capabilities)
    assert is_slow(torch.bfloat16, CPU) is bfloat16
    assert is_slow(torch.float16, CPU) is float16
    assert not is_slow(torch.float32, CPU)
    assert not is_slow(torch.bfloat16, torch.device("cuda"))


def test_what_training_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes bfloat16 only where that is known to be fast."""
    for capabilities, fast in ((AVX2, False), (ZEN4, True), ({}, False)):
        processor(monkeypatch, capabilities)
        assert multiplies_bfloat16(CPU) is fast


@pytest.mark.parametrize(
    ("capabilities", "overflows"),
    [
        (AVX2, True),
        ({**ZEN4, "avx512_vnni": True}, False),
        ({"architecture": "x86_64", "avx_vnni": True}, False),
        ({"architecture": "aarch64"}, False),
        ({}, False),
    ],
)
def test_where_products_of_8_bits_overflow(
    capabilities: dict[str, object], overflows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor(monkeypatch, capabilities)
    assert overflows_in_8_bits() is overflows


@pytest.mark.parametrize("given", [None, "auto"])
def test_the_weights_stay_what_they_are(
    half: Any, given: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    processor(monkeypatch, AVX2)
    before = {name: tensor.clone() for name, tensor in half.state_dict().items()}
    with caplog.at_level(logging.INFO):
        widen_where_slow(half, given)
    assert half.dtype == torch.float32
    after = half.state_dict()
    assert all(torch.equal(tensor.float(), after[name]) for name, tensor in before.items())
    assert "stored in bfloat16" in caplog.text
    assert "computing in float32 (dtype=bfloat16 computes as stored" in caplog.text


@pytest.mark.parametrize("given", ["bfloat16", torch.bfloat16])
def test_what_the_user_says_stays(
    half: Any, given: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    processor(monkeypatch, AVX2)
    widen_where_slow(half, given)
    assert half.dtype == torch.bfloat16
    assert "dtype=bfloat16: this processor has no instructions for it" in caplog.text


def test_a_fast_processor_computes_as_stored(
    half: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    processor(monkeypatch, ZEN4)
    widen_where_slow(half, "auto")
    assert half.dtype == torch.bfloat16
    assert not caplog.text


def test_a_model_too_large_for_float32_stays(
    half: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    processor(monkeypatch, AVX2)
    more = 2 * sum(each.numel() for each in half.parameters())
    memory = type("Memory", (), {"available": more - 1})
    monkeypatch.setattr(precision.psutil, "virtual_memory", memory)
    widen_where_slow(half, "auto")
    assert half.dtype == torch.bfloat16
    assert "would take 0.0 GB of memory more, and 0.0 GB are free" in caplog.text
    memory.available = more
    widen_where_slow(half, "auto")
    assert half.dtype == torch.float32


def test_quantised_models_stay(half: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, AVX2)
    half.is_quantized = True
    widen_where_slow(half, "auto")
    assert half.dtype == torch.bfloat16


@pytest.mark.parametrize(("given", "computes"), [("auto", "float32"), ("bfloat16", "bfloat16")])
def test_the_evaluation_model(
    half: Any, given: str, computes: str, tmp_path: Path, tiny_gpt2: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The results say what it computed in."""
    from transformers import AutoTokenizer

    processor(monkeypatch, AVX2)
    half.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_gpt2).save_pretrained(tmp_path)
    model = LanguageModelLM(str(tmp_path), dtype=given, device="cpu")
    assert model.get_model_info()["model_dtype"] == getattr(torch, computes)
