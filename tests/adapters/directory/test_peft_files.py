"""Adapters whose weights do not fit are refused, and the message names what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from language_models import METHODS, load_base, write_peft
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.hub import PEFT_WEIGHTS
from valueeval.adapters.directory.peft_files import put_adapter
from valueeval.adapters.directory.tensors import check_tensors

Tensors = dict[str, torch.Tensor]
A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2}
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=32, **sizes)
    )


def write_lora(folder: Path, **options: Any) -> Path:
    model = get_peft_model(llama(), LoraConfig(r=2, task_type="CAUSAL_LM", **options))
    model.save_pretrained(str(folder), save_embedding_layers=False)
    return folder


def edit(folder: Path, change: Callable[[Tensors], object]) -> None:
    weights = load_file(folder / PEFT_WEIGHTS)
    change(weights)
    save_file(weights, folder / PEFT_WEIGHTS)


def rename_as_compiled(weights: Tensors) -> None:
    for name in list(weights):
        weights[name.replace("model.model.", "model._orig_mod.model.")] = weights.pop(name)


CHANGES: dict[str, tuple[Callable[[Tensors], object], str]] = {
    "compiled": (rename_as_compiled, r"'_orig_mod\.' in a name means .* torch\.compile"),
    "one missing": (lambda w: w.pop(A), rf"{A} \[2, 32\] is missing"),
    "one too many": (lambda w: w.update(extra=torch.ones(3)), r"extra \[3\] has no place"),
    "weights of the base": (
        lambda w: w.update({"base_model.model.model.norm.weight": torch.ones(32)}),
        r"model\.norm\.weight \[32\] has no place",
    ),
    "other rank": (lambda w: w.update({A: torch.ones(3, 32)}), "q_proj.lora_A"),
    "int64": (lambda w: w.update({A: w[A].long()}), f"{A} holds int64 instead of floats"),
    "bool": (lambda w: w.update({A: w[A].bool()}), f"{A} holds bool instead of floats"),
    "NaN": (lambda w: w[A].fill_(float("nan")), f"{A} holds NaN or infinity"),
    "infinity": (lambda w: w[A].fill_(float("inf")), f"{A} holds NaN or infinity"),
}


@pytest.mark.parametrize(("change", "reason"), CHANGES.values(), ids=CHANGES)
def test_weights_that_do_not_fit_are_named(
    change: Callable[[Tensors], object], reason: str, tmp_path: Path
) -> None:
    folder = write_lora(tmp_path)
    edit(folder, change)
    with pytest.raises(ManifestError, match=reason) as caught:
        put_adapter(llama(), folder)
    assert str(tmp_path) in str(caught.value)


def test_dora_without_magnitudes(tmp_path: Path) -> None:
    folder = write_lora(tmp_path)
    config = folder / "adapter_config.json"
    config.write_text(config.read_text().replace('"use_dora": false', '"use_dora": true'))
    with pytest.raises(ManifestError, match=r"lora_magnitude_vector \[32\] is missing"):
        put_adapter(llama(), folder)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_dora": True},
        {"bias": "lora_only"},
        {"bias": "all"},
        {"modules_to_save": ["lm_head", "embed_tokens"]},
        {"trainable_token_indices": [1, 2]},
        {"target_modules": "all-linear"},
    ],
    ids=str,
)
def test_what_stock_peft_writes_loads(options: dict[str, Any], tmp_path: Path) -> None:
    put_adapter(llama(), write_lora(tmp_path, **options))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_loads(
    method: str, backend: str, tiny_gpt2: Path, tiny_t5: Path, tmp_path: Path
) -> None:
    base = tiny_t5 if backend == "seq2seq" else tiny_gpt2
    put_adapter(load_base(base, backend), write_peft(tmp_path, base, backend, method))


@pytest.mark.parametrize("kind", [torch.int64, torch.bool, torch.complex64], ids=str)
def test_heads_of_other_numbers(kind: torch.dtype, tmp_path: Path) -> None:
    found = {"weight": torch.ones(20, 4, dtype=kind)}
    expected = {"weight": torch.ones(20, 4)}
    with pytest.raises(ManifestError, match=f"weight holds {str(kind)[6:]} instead of floats"):
        check_tensors(tmp_path / "head.safetensors", found, expected)
