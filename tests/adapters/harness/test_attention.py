"""The ways to compute attention: what each allows stands in the results; none is changed unseen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from language_models import scoring_requests
from transformers import AttentionInterface

from valueeval.adapters.harness.language_model_lm import LanguageModelLM
from valueeval.tasks.errors import ValueEvalError

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def causal_alone(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **_: Any
) -> tuple[torch.Tensor, None]:
    """Attention as flash attention's: causal, whatever mask there is."""
    visible = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool)
    visible = visible.tril(key.shape[2] - query.shape[2])
    output = torch.nn.functional.scaled_dot_product_attention(query, key, value, visible)
    return output.transpose(1, 2), None


AttentionInterface.register("causal_alone", causal_alone)


@pytest.mark.parametrize(
    ("attention", "name", "reason"),
    [
        ("sdpa", "shared_passes", None),
        ("eager", "shared_passes", None),
        (
            "causal_alone",
            "cache_copies",
            "attn_implementation=causal_alone: prompts share a pass with eager and sdpa alone",
        ),
    ],
)
def test_results_say_how_prompts_were_read(
    attention: str, name: str, reason: str | None, tiny_gpt2: Path, caplog: pytest.LogCaptureFixture
) -> None:
    usual = LanguageModelLM(str(tiny_gpt2), batch_size=2, device="cpu")
    expected = [score for score, _ in usual.loglikelihood(scoring_requests(), disable_tqdm=True)]
    model = LanguageModelLM(
        str(tiny_gpt2), batch_size=2, device="cpu", attn_implementation=attention
    )
    assert model.get_model_info()["reading"] == {
        "name": name,
        "reason": reason,
        "attention": attention,
        "batch_size": 2,
    }
    assert (reason is None) or (reason in caplog.text)
    found = [score for score, _ in model.loglikelihood(scoring_requests(), disable_tqdm=True)]
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("attention", ["flash_attention_2", "no_such_attention"])
def test_attention_that_is_not_there_is_refused(attention: str, tiny_gpt2: Path) -> None:
    """Another is not taken in its place."""
    with pytest.raises(ValueEvalError, match=f"attn_implementation={attention}: it cannot be used"):
        LanguageModelLM(str(tiny_gpt2), device="cpu", attn_implementation=attention)
