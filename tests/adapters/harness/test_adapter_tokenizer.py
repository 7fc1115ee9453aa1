"""Adapters with tokens and a chat template of their own: as by hand with PEFT."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import torch
from language_models import (
    load_base,
    reference_score,
    scoring_requests,
    task_manager,
    write_lively,
    write_peft,
)
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from valueeval.adapters.harness.classifier_lm import ClassifierLM
from valueeval.adapters.harness.language_model_lm import LanguageModelLM
from valueeval.tasks.errors import ValueEvalError

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning"),
]
OWN = ["Premise:", " rest", "<|mine|>"]
"""Tokens that an adapter adds; the first two are in prompts."""
TEMPLATE = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant] "


@pytest.fixture(scope="module")
def base(tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    tokenizer = AutoTokenizer.from_pretrained(tiny_gpt2)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"num_attention_heads": 2, "num_key_value_heads": 2, "num_hidden_layers": 2}
    ends = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, initializer_range=0.3,
        **sizes, **ends,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def write_with_tokens(folder: Path, base: Path, multiple: int | None, **options: Any) -> Path:
    """Write an adapter with random weights and tokens of its own, as people do with PEFT."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(OWN)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(1)
    model = load_base(base, "causal")
    model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=multiple, mean_resizing=False)
    options = {"target_modules": ["q_proj", "v_proj"], **options}
    model = get_peft_model(model, LoraConfig(r=2, task_type="CAUSAL_LM", **options))
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(str(folder))
    return folder


def by_hand(base: Path, adapter: Path, embeddings: int) -> list[float]:
    model = load_base(base, "causal")
    model.resize_token_embeddings(embeddings, mean_resizing=False)
    model = PeftModel.from_pretrained(model, adapter).eval()
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    scores = []
    for one in scoring_requests():
        context, continuation = one.args
        before = tokenizer(context).input_ids
        whole = tokenizer(context + continuation).input_ids
        assert whole[: len(before)] == before
        scores.append(reference_score(model, "causal", before, whole[len(before) :]))
    return scores


def load(base: Path, **kwargs: Any) -> LanguageModelLM:
    return LanguageModelLM(str(base), batch_size=4, device="cpu", **kwargs)


def scores_of(model: LanguageModelLM) -> list[float]:
    return [score for score, _ in model.loglikelihood(scoring_requests(), disable_tqdm=True)]


KINDS: dict[str, tuple[int | None, Callable[[int], dict[str, Any]]]] = {
    "modules_to_save": (None, lambda there: {"modules_to_save": ["embed_tokens", "lm_head"]}),
    "resized": (None, lambda there: {}),
    "padded": (64, lambda there: {}),
    "LoRA of embeddings": (None, lambda there: {"target_modules": ["embed_tokens", "lm_head"]}),
    "trainable tokens": (
        None,
        lambda there: {"trainable_token_indices": list(range(there, there + len(OWN)))},
    ),
}


@pytest.mark.parametrize(("multiple", "options"), KINDS.values(), ids=KINDS)
def test_tokens_of_its_own(
    multiple: int | None,
    options: Callable[[int], dict[str, Any]],
    base: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    there = len(AutoTokenizer.from_pretrained(base))
    adapter = write_with_tokens(tmp_path, base, multiple, **options(there))
    needed = there + len(OWN)
    needed += -needed % (multiple or 1)
    with caplog.at_level(logging.INFO):
        model = load(base, peft=str(adapter))
    assert "the tokenizer of its folder is used" in caplog.text
    assert "random" not in caplog.text
    assert len(model.tokenizer) == there + len(OWN)
    assert model.tok_encode("Premise:") == [there]
    assert scores_of(model) == pytest.approx(by_hand(base, adapter, needed), abs=1e-4)
    resolved = ClassifierLM.create_from_arg_obj({"adapter": str(adapter), "device": "cpu"})
    assert scores_of(resolved) == pytest.approx(scores_of(model), abs=1e-4)


def test_a_tokenizer_that_is_named_wins(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapter = write_with_tokens(tmp_path, base, None)
    model = load(base, peft=str(adapter), tokenizer=str(base))
    there = len(AutoTokenizer.from_pretrained(base))
    assert len(model.tokenizer) == there
    assert f"was trained with {there + 3} tokens, and the tokenizer knows {there}:" in caplog.text


def test_output_embeddings_that_peft_does_not_save_are_told(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapter = write_with_tokens(tmp_path, base, None, target_modules=["embed_tokens", "q_proj"])
    load(base, peft=str(adapter))
    assert "no output embeddings for 3 tokens that the base does not know (Premise:," in caplog.text


def test_tokens_without_embeddings_are_told(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapter = write_peft(tmp_path, base, "causal", "prompt_tuning")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(OWN)
    tokenizer.save_pretrained(adapter)
    load(base, peft=str(adapter))
    assert (
        "no input and output embeddings for 3 tokens that the base does not know (Premise:,"
        in caplog.text
    )


def test_a_tokenizer_that_cannot_be_read(base: Path, tmp_path: Path) -> None:
    adapter = write_peft(tmp_path, base, "causal", "prompt_tuning")
    (adapter / "tokenizer_config.json").write_text('{"tokenizer_class": "NoSuchTokenizer"}')
    with pytest.raises(ValueEvalError, match=r"cannot be read \(.*name one by tokenizer=MODEL"):
        load(base, peft=str(adapter))


@pytest.mark.parametrize("whole", [True, False], ids=["with the tokenizer", "alone"])
def test_its_chat_template(whole: bool, base: Path, tmp_path: Path) -> None:
    adapter = write_peft(tmp_path, base, "causal", "prompt_tuning")
    if whole:
        tokenizer = AutoTokenizer.from_pretrained(base)
        tokenizer.chat_template = TEMPLATE
        tokenizer.save_pretrained(adapter)
        assert (adapter / "chat_template.jinja").is_file()
    else:
        (adapter / "chat_template.jinja").write_text(TEMPLATE)
    results = lm_eval.simple_evaluate(
        model=load(base, peft=str(adapter)),
        tasks=["valueeval_bca_sample"],
        limit=1,
        task_manager=task_manager(),
        bootstrap_iters=0,
        apply_chat_template=True,
    )
    (sample,) = results["samples"]["valueeval_bca_sample"]
    for context, _ in sample["arguments"]:
        assert context.startswith("[user] ")
        assert context.endswith("[assistant] ")


def test_an_encoder_decoders_lora_that_was_saved_for_a_decoder(
    tiny_t5: Path, tmp_path: Path
) -> None:
    base = write_lively(tmp_path / "base", tiny_t5, "seq2seq")
    adapter = write_peft(tmp_path / "adapter", base, "seq2seq", "lora")
    config = adapter / "adapter_config.json"
    right = config.read_text()
    config.write_text(right.replace("SEQ_2_SEQ_LM", "CAUSAL_LM"))
    with pytest.raises(ValueEvalError) as caught:
        load(base, peft=str(adapter))
    advice = re.search(r'set ("task_type": "\w+") in its adapter_config\.json', str(caught.value))
    assert advice
    config.write_text(config.read_text().replace('"task_type": "CAUSAL_LM"', advice[1]))
    assert config.read_text() == right
    load(base, peft=str(adapter))
