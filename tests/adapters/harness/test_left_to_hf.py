"""Prompts that `--model valueeval` passes on to hf: batches, beams, generation settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import torch
from language_models import (
    assert_as_stock,
    contexts,
    load_base,
    request,
    scoring_requests,
    task_manager,
    write_lively,
    write_model,
)
from lm_eval.api.instance import Instance
from transformers import (
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    MambaConfig,
    MistralConfig,
)

from valueeval.adapters.harness.language_model_lm import LanguageModelLM
from valueeval.adapters.runtime.batch_sizes import BatchLimits
from valueeval.tasks.errors import ValueEvalError

SIZES = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}


@pytest.fixture(scope="module")
def base(lively: Path) -> Path:
    return lively


@pytest.fixture
def mamba(tiny_gpt2: Path, tmp_path: Path) -> Path:
    """No reader of ours can read it."""
    return write_model(tmp_path / "mamba", tiny_gpt2, MambaConfig, num_hidden_layers=2)


def load(base: Path, batch_size: int | str = 4, **kwargs: Any) -> LanguageModelLM:
    return LanguageModelLM(str(base), batch_size=batch_size, device="cpu", **kwargs)


def note_inputs(model: LanguageModelLM) -> list[torch.Size]:
    """Return a list that gets the shape, (rows, tokens), of what the model or its encoder reads."""
    read: list[torch.Size] = []
    reads = model.model.get_encoder() if model.backend == "seq2seq" else model.model
    reads.register_forward_pre_hook(
        lambda _, given, kwargs: read.append((given or (kwargs["input_ids"],))[0].shape),
        with_kwargs=True,
    )
    return read


def asked(prompts: Sequence[str], **settings: Any) -> list[Instance]:
    """Requests for a text, with these settings of generation."""
    given = {"max_gen_toks": 8, "until": [], "do_sample": False, **settings}
    return [
        request("generate_until", (prompt, dict(given)), place)
        for place, prompt in enumerate(prompts)
    ]


def said(model: LanguageModelLM, prompts: Sequence[str], **settings: Any) -> list[str]:
    return model.generate_until(asked(prompts, **settings), disable_tqdm=True)


# ------------------------------------------------------------------------------------- batches


def test_batches_of_models_that_cannot_share_are_filled_by_tokens(
    mamba: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``hf`` would try out 64 prompts of the model's greatest length for each few arguments."""
    model = load(mamba, "auto")
    monkeypatch.setattr(model, "_detect_batch_size", lambda *_: pytest.fail("it was tried out"))
    limit = 100
    monkeypatch.setattr(model, "batch_limits", lambda: BatchLimits(None, limit))
    read = note_inputs(model)
    assert_as_stock(model, mamba)
    assert max(rows * tokens for rows, tokens in read if rows > 1) <= limit
    assert max(rows for rows, _ in read) > 2
    assert model.batch_size == "auto"


