"""Rotary positions that depend on the length of a prompt: LongRope and dynamic NTK scaling."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from language_models import (
    generation_requests,
    load_base,
    reference_answer,
    reference_score,
    scoring_requests,
)
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
)

from valueeval.adapters.harness.language_model_lm import LanguageModelLM
from valueeval.adapters.reading.equivalence import rope_limit

LIMIT = 40
STEPS = 6
SIZES = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "initializer_range": 0.3,
    "bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 8,
    "long_factor": [4.0 + i for i in range(8)], "original_max_position_embeddings": LIMIT,
}  # fmt: skip
DYNAMIC = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}


def config_of(kind: str, words: int) -> Any:
    if kind == "longrope":
        return Phi3Config(
            vocab_size=words, max_position_embeddings=512, rope_parameters=dict(LONGROPE),
            original_max_position_embeddings=LIMIT, **SIZES,
        )  # fmt: skip
    return LlamaConfig(
        vocab_size=words, max_position_embeddings=LIMIT, rope_parameters=dict(DYNAMIC), **SIZES
    )


@pytest.fixture(scope="module", params=["longrope", "dynamic"])
def base(
    request: pytest.FixtureRequest, tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A model whose limit some of the prompts are beyond, and others not."""
    folder = tmp_path_factory.mktemp(request.param)
    tokenizer = AutoTokenizer.from_pretrained(tiny_gpt2)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config_of(request.param, len(tokenizer))).save_pretrained(
        folder
    )
    tokenizer.save_pretrained(folder)
    return folder


def test_prompts_on_both_sides_of_the_limit(base: Path) -> None:
    models = [
        LanguageModelLM(str(base), batch_size=size, device="cpu", max_length=512)
        for size in (1, 8, "auto")
    ]
    pairs = [models[0]._encode_pair(*one.args) for one in scoring_requests()]
    lengths = [len(before) + len(asked) for before, asked in pairs]
    assert min(lengths) < LIMIT - 1 < max(lengths)
    # A model of its own for each: dynamic scaling remembers.
    expected = [reference_score(load_base(base, "causal"), "causal", *pair) for pair in pairs]
    for model in models:
        assert model._readers.near is not None
        answers = model.loglikelihood(scoring_requests(), disable_tqdm=True)
        assert [score for score, _ in answers] == pytest.approx(expected, abs=1e-4)
    models[1]._readers = replace(models[1]._readers, rope_limit=None)
    answers = models[1].loglikelihood(scoring_requests(), disable_tqdm=True)
    assert [score for score, _ in answers] != pytest.approx(expected, abs=1e-2)


def test_texts_on_both_sides_of_the_limit(base: Path) -> None:
    model = LanguageModelLM(str(base), batch_size=8, device="cpu", max_length=512)
    answers = model.generate_until(generation_requests(STEPS), disable_tqdm=True)
    within = 0
    for one, answer in zip(generation_requests(STEPS), answers, strict=True):
        before = model.tok_encode(one.args[0])
        within += len(before) + STEPS < LIMIT
        if model.config.model_type == "llama" and len(before) + STEPS >= LIMIT:
            # Cached keys were turned for the length of then, as Transformers' generate() does.
            ids = torch.tensor([before])
            grown = (
                load_base(base, "causal")
                .generate(
                    ids, attention_mask=torch.ones_like(ids), max_new_tokens=STEPS, do_sample=False
                )[0, len(before) :]
                .tolist()
            )
            tokens = grown[: grown.index(1)] if 1 in grown else grown
        else:
            tokens = reference_answer(load_base(base, "causal"), "causal", before, STEPS, (1,))
        assert answer == model.tok_decode(tokens).split("\n\n")[0]
    assert 0 < within < len(answers)


def test_limits() -> None:
    assert rope_limit(config_of("longrope", 10)) == LIMIT
    assert rope_limit(config_of("dynamic", 10)) == LIMIT - 1
    assert rope_limit(GPT2Config()) is None
    assert rope_limit(MistralConfig()) is None
