"""Adapters for tiny language models, requests, and what plain Transformers and PEFT answer.

The reference reads one prompt at a time, without padding and without a cache.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from peft import (
    IA3Config,
    LoraConfig,
    PeftConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
)

from valueeval.registration import task_folder

METHODS = ("prompt_tuning", "p_tuning", "prefix_tuning", "lora", "ia3")
VIRTUAL_TOKENS = 5
_WORDS = ("does", "this", "argument", "rest", "on", "value", "ideas", "people", "live", "there")
_TASK_TYPES = {"causal": "CAUSAL_LM", "seq2seq": "SEQ_2_SEQ_LM"}


def write_lively(folder: Path, base: Path, backend: str) -> Path:
    """The same architecture with large random weights: its answers are many different tokens."""
    config = AutoConfig.from_pretrained(base)
    larger = {"initializer_factor": 10.0} if backend == "seq2seq" else {"initializer_range": 0.3}
    config.update(larger)
    torch.manual_seed(0)
    kind = AutoModelForSeq2SeqLM if backend == "seq2seq" else AutoModelForCausalLM
    model = kind.from_config(config)
    if backend == "seq2seq":
        # Else log-probabilities are -1000, with float noise to match.
        model.lm_head.weight.data.mul_(0.01)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def write_model(folder: Path, tokens_of: Path, config_class: Any, **sizes: Any) -> Path:
    """A tiny random model of some architecture with the tokenizer of another."""
    tokenizer = AutoTokenizer.from_pretrained(tokens_of)
    config = config_class(
        vocab_size=len(tokenizer), bos_token_id=1, eos_token_id=1, pad_token_id=0,
        initializer_range=0.3, **{"hidden_size": 32, **sizes},
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def load_base(folder: Path, backend: str) -> Any:
    """The base model, in evaluation mode."""
    kind = AutoModelForSeq2SeqLM if backend == "seq2seq" else AutoModelForCausalLM
    return kind.from_pretrained(folder).eval()


def write_peft(folder: Path, base: Path, backend: str, method: str, seed: int = 0) -> Path:
    """An adapter with random weights, far from having no effect; returns its folder."""
    torch.manual_seed(seed)
    model = get_peft_model(load_base(base, backend), _config(method, _TASK_TYPES[backend]))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            scale = 1.0 if "ia3" in name else 0.0
            torch.nn.init.normal_(parameter, mean=scale, std=0.5)
    model.save_pretrained(folder)
    return folder


def _config(method: str, task_type: str) -> PeftConfig:
    virtual = {"task_type": task_type, "num_virtual_tokens": VIRTUAL_TOKENS}
    if method == "prompt_tuning":
        return PromptTuningConfig(**virtual)
    if method == "p_tuning":
        return PromptEncoderConfig(**virtual, encoder_hidden_size=16)
    if method == "prefix_tuning":
        return PrefixTuningConfig(**virtual)
    layers = {"task_type": task_type, "fan_in_fan_out": task_type == "CAUSAL_LM"}  # GPT-2's
    return LoraConfig(**layers, r=4, lora_alpha=4) if method == "lora" else IA3Config(**layers)


def task_manager() -> TaskManager:
    """Knows our tasks only: lm-eval's own take seconds to find."""
    return TaskManager(include_path=str(task_folder()), include_defaults=False)


def assert_loadable_by_vllm(folder: Path, rank: int) -> None:
    """Check vLLM's demands on a LoRA adapter (vllm/lora/peft_helper.py and lora_model.py, 2026).

    Nothing but pairs of low-rank matrices of this rank, of modules named one by one, without the
    vocabulary's projection.
    """
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert config["r"] == rank
    assert config["bias"] == "none"
    assert not config["modules_to_save"]
    assert not config["use_dora"]
    assert isinstance(config["target_modules"], list)  # and not "all-linear"
    targets = {module.rpartition(".")[2] for module in config["target_modules"]}
    assert "lm_head" not in targets
    weights = load_file(folder / "adapter_model.safetensors")
    pairs: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in weights.items():
        found = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", name)
        assert found, name
        pairs.setdefault(found[1], {})[found[2]] = tensor
    assert {module.rpartition(".")[2] for module in pairs} == targets
    for pair in pairs.values():
        assert pair["A"].shape[0] == pair["B"].shape[1] == rank


def contexts() -> list[str]:
    """Prompts of different lengths: three about each of four arguments."""
    rng = random.Random(0)  # noqa: S311
    prompts = []
    for length in (3, 17, 8, 5):
        argument = " ".join(rng.choice(_WORDS) for _ in range(length))
        prompts += [f"Premise: {argument}\n{q}:" for q in ("yes or no", "Answer", "So does this")]
    return prompts


def scoring_requests() -> list[Instance]:
    """Continuations of one and more tokens after each context."""
    continuations = (" yes", " no", " having ideas and interests")
    return [
        request("loglikelihood", (context, continuation), document)
        for document, context in _numbered()
        for continuation in continuations
    ]


def generation_requests(steps: int = 8) -> list[Instance]:
    """One answer to each context."""
    settings = {"until": ["\n\n"], "max_gen_toks": steps, "do_sample": False}
    return [
        request("generate_until", (context, dict(settings)), document)
        for document, context in _numbered()
    ]


def request(kind: str, arguments: tuple[Any, ...], document: int = 0) -> Instance:
    """A request of some task about one document."""
    return Instance(
        request_type=kind, doc={}, arguments=arguments, idx=0, metadata=("task", document, 1)
    )


def _numbered() -> list[tuple[int, str]]:
    return [(i // 3, context) for i, context in enumerate(contexts())]


@torch.no_grad()
def reference_score(model: Any, backend: str, before: list[int], asked: list[int]) -> float:
    """Log-probability of ``asked`` after ``before``."""
    if backend == "seq2seq":
        ids = torch.tensor([before])
        output = model(
            input_ids=ids, attention_mask=torch.ones_like(ids), labels=torch.tensor([asked])
        )
        logits = output.logits[0]
    else:
        logits = model(input_ids=torch.tensor([(before + asked)[:-1]])).logits[0, -len(asked) :]
    return float(logits.log_softmax(-1).gather(1, torch.tensor(asked)[:, None]).sum())


@torch.no_grad()
def reference_answer(
    model: Any, backend: str, before: list[int], steps: int, ends: tuple[int, ...]
) -> list[int]:
    """The most probable tokens one after the other, everything read anew for each."""
    tokens: list[int] = []
    for _ in range(steps):
        if backend == "seq2seq":
            ids = torch.tensor([before])
            start = model.get_base_model() if hasattr(model, "get_base_model") else model
            decoder = torch.tensor([[start.config.decoder_start_token_id, *tokens]])
            output = model(
                input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=decoder
            )
        else:
            output = model(input_ids=torch.tensor([before + tokens]))
        token = int(output.logits[0, -1].argmax())
        if token in ends:
            break
        tokens.append(token)
    return tokens


def assert_as_stock(model: HFLM, base: Path) -> None:
    """The scores and texts of stock ``hf``, which reads one prompt at a time."""
    stock = HFLM(str(base), batch_size=1, device="cpu")
    expected = [score for score, _ in stock.loglikelihood(scoring_requests(), disable_tqdm=True)]
    answers = model.loglikelihood(scoring_requests(), disable_tqdm=True)
    assert [score for score, _ in answers] == pytest.approx(expected, abs=1e-4)
    texts = stock.generate_until(generation_requests(), disable_tqdm=True)
    assert model.generate_until(generation_requests(), disable_tqdm=True) == texts
