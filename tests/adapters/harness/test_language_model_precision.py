"""--model valueeval in half precision, and what reaches Transformers when it loads a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from language_models import (
    generation_requests,
    load_base,
    reference_score,
    scoring_requests,
    write_lively,
    write_peft,
)
from lm_eval.models.huggingface import HFLM
from peft import PeftModel
from transformers import AutoModelForCausalLM

from valueeval.adapters.harness.language_model_lm import LanguageModelLM

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(("backend", "adapted"), [("causal", True), ("seq2seq", False)])
def test_half_precision_is_as_near_as_that_of_transformers(
    backend: str, adapted: bool, dtype: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """To the reference in float32, one prompt at a time, without padding and cache."""
    tiny = request.getfixturevalue({"causal": "tiny_gpt2", "seq2seq": "tiny_t5"}[backend])
    base = write_lively(tmp_path / "base", tiny, backend)
    adapter = write_peft(tmp_path / "adapter", base, backend, "lora") if adapted else None

    def plain(precision: torch.dtype) -> Any:
        model = load_base(base, backend)
        if adapter is not None:
            model = PeftModel.from_pretrained(model, adapter)
        return model.eval().to(precision)

    exact, half = plain(torch.float32), plain(getattr(torch, dtype))
    peft = None if adapter is None else str(adapter)
    models = [
        LanguageModelLM(str(base), peft=peft, dtype=dtype, batch_size=size, device="cpu")
        for size in (1, 8, "auto")
    ]
    pairs = [models[0]._encode_pair(*one.args) for one in scoring_requests()]
    expected = torch.tensor([reference_score(exact, backend, *pair) for pair in pairs])
    rounded = torch.tensor([reference_score(half, backend, *pair) for pair in pairs])
    allowed = (rounded - expected).abs().mean()
    assert allowed > 0
    for model in models:
        assert model.get_model_info()["reading"] == {
            "name": "shared_passes",
            "reason": None,
            "attention": "sdpa",
            "batch_size": model.batch_size,
        }
        assert model.model.dtype == getattr(torch, dtype)
        answers = model.loglikelihood(scoring_requests(), disable_tqdm=True)
        scores = torch.tensor([score for score, _ in answers])
        assert (scores - expected).abs().mean() <= allowed


def test_a_model_laid_out_by_accelerate_answers_the_same(tiny_gpt2: Path, tmp_path: Path) -> None:
    base = write_lively(tmp_path / "base", tiny_gpt2, "causal")
    plain = LanguageModelLM(str(base), batch_size=4, device="cpu")
    spread = LanguageModelLM(str(base), batch_size=4, device="cpu", parallelize=True)
    assert spread.model.hf_device_map
    assert spread._readers.near is not None
    for kind, requests in (
        ("loglikelihood", scoring_requests),
        ("generate_until", generation_requests),
    ):
        expected = getattr(plain, kind)(requests(), disable_tqdm=True)
        assert getattr(spread, kind)(requests(), disable_tqdm=True) == expected


@pytest.mark.parametrize(
    "given",
    [
        {"load_in_4bit": True, "bnb_4bit_compute_dtype": "bfloat16"},
        {"load_in_8bit": True},
        {"attn_implementation": "eager", "dtype": "bfloat16"},
        {"parallelize": True, "max_memory_per_gpu": "1GiB"},
    ],
    ids=str,
)
def test_arguments_reach_transformers_as_from_hf(
    tiny_gpt2: Path, tmp_path: Path, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quantised models cannot be loaded here: what is asked of Transformers is compared."""
    load = AutoModelForCausalLM.from_pretrained
    asked: list[dict[str, Any]] = []

    def note(name: str, **kwargs: Any) -> Any:
        asked.append({"name": name, **kwargs})
        return load(name)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", note)
    adapter = str(write_peft(tmp_path / "adapter", tiny_gpt2, "causal", "lora"))
    asked.clear()
    for kind, peft in ((HFLM, None), (LanguageModelLM, None), (LanguageModelLM, adapter)):
        kind(str(tiny_gpt2), peft=peft, device="cpu", **given)
    assert len(asked) == 3
    stock, ours, adapted = asked
    assert ours == stock
    # Stock hf checks PEFT's version there; it asks for the same.
    assert adapted == stock
