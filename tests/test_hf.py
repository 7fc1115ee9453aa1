"""--model valueeval for language models: the same answers as one prompt at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from language_models import (
    METHODS,
    generation_requests,
    load_base,
    reference_answer,
    reference_score,
    scoring_requests,
    write_peft,
)
from lm_eval.models.huggingface import HFLM
from peft import PeftModel

from valueeval.adapters.hf import ValueEvalHF

# PEFT 0.21 asks Transformers 5.23 by an old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

BASES = {"causal": "tiny_gpt2", "seq2seq": "tiny_t5"}
BATCH_SIZES = (1, 8, "auto")
STEPS = 6


@pytest.fixture(scope="module")
def adapter(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], tuple[Path, Path]]:
    """(backend, method) → folders of the base model and of the adapter."""

    def make(backend: str, method: str) -> tuple[Path, Path]:
        base = request.getfixturevalue(BASES[backend])
        folder = tmp_path_factory.getbasetemp() / f"{backend}-{method}"
        return base, folder if folder.is_dir() else write_peft(folder, base, backend, method)

    return make


def load(base: Path, batch_size: int | str, **kwargs: Any) -> ValueEvalHF:
    return ValueEvalHF(str(base), batch_size=batch_size, device="cpu", **kwargs)


def assert_right(base: Path, backend: str, **kwargs: Any) -> None:
    """Every batch size gives the reference's log-probabilities (1e-4) and texts."""
    model = load_base(base, backend)
    if "peft" in kwargs:
        model = PeftModel.from_pretrained(model, kwargs["peft"]).eval()
    models = [load(base, size, **kwargs) for size in BATCH_SIZES]
    encoded = [models[0]._encode_pair(*r.args) for r in scoring_requests()]
    scores = [reference_score(model, backend, *pair) for pair in encoded]
    ends = (models[0].eot_token_id,)
    texts = []
    for request in generation_requests(STEPS):
        before = models[0].tok_encode(request.args[0])
        tokens = reference_answer(model, backend, before, STEPS, ends)
        texts.append(models[0].tok_decode(tokens).split("\n\n")[0])
    for size, one in zip(BATCH_SIZES, models, strict=True):
        answers = one.loglikelihood(scoring_requests(), disable_tqdm=True)
        assert [score for score, _ in answers] == pytest.approx(scores, abs=1e-4), size
        assert one.generate_until(generation_requests(STEPS), disable_tqdm=True) == texts, size


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backend", BASES)
def test_adapters(
    adapter: Callable[[str, str], tuple[Path, Path]], backend: str, method: str
) -> None:
    base, folder = adapter(backend, method)
    assert_right(base, backend, peft=str(folder))


@pytest.mark.parametrize("backend", BASES)
def test_base_models(request: pytest.FixtureRequest, backend: str) -> None:
    assert_right(request.getfixturevalue(BASES[backend]), backend)


@pytest.mark.parametrize("backend", BASES)
def test_greedy_flags_are_those_of_hf(request: pytest.FixtureRequest, backend: str) -> None:
    base = request.getfixturevalue(BASES[backend])
    stock = HFLM(str(base), batch_size=1, device="cpu")
    # The token that the model prefers, so that some answers are greedy ones.
    requests = scoring_requests()
    for i in range(0, len(requests), 3):
        context = requests[i].args[0]
        best = stock.generate_until([generation_requests(1)[i // 3]], disable_tqdm=True)[0]
        requests[i].arguments = (context, best or " yes")
    expected = stock.loglikelihood(requests, disable_tqdm=True)
    answers = load(base, 8).loglikelihood(requests, disable_tqdm=True)
    assert [greedy for _, greedy in answers] == [greedy for _, greedy in expected]
    if backend == "causal":  # the T5's favourite is no text
        assert any(greedy for _, greedy in answers)
