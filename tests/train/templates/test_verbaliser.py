"""Logits, losses and gradients of a language model that answers a template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from language_models import reference_score
from template_runs import CPU, SOFT_PROMPTS, check_gradients, config_of, in_training
from training import (
    shorten_answers,
)
from transformers import (
    AutoModelForCausalLM,
    GPTNeoConfig,
    MistralConfig,
)

from valueeval.adapters.classifier.classifier import load_tokenizer
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.templates.decide import decide
from valueeval.train.config.model import GENERATED

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning"),
]


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models hardly ever end what they say."""
    shorten_answers(monkeypatch)


@pytest.mark.parametrize("method", ["lora", *SOFT_PROMPTS])
@pytest.mark.parametrize("template", ["bca", "cls"])
def test_logits_in_training_are_the_scores_of_the_task(
    base: Path, data_dir: Path, tmp_path: Path, template: str, method: str
) -> None:
    config = config_of(base, data_dir, tmp_path / "x", template=template, method=method)
    model, (lm, asked), requests = in_training(config, data_dir)
    logits = model(**asked.batch(range(3), CPU)).detach().numpy()
    flat = [request for document in requests for request in document]
    answers = iter(lm.loglikelihood(flat, disable_tqdm=True))
    for row, document in zip(logits, requests, strict=True):
        decision = decide(template, [next(answers) for _ in document])
        np.testing.assert_allclose(row, decision.scores, atol=2e-4)


@pytest.mark.parametrize("method", ["lora", "prompt-tuning"])
def test_gradients_are_those_of_reading_every_prompt_alone(
    request: pytest.FixtureRequest, backend: str, data_dir: Path, tmp_path: Path, method: str
) -> None:
    """Shared prefixes, packed questions and cached instructions change no gradient."""
    # Not the lively models: their gradients grow float noise to the size of themselves.
    base = request.getfixturevalue({"causal": "tiny_gpt2", "seq2seq": "tiny_t5"}[backend])
    config = config_of(base, data_dir, tmp_path / "x", template="bca", method=method)
    model, (lm, asked), requests = in_training(config, data_dir)
    check_gradients(model, backend, lm, asked, requests)


@pytest.mark.parametrize(
    "config",
    [
        GPTNeoConfig(
            hidden_size=32, num_layers=2, num_heads=2, attention_types=[[["global", "local"], 1]],
            window_size=16, max_position_embeddings=4096,
        ),
        MistralConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, sliding_window=16,
        ),
    ],
    ids=["gpt_neo", "mistral"],
)  # fmt: skip
def test_gradients_of_attention_that_reaches_to_a_window(
    config: Any, tiny_gpt2: Path, data_dir: Path, tmp_path: Path
) -> None:
    """Prompts are longer than the window."""
    tokenizer = load_tokenizer(tiny_gpt2)
    config.update({"vocab_size": len(tokenizer), "bos_token_id": 1, "eos_token_id": 1})
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    options = {"template": "bca", "method": "lora"}
    model, (lm, asked), requests = in_training(
        config_of(tmp_path / "base", data_dir, tmp_path / "x", **options), data_dir
    )
    check_gradients(model, "causal", lm, asked, requests)


@pytest.mark.parametrize("template", GENERATED)
def test_loss_of_text_is_that_of_its_tokens(
    base: Path, backend: str, data_dir: Path, tmp_path: Path, template: str
) -> None:
    options = {"pos_weight_power": 1.0} if template == "oa" else {}
    config = config_of(base, data_dir, tmp_path / "x", template=template, method="lora", **options)
    model, (lm, asked), requests = in_training(config, data_dir)
    losses = model(**asked.batch([1, 2], CPU)).tolist()
    labels = load_set("validation", data_dir).labels
    for row, loss in zip((1, 2), losses, strict=True):
        total, tokens = 0.0, 0.0
        for request, one in zip(
            requests[row], [prompt.tokens for prompt in lm.fit(requests[row])], strict=True
        ):
            weight = 1.0
            if request.value is not None and labels[row, request.value]:
                positives = int(labels[:, request.value].sum())
                weight = max((len(labels) - positives) / positives, 1e-3)
            said = reference_score(model.model, backend, *one)
            total, tokens = total - weight * said, tokens + weight * len(one.continuation)
        assert loss == pytest.approx(total / tokens, rel=1e-4)