def test_smaller_batches_follow_where_memory_does_not_suffice(
    mamba: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(mamba, "auto")
    forward = model._model_call
    sizes: list[int] = []

    def little_memory(inputs: torch.Tensor, *rest: Any, **kwargs: Any) -> torch.Tensor:
        sizes.append(len(inputs))
        if len(inputs) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(inputs, *rest, **kwargs)

    monkeypatch.setattr(model, "_model_call", little_memory)
    expected = load(mamba, 1).loglikelihood(scoring_requests(), disable_tqdm=True)
    answers = model.loglikelihood(scoring_requests(), disable_tqdm=True)
    assert [s for s, _ in answers] == pytest.approx([s for s, _ in expected], abs=1e-4)
    assert max(sizes) > 2 >= sizes[-1] > 0
    assert model.batch_size == "auto"


@pytest.mark.parametrize("kind", ["read together", "one by one"])
def test_max_batch_size_holds(base: Path, mamba: Path, kind: str) -> None:
    model = load(base if kind == "read together" else mamba, "auto", max_batch_size=2)
    read = note_inputs(model)
    model.loglikelihood(scoring_requests(), disable_tqdm=True)
    assert 0 < max((rows for rows, _ in read), default=1) <= 2


def test_rolling_likelihoods_try_no_batches_out(tiny_gpt2: Path) -> None:
    texts = [request("loglikelihood_rolling", (prompt,)) for prompt in contexts()[:3]]
    expected = load(tiny_gpt2, 1).loglikelihood_rolling(texts, disable_tqdm=True)
    model = load(tiny_gpt2, "auto")
    read = note_inputs(model)
    answers = model.loglikelihood_rolling(texts, disable_tqdm=True)
    assert answers == pytest.approx(expected, abs=1e-4)
    assert sum(rows * tokens for rows, tokens in read) < 200


def test_a_long_few_shot_prompt_is_not_copied_for_ever_more_arguments(tiny_gpt2: Path) -> None:
    model = load(tiny_gpt2, "auto")
    held: list[int] = []

    def note(_: Any, __: Any, ___: Any, output: Any) -> None:
        keys = output.past_key_values.layers[0].keys
        held.append(keys.shape[0] * keys.shape[2])

    model.model.register_forward_hook(note, with_kwargs=True)
    shots = "Premise: people live there because of nature Answer: yes\n" * 90
    requests = [
        request("loglikelihood", (f"{shots}Premise: it is {d}\nDoes it?", answer), d)
        for d in range(16)
        for answer in (" yes", " no")
    ]
    model.loglikelihood(requests, disable_tqdm=True)
    limit = model.batch_limits().held
    assert limit is not None
    assert len(model.tok_encode(shots)) * 8 > limit >= max(held) > limit / 2


def test_long_prompts_are_scored_as_exactly_as_short_ones(tiny_gpt2: Path, tmp_path: Path) -> None:
    """``hf`` computes the softmax in bfloat16 of a model in bfloat16; our readers do not."""
    write_model(
        tmp_path, tiny_gpt2, MistralConfig, intermediate_size=64, sliding_window=24, **SIZES
    )
    pairs = [
        request("loglikelihood", ("people live there " * 12 + str(place), answer), place)
        for place in range(8)
        for answer in (" yes", " no")
    ]
    scores = []
    for given in ({}, {"softmax_dtype": "torch.float32"}):
        model = load(tmp_path, dtype="bfloat16", **given)
        model._readers = replace(model._readers, near=None, far=None)
        scores.append(model.loglikelihood(pairs, disable_tqdm=True))
    assert scores[0] == scores[1]


# ---------------------------------------------------------------------------------- generation


@pytest.mark.parametrize("batch_size", [4, "auto"])
def test_beams_stop_as_they_do_alone(base: Path, batch_size: int | str) -> None:
    settings = {"max_gen_toks": 30, "until": ["M", "Q", " ", "w", "u"], "num_beams": 3}
    alone = said(load(base, 1), contexts(), **settings)
    assert said(load(base, batch_size), contexts(), **settings) == alone


def test_a_temperature_alone_asks_for_samples(tiny_gpt2: Path, tmp_path: Path) -> None:
    """lm-eval samples then; requests for the same prompt get a sample each."""
    model = load(write_lively(tmp_path, tiny_gpt2, "causal"))
    torch.manual_seed(0)
    settings = {"max_gen_toks": 8, "until": [], "temperature": 5.0}
    twins = [request("generate_until", ("people", dict(settings)), 0) for _ in range(3)]
    assert len(set(model.generate_until(twins, disable_tqdm=True))) == 3


def test_the_models_own_number_of_tokens_does_not_count(tiny_gpt2: Path, tmp_path: Path) -> None:
    base = write_lively(tmp_path, tiny_gpt2, "causal")
    path = base / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_new_tokens": 2}))
    model = load(base)
    prompts = contexts()[:3]
    assert said(model, prompts, num_beams=1) == said(model, prompts)


@pytest.mark.parametrize(
    "setting", [{"forced_bos_token_id": 0}, {"no_repeat_ngram_size": 1}, {"forced_bos_token_id": 5}]
)
def test_settings_of_the_model_that_look_like_none(
    tiny_t5: Path, tmp_path: Path, setting: dict[str, int]
) -> None:
    """Left to generate(), the answers are those that it gives by itself."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_t5)
    sizes = {
        f"{side}_{what}": number
        for side in ("encoder", "decoder")
        for what, number in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 64))
    }
    config = BartConfig(
        vocab_size=len(tokenizer), d_model=32, max_position_embeddings=512, init_std=0.3,
        pad_token_id=0, bos_token_id=0, eos_token_id=1, decoder_start_token_id=1,
        forced_eos_token_id=None, **sizes,
    )  # fmt: skip
    torch.manual_seed(0)
    BartForConditionalGeneration(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    path = tmp_path / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **setting}))
    model = load(tmp_path)
    prompt = contexts()[0]
    ids = torch.tensor([model.tok_encode(prompt)])
    expected = load_base(tmp_path, "seq2seq").generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False
    )
    assert said(model, [prompt]) == [model.tok_decode(expected[0, 1:])]


def test_an_encoder_decoder_stops_where_its_answer_does(tiny_t5: Path, tmp_path: Path) -> None:
    """``hf`` looks for stop strings only behind as many tokens as the input has."""
    model = load(write_lively(tmp_path, tiny_t5, "seq2seq"))
    prompt = contexts()[0]
    (free,) = said(model, [prompt], max_gen_toks=40)
    stop = free[1:3]
    steps = [0]
    model.model.get_decoder().register_forward_pre_hook(
        lambda *_: steps.__setitem__(0, steps[0] + 1)
    )
    settings = {"max_gen_toks": 40, "until": [stop], "num_beams": 1}
    assert said(model, [prompt], **settings) == [free[: free.index(stop)]]
    assert steps[0] < len(model.tok_encode(prompt))


def test_an_encoder_decoders_answer_has_no_max_length(tiny_t5: Path) -> None:
    with pytest.raises(ValueEvalError, match=r"max_length: .* limited by max_gen_toks"):
        said(load(tiny_t5), contexts()[:1], max_length=20)


@pytest.mark.parametrize("kind", ["read together", "one by one"])
def test_an_empty_prompt_is_the_beginning_of_a_text(base: Path, mamba: Path, kind: str) -> None:
    model = load(base if kind == "read together" else mamba)
    empty, begun = said(model, ["", model.tok_decode(model.prefix_token_id)])
    assert empty == begun


def test_what_is_left_to_hf_is_told_once(tiny_gpt2: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = load(tiny_gpt2)
    for _ in range(2):
        said(model, contexts()[:2], num_beams=2)
    told = [record for record in caplog.records if "by Transformers' generate()" in record.message]
    assert [record.levelname for record in told] == ["WARNING"]


# ------------------------------------------------------------------------------------- loading


def test_a_delta_is_not_added_twice(tiny_gpt2: Path, tmp_path: Path) -> None:
    delta = write_lively(tmp_path, tiny_gpt2, "causal")
    with pytest.raises(ValueEvalError, match="delta: hf adds it twice"):
        load(tiny_gpt2, delta=str(delta))


def test_without_a_device_it_runs_where_it_can(tiny_gpt2: Path) -> None:
    found = lm_eval.simple_evaluate(
        model="valueeval", model_args=f"pretrained={tiny_gpt2}", tasks=["valueeval_cls_sample"],
        limit=1, task_manager=task_manager(), bootstrap_iters=0,
    )  # fmt: skip
    assert found["samples"]["valueeval_cls_sample"]
