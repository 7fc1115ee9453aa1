"""Prompts that share what they begin with: the tree of tokens, and what a model says about it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from causal_models import CPU, IDS, LAYERS, MODELS, make
from hypothesis import given, settings
from hypothesis import strategies as st
from language_models import reference_answer, reference_score
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from valueeval.adapters.reading.causal import CausalReader
from valueeval.adapters.reading.equivalence import unsupported_reason
from valueeval.adapters.reading.token_tree import TokenTree, common_prefix
from valueeval.adapters.reading.tree_attention import TreeAttentionScorer
from valueeval.adapters.reading.types import EncodedPair, LoadedModel
from valueeval.adapters.runtime.batch_sizes import BatchLimits


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> Any:
    return make(MODELS[request.param])


def reader(model: Any, batch_size: int | None = 2) -> CausalReader:
    limits = BatchLimits(None, 40) if batch_size is None else BatchLimits(batch_size)
    return CausalReader(TreeAttentionScorer(LoadedModel(model, CPU)), limits)


def test_a_tree_by_hand() -> None:
    """In 7 7 8, 7 7 9 and 7 three tokens are shared or first, two are ends."""
    tree = TokenTree()
    paths = [tree.add(sequence) for sequence in ([7, 7, 8], [7, 7, 9], [7])]
    assert paths == [[0, 1, 2], [0, 1, 3], [0]]
    assert tree.tokens == [7, 7, 8, 9]
    assert tree.parents == [-1, 0, 1, 1]
    assert tree.depths == [0, 1, 2, 2]
    assert tree.visible().astype(int).tolist() == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [1, 1, 1, 0],
        [1, 1, 0, 1],  # not its sibling
    ]


def test_common_prefix() -> None:
    assert common_prefix([[1, 2, 3], [1, 2], [1, 2, 9]]) == [1, 2]
    assert common_prefix([[1, 2]]) == [1, 2]
    assert common_prefix([[1], []]) == []


sequences = st.lists(st.lists(st.integers(2, 5), min_size=1, max_size=6), min_size=1, max_size=6)


@given(sequences)
def test_every_sequence_is_a_path(asked: list[list[int]]) -> None:
    tree = TokenTree()
    for sequence in asked:
        path = tree.add(sequence)
        assert [tree.tokens[node] for node in path] == sequence
        assert [tree.parents[node] for node in path] == [-1, *path[:-1]]
    assert len(tree) == len({tuple(s[: i + 1]) for s in asked for i in range(len(s))})


prompts = st.tuples(
    st.lists(st.integers(2, 5), min_size=1, max_size=8),
    st.lists(st.integers(2, 5), min_size=1, max_size=3),
)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.lists(prompts, min_size=1, max_size=4), min_size=1, max_size=3))
def test_any_prompts_are_scored_as_one_by_one(
    model: Any, asked: list[list[tuple[list[int], list[int]]]]
) -> None:
    documents = [[EncodedPair(*pair) for pair in document] for document in asked]
    answers = reader(model).score("", documents)
    for document, results in zip(documents, answers, strict=True):
        expected = [reference_score(model, "causal", *encoded) for encoded in document]
        assert [score for score, _ in results] == pytest.approx(expected, abs=1e-4)


@settings(max_examples=6, deadline=None)
@given(st.lists(sequences, min_size=1, max_size=3))
def test_any_prompts_are_continued_as_one_by_one(model: Any, asked: list[list[list[int]]]) -> None:
    answers = reader(model).generate("", asked, 4, lambda tokens: tokens[-1] == 7)
    for document, results in zip(asked, answers, strict=True):
        for prompt, result in zip(document, results, strict=True):
            expected = reference_answer(model, "causal", prompt, 4, ends=(7,))
            assert [token for token in result if token != 7] == expected


def test_later_arguments_may_begin_otherwise(model: Any) -> None:
    """The shared beginning of a run's first prompts need not be that of all."""
    one = reader(model)
    documents = [
        [EncodedPair([3, 4, 5, 6], [7])],
        [EncodedPair([3, 4, 8], [9])],
        [EncodedPair([2], [3])],
    ]
    for document in documents:
        ((answer,),) = one.score("", [document])
        assert answer[0] == pytest.approx(reference_score(model, "causal", *document[0]), abs=1e-4)


def test_what_is_shared_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two arguments of two questions: the instruction once, each argument once."""
    model = make(MODELS["gpt2"])
    read, projected = [], []
    model.register_forward_pre_hook(
        lambda _, __, kwargs: read.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    model.lm_head.register_forward_hook(lambda _, __, out: projected.append(out.numel() // 60))
    instruction, argument = [2] * 10, [[3] * 5, [4] * 5]
    documents = [
        [
            EncodedPair([*instruction, *text, question], [answer])
            for question in (5, 6)
            for answer in (7, 8)
        ]
        for text in argument
    ]
    reader(model).score("", documents)
    assert read == [10, 2 * (5 + 2)]
    # One place each where an answer is scored, and one that the instruction's pass must have.
    assert projected == [1, 4]


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (
            lambda: BloomForCausalLM(BloomConfig(hidden_size=32, n_layer=2, n_head=2, **IDS)),
            "bloom",
        ),
        (
            lambda: GPTNeoForCausalLM(
                GPTNeoConfig(
                    hidden_size=32, num_layers=2, num_heads=2,
                    attention_types=[[["global", "local"], 1]], **IDS,
                )
            ),
            "local attention",
        ),
        (
            lambda: MambaForCausalLM(MambaConfig(hidden_size=32, num_hidden_layers=2, **IDS)),
            "mamba",
        ),
        (
            lambda: MistralForCausalLM(MistralConfig(sliding_window=8, **LAYERS, **IDS)),
            "differently",
        ),
    ],
    ids=["bloom", "gpt_neo", "mamba", "window"],
)  # fmt: skip
def test_models_that_cannot_share_are_found_out(build: Any, reason: str) -> None:
    assert reason in str(unsupported_reason(LoadedModel(make(build), CPU)))


@pytest.mark.parametrize("name", MODELS)
def test_models_that_can_are_found_out_too(name: str) -> None:
    assert unsupported_reason(LoadedModel(make(MODELS[name]), CPU)) is None


def test_half_precision_is_near(model: Any) -> None:
    documents = [[EncodedPair([3, 4, 5, 6], [7]), EncodedPair([3, 4, 5, 2], [7, 8])]]
    exact = reader(model).score("", documents)
    half = reader(make(lambda: type(model)(model.config)).to(torch.bfloat16))
    for (a, _), (b, _) in zip(exact[0], half.score("", documents)[0], strict=True):
        assert b == pytest.approx(a, rel=0.1)
