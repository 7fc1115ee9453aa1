"""Adapters whose weights do not fit are refused, and the message names what does not fit."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from language_models import METHODS, load_base, write_peft
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

from valueeval.adapters.directory import peft_config
from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.hub import PEFT_CONFIG, PEFT_WEIGHTS
from valueeval.adapters.directory.peft_config import read_peft_config
from valueeval.adapters.directory.peft_files import put_adapter
from valueeval.adapters.directory.tensors import check_tensors
from valueeval.adapters.reading.soft_prompts import check_adapter
from valueeval.tasks.display import error_message

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


def edit_config(folder: Path, **fields: Any) -> Path:
    path = folder / PEFT_CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return folder


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "alpha of NaN": ({"lora_alpha": float("nan")}, "lora_alpha: nan is not a finite number"),
    "alpha of infinity": ({"lora_alpha": float("inf")}, "lora_alpha: inf is not a finite number"),
    "alpha of 10^400": ({"lora_alpha": 10**400}, "lora_alpha: 1000000000… is a number of 401"),
    "alpha of 0": ({"lora_alpha": 0}, "lora_alpha: 0; allowed: a number above 0"),
    "alpha of text": ({"lora_alpha": "16"}, "lora_alpha: '16'; allowed: a number above 0"),
    "alpha of a module": ({"alpha_pattern": {"q_proj": -1}}, "alpha_pattern.q_proj: -1; allowed"),
    "negative rank": ({"r": -2}, "r: -2; allowed: 1 to 1048576"),
    "rank of 0": ({"r": 0}, "r: 0; allowed: 1 to 1048576"),
    "rank of 10^400": ({"r": 10**400}, "r: 1000000000… is a number of 401 digits"),
    "rank of 10^12": ({"r": 10**12}, "r: 1000000000000; allowed: 1 to 1048576"),
    "rank of a module": ({"rank_pattern": {"q_proj": -1}}, "rank_pattern.q_proj: -1; allowed: 1"),
    "digits somewhere": ({"megatron_config": {"x": [10**400]}}, r"megatron_config.x\[0\]: 1000"),
    "layers twice": ({"layer_replication": [[0, 2], [0, 2]]}, r"layers.2.* \[2, 32\] is missing"),
    "unknown method": ({"peft_type": "MAGIC"}, "peft_type: 'MAGIC' is no method that PEFT knows"),
    "no method": ({"peft_type": None}, "peft_type: None is no method"),
    "no expression": ({"target_modules": "(q_proj"}, "'.q_proj' is no regular expression"),
    "no module": ({"target_modules": ["x_proj"]}, "x_proj"),
    "a list as alpha": ({"lora_alpha": [1]}, r"lora_alpha: \[1\]; allowed"),
}


@pytest.mark.parametrize(("fields", "reason"), CONFIGS.values(), ids=CONFIGS)
def test_a_configuration_that_makes_no_sense_is_named(
    fields: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    folder = edit_config(write_lora(tmp_path), **fields)
    with pytest.raises(ManifestError, match=reason) as caught:
        put_adapter(llama(), folder)
    assert len(error_message(caught.value).splitlines()) <= 2


@pytest.mark.parametrize(
    "content",
    [
        '{"base_model": "x/y"}',
        "[]",
        "[" * 200_000,
        '{"peft_type": "LORA", "peft_type": "IA3"}',
        "\0",
    ],
    ids=["other keys", "a list", "nested", "twice", "no JSON"],
)
def test_a_configuration_of_something_else_is_refused_in_one_line(
    content: str, tmp_path: Path
) -> None:
    (write_lora(tmp_path) / PEFT_CONFIG).write_text(content)
    for read in (read_peft_config, lambda folder: check_adapter(str(folder))):
        with pytest.raises(ManifestError, match=r"adapter_config\.json: ") as caught:
            read(tmp_path)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("field", ["num_virtual_tokens", "token_dim", "num_layers"])
def test_sizes_of_soft_prompts(field: str, tiny_gpt2: Path, tmp_path: Path) -> None:
    folder = write_peft(tmp_path, tiny_gpt2, "causal", "prefix_tuning")
    with pytest.raises(ManifestError, match=f"{field}: -5; allowed: 1 to"):
        check_adapter(str(edit_config(folder, **{field: -5})))


@pytest.mark.parametrize("field", ["target_modules", "exclude_modules", "modules_to_save"])
def test_an_expression_that_never_ends(
    field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peft_config, "PATTERN_SECONDS", 3.0)
    pattern = "(([a-z.0-9]+)+)+Q"
    value = [pattern] if field == "modules_to_save" else pattern
    folder = edit_config(write_lora(tmp_path), **{field: value})
    with pytest.raises(ManifestError, match="takes more than 3 s: list the names") as caught:
        put_adapter(llama(), folder)
    assert pattern in str(caught.value)


@pytest.mark.parametrize("damage", ["truncated", "no rights"])
def test_weights_that_cannot_be_read(damage: str, tmp_path: Path) -> None:
    weights = write_lora(tmp_path) / PEFT_WEIGHTS
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    else:
        weights.chmod(0)
        if os.access(weights, os.R_OK):
            pytest.skip("root reads every file")
    with pytest.raises(ManifestError, match="its PEFT adapter cannot be read: "):
        put_adapter(llama(), tmp_path)


def mixtral() -> MixtralForCausalLM:
    torch.manual_seed(0)
    sizes = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2}
    return MixtralForCausalLM(
        MixtralConfig(
            vocab_size=64, hidden_size=32, intermediate_size=32, num_local_experts=2, **sizes
        )
    )


def write_mixtral_of_transformers_4(folder: Path) -> Path:
    """Write a LoRA of attention and experts with the names that modules had there."""
    model = get_peft_model(mixtral(), LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    model.save_pretrained(str(folder), save_embedding_layers=False)

    def add_experts(weights: Tensors) -> None:
        torch.manual_seed(1)
        for layer in range(2):
            for expert in range(2):
                for name in ("w1", "w2", "w3"):
                    module = f"model.layers.{layer}.block_sparse_moe.experts.{expert}.{name}"
                    weights[f"base_model.model.{module}.lora_A.weight"] = torch.randn(2, 32)
                    weights[f"base_model.model.{module}.lora_B.weight"] = torch.randn(32, 2)

    edit(folder, add_experts)
    return edit_config(folder, target_modules=["q_proj", "v_proj", "w1", "w2", "w3"])


# PEFT's own pattern for the joined experts.
_joined = pytest.mark.filterwarnings("ignore:The following .* keys did not match:RuntimeWarning")


@_joined
@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["q_proj", "v_proj"]},
        {"target_modules": "all-linear"},
        {"target_modules": r".*\.self_attn\.(q|k)_proj"},
        {"target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]},
    ],
    ids=str,
)
def test_models_with_experts(options: dict[str, Any], tmp_path: Path) -> None:
    model = get_peft_model(mixtral(), LoraConfig(r=2, **options))
    model.save_pretrained(str(tmp_path), save_embedding_layers=False)
    put_adapter(mixtral(), tmp_path)


@_joined
def test_experts_that_transformers_joins_on_load(tmp_path: Path) -> None:
    folder = write_mixtral_of_transformers_4(tmp_path)
    text = torch.arange(10)[None]
    with torch.no_grad():
        ours = put_adapter(mixtral(), folder)(text).logits
        stock = PeftModel.from_pretrained(mixtral(), folder)(text).logits
        assert not torch.allclose(ours, mixtral()(text).logits)
    assert torch.equal(ours, stock)


@_joined
def test_a_missing_expert_is_noticed(tmp_path: Path) -> None:
    folder = write_mixtral_of_transformers_4(tmp_path)
    edit(folder, lambda w: w.pop(next(name for name in w if "experts.1.w2.lora_A" in name)))
    with pytest.raises(ManifestError, match=r"cannot be read|do not fit"):
        put_adapter(mixtral(), folder)


def test_replicated_layers_load(tmp_path: Path) -> None:
    """The weights of an adapter that was trained so fit."""
    replicated = {"layer_replication": [[0, 2], [0, 2]], "target_modules": ["q_proj", "v_proj"]}
    model = put_adapter(llama(), write_lora(tmp_path, **replicated))
    assert len(model.get_base_model().model.layers) == 4


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
