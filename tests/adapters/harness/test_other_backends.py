"""vLLM and SGLang, which need a GPU: that lm-eval takes the arguments we show, and vLLM our LoRA.

lm-eval's classes for them cannot be imported without them, so their source is read.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
from language_models import assert_loadable_by_vllm
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from valueeval.adapters.classifier.peft_encoder import save_peft
from valueeval.adapters.directory.base import Base
from valueeval.train.methods.lora import Lora

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

ROOT = Path(__file__).resolve().parents[3]
CLASSES = {
    "vllm": ("lm_eval.models.vllm_causallms", "VLLM"),
    "sglang": ("lm_eval.models.sglang_causallms", "SGLangLM"),
}
# Of the engines themselves: lm-eval hands on what it does not know.
ENGINE: dict[str, set[str]] = {"vllm": {"enable_prefix_caching"}, "sglang": set()}


@cache
def source(backend: str) -> str:
    spec = importlib.util.find_spec(CLASSES[backend][0])
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8")


def constructor(backend: str) -> ast.FunctionDef:
    """The ``__init__`` of lm-eval's class."""
    name = CLASSES[backend][1]
    (found,) = [
        function
        for node in ast.parse(source(backend)).body
        if isinstance(node, ast.ClassDef) and node.name == name
        for function in node.body
        if isinstance(function, ast.FunctionDef) and function.name == "__init__"
    ]
    return found


def defaults(backend: str) -> dict[str, Any]:
    """The arguments that have a constant as default."""
    arguments = constructor(backend).args
    values = zip(reversed(arguments.args), reversed(arguments.defaults), strict=False)
    return {a.arg: v.value for a, v in values if isinstance(v, ast.Constant)}


def shown(backend: str) -> list[str]:
    """The names in ``--model_args`` wherever the documentation shows this back end."""
    text = "".join((ROOT / page).read_text() for page in ("README.md", "adapters/README.md"))
    given = re.findall(rf"--model {backend} --model_args ([^`\s]+)", text)
    return [name for one in given for name in re.findall(r"([a-z_]+)=", one)]


@pytest.mark.parametrize("backend", CLASSES)
def test_arguments_that_we_show_exist(backend: str) -> None:
    init = constructor(backend)
    known = {argument.arg for argument in init.args.args}
    assert init.args.kwarg is not None
    assert "self.model_args.update(kwargs)" in source(backend)
    names = shown(backend)
    assert "pretrained" in names
    assert set(names) <= known | ENGINE[backend]


def test_lora_arguments_are_shown() -> None:
    assert {"lora_local_path", "max_lora_rank", "enable_prefix_caching"} <= set(shown("vllm"))


def test_what_we_say_of_lm_eval_is_so() -> None:
    """The rank that needs no argument; no LoRA for SGLang; prompts that are read in full."""
    assert defaults("vllm")["max_lora_rank"] == 16
    assert "lora" not in source("sglang").lower()
    assert "prompt_logprobs=1" in source("vllm")
    assert "logprob_start_len=0" in source("sglang")


SIZES: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    "base",
    [
        lambda: LlamaForCausalLM(LlamaConfig(tie_word_embeddings=True, **SIZES)),
        lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    ],
    ids=["llama", "qwen2"],
)
@pytest.mark.parametrize("rank", [8, 12])
def test_lora_as_training_makes_it_is_what_vllm_loads(base: Any, rank: int, tmp_path: Path) -> None:
    model = Lora(rank=rank).prepare(base(), Base("x", tmp_path, None, ""), "")
    save_peft(cast(PeftModel, model), tmp_path)
    assert_loadable_by_vllm(tmp_path, rank)


@pytest.mark.parametrize("config", [{"modules_to_save": ["lm_head"]}, {"use_dora": True}])
def test_the_check_sees_what_vllm_refuses(config: dict[str, Any], tmp_path: Path) -> None:
    other = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", **config)
    save_peft(get_peft_model(LlamaForCausalLM(LlamaConfig(**SIZES)), other), tmp_path)
    with pytest.raises(AssertionError):
        assert_loadable_by_vllm(tmp_path, rank=8)
