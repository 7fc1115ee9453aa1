"""--model valueeval for language models: the same answers as one prompt at a time."""

from __future__ import annotations

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
from little_memory import fails_beyond
from peft import PeftModel

from valueeval.adapters.harness.language_model_lm import LanguageModelLM
from valueeval.adapters.reading.types import EncodedPair

# PEFT 0.21 asks Transformers 5.23 by an old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

BATCH_SIZES = (1, 8, "auto")
STEPS = 6


# float32 rounds in other places with other batches and processors: 9e-6 of a log-likelihood of -18
# was seen with ATEN_CPU_CAPABILITY=default.
ROUNDING = {"rel": 2e-5, "abs": 1e-4}


@pytest.fixture(scope="module")
def base(lively: Path) -> Path:
    return lively


def load(base: Path, batch_size: int | str, **kwargs: Any) -> LanguageModelLM:
    return LanguageModelLM(str(base), batch_size=batch_size, device="cpu", **kwargs)


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
    assert len(set(texts)) > len(texts) / 2
    for size, one in zip(BATCH_SIZES, models, strict=True):
        answers = one.loglikelihood(scoring_requests(), disable_tqdm=True)
        assert [score for score, _ in answers] == pytest.approx(scores, **ROUNDING), size
        assert one.generate_until(generation_requests(STEPS), disable_tqdm=True) == texts, size


@pytest.mark.parametrize("method", METHODS)
def test_adapters(base: Path, backend: str, method: str, tmp_path: Path) -> None:
    adapter = write_peft(tmp_path / "adapter", base, backend, method)
    assert_right(base, backend, peft=str(adapter))


def test_base_models(base: Path, backend: str) -> None:
    assert_right(base, backend)


def test_greedy_continuations_are_known(base: Path, backend: str) -> None:
    plain, model = load_base(base, backend), load(base, 8)
    assert model._readers.near is not None
    for request in generation_requests():
        before = model.tok_encode(request.args[0])
        best = reference_answer(plain, backend, before, 3, ends=())
        other = [*best[:2], best[2] ^ 1]
        asked = [EncodedPair(before, tokens) for tokens in (best, best[:1], other)]
        (answers,) = model._readers.near.score("", [asked])
        assert [greedy for _, greedy in answers] == [True, True, False]


@pytest.mark.parametrize("batch_size", [8, "auto"])
def test_less_at_once_where_memory_runs_out(
    base: Path, backend: str, batch_size: int | str, caplog: pytest.LogCaptureFixture
) -> None:
    """With memory for two rows: the same answers, and nothing too large is tried again."""
    plain = load(base, 1)
    scores = [score for score, _ in plain.loglikelihood(scoring_requests(), disable_tqdm=True)]
    texts = plain.generate_until(generation_requests(STEPS), disable_tqdm=True)
    model = load(base, batch_size)
    tried = fails_beyond(model.model, 2)
    answers = model.loglikelihood(scoring_requests(), disable_tqdm=True)
    assert [score for score, _ in answers] == pytest.approx(scores, **ROUNDING)
    assert model.generate_until(generation_requests(STEPS), disable_tqdm=True) == texts
    what = "arguments" if backend == "causal" else "inputs"
    assert f"{what} at once: trying" in caplog.text
    failed = [rows for rows in tried if rows > 2]
    assert failed == sorted(set(failed), reverse=True) != []
