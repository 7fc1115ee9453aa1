"""Reading together gives a model's own answers, up to its rounding."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from language_models import load_base
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from valueeval.adapters.reading.cache_copy import CacheCopyScorer
from valueeval.adapters.reading.equivalence import _Comparison, unsupported_reason
from valueeval.adapters.reading.float32_pass import NoFloat32PassError, in_float32
from valueeval.adapters.reading.tree_attention import TreeAttentionScorer
from valueeval.adapters.reading.types import LoadedModel

CPU = torch.device("cpu")
HALF = [torch.bfloat16, torch.float16]


def llama(seed: int = 0) -> Any:
    """A small Llama with weights so large that half precision rounds by much."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=300, hidden_size=64, intermediate_size=128, num_hidden_layers=6,
        num_attention_heads=4, num_key_value_heads=2, initializer_range=0.3,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def comparison(together: list[float], reference: list[float] | None, rounded: bool) -> _Comparison:
    return _Comparison(together, [0.1, -0.1, 0.1, -0.1], reference, rounded, spread=1.0)


ZERO = [0.0] * 4


@pytest.mark.parametrize(
    ("found", "equivalent"),
    [
        (comparison([0.2, -0.2, 0.2, -0.2], ZERO, True), True),  # twice as far as the model's own
        (comparison([0.4, -0.4, 0.4, -0.4], ZERO, True), False),  # four times
        (comparison([math.nan, 0, 0, 0], ZERO, True), False),
        (comparison([0.1009, -0.1, 0.1, -0.1], None, False), True),
        (comparison([0.102, -0.1, 0.1, -0.1], None, False), False),
        (comparison([0.149, -0.1, 0.1, -0.1], None, True), True),  # quantised weights
        (comparison([0.151, -0.1, 0.1, -0.1], None, True), False),
    ],
)
def test_how_far_from_the_models_own_answers(found: _Comparison, equivalent: bool) -> None:
    assert found.equivalent() is equivalent


@pytest.mark.parametrize("scorer", [TreeAttentionScorer, CacheCopyScorer])
@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("seed", range(3))
def test_rounding_alone_is_no_difference(
    scorer: type[TreeAttentionScorer], dtype: torch.dtype, seed: int
) -> None:
    """By a fixed tolerance they could not all be told from a mask that is not kept."""
    assert unsupported_reason(LoadedModel(llama(seed).to(dtype), CPU), scorer) is None


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
def test_a_mask_that_is_not_kept_is_a_difference(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Questions about an argument then see each other."""
    model = llama().to(dtype)
    forward = model.model.forward

    def forget(*args: Any, attention_mask: Any = None, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.model, "forward", forget)
    reason = unsupported_reason(LoadedModel(model, CPU))
    assert reason == "llama answers differently when prompts share what they begin with"


@pytest.mark.parametrize("dtype", HALF)
def test_a_pass_in_float32_leaves_the_model_as_it_was(dtype: torch.dtype) -> None:
    model = llama().to(dtype)
    before = {name: (one.data_ptr(), one.clone()) for name, one in model.named_parameters()}
    ids = torch.arange(20)[None]
    with torch.no_grad():
        half = model(ids).logits
        with in_float32(model):
            exact = model(ids).logits
        expected = llama().to(dtype).float()(ids).logits
        assert exact.dtype == torch.float32
        torch.testing.assert_close(exact, expected, rtol=0, atol=0)
        torch.testing.assert_close(model(ids).logits, half, rtol=0, atol=0)
    for name, one in model.named_parameters():
        address, values = before[name]
        assert one.dtype == dtype
        assert one.data_ptr() == address
        assert torch.equal(one, values)


def test_an_error_in_the_pass_leaves_the_model_as_it_was() -> None:
    model = llama().to(torch.bfloat16)
    with pytest.raises(IndexError), in_float32(model):
        model(torch.tensor([[999]]))
    model.model.layers[3].mlp.register_forward_pre_hook(stop)
    with pytest.raises(RuntimeError, match="stop"), in_float32(model):
        model(torch.tensor([[1]]))
    assert {one.dtype for one in model.parameters()} == {torch.bfloat16}


def stop(*_: object) -> None:
    raise RuntimeError("stop")


def test_weights_that_cannot_be_float32() -> None:
    quantised = llama()
    quantised.model.layers[0].mlp.up_proj.weight = nn.Parameter(
        torch.zeros(3, dtype=torch.uint8), requires_grad=False
    )
    with pytest.raises(NoFloat32PassError, match="quantised"), in_float32(quantised):
        pass
    with pytest.raises(NoFloat32PassError, match="memory"), in_float32(llama().to("meta")):
        pass


def test_an_encoder_decoder_in_half_precision(tiny_t5: Any) -> None:
    model = load_base(tiny_t5, "seq2seq").eval().to(torch.bfloat16)
    assert unsupported_reason(LoadedModel(model, CPU, backend="seq2seq")) is None
