"""PEFT's files as an adapter directory holds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from valueeval.adapters.classifier.peft_encoder import quiet_peft, save_peft


def test_the_configuration_does_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    """The seven linear layers of a Llama are a set in PEFT; written, they are sorted."""
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "vocab_size": 30}
    llama = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=1))
    config = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear")
    with quiet_peft():
        model = get_peft_model(llama, config)
    save_peft(cast(PeftModel, model), tmp_path)
    written = json.loads((tmp_path / "adapter_config.json").read_text("utf-8"))["target_modules"]
    assert len(written) == 7
    assert written == sorted(written)
    with quiet_peft():
        again = PeftModel.from_pretrained(LlamaForCausalLM(llama.config), tmp_path)
    assert set(again.peft_config["default"].target_modules) == set(written)
