"""Prompts that share what they begin with, by copies of a cache: for models without a mask."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from causal_models import CPU, IDS, LAYERS, MODELS, make
from language_models import (
    METHODS,
    generation_requests,
    load_base,
    reference_answer,
    reference_score,
    scoring_requests,
    write_lively,
    write_peft,
)
from peft import PeftModel
from transformers import (
    AttentionInterface,
    BloomConfig,
    BloomForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from valueeval.adapters.harness.language_model_lm import LanguageModelLM
from valueeval.adapters.reading import cache_copy
from valueeval.adapters.reading.cache_copy import CacheCopyScorer
from valueeval.adapters.reading.causal import CausalReader
from valueeval.adapters.reading.equivalence import unsupported_reason
from valueeval.adapters.reading.token_tree import ArgumentTree
from valueeval.adapters.reading.tree_attention import TreeAttentionScorer
from valueeval.adapters.reading.types import EncodedPair, LoadedModel
from valueeval.adapters.runtime.batch_sizes import BatchLimits

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
END = 7


def unmasked(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **_: Any
) -> tuple[torch.Tensor, None]:
    """Attention as flash attention's: causal, the last query beside the last key; no mask."""
    assert mask is None
    repeats = query.shape[1] // key.shape[1]
    key, value = (part.repeat_interleave(repeats, dim=1) for part in (key, value))
    visible = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool)
    visible = visible.tril(key.shape[2] - query.shape[2])
    output = torch.nn.functional.scaled_dot_product_attention(query, key, value, visible)
    return output.transpose(1, 2), None


AttentionInterface.register("unmasked", unmasked)
WITHOUT_MASK: dict[str, Any] = {
    "flash": lambda: LlamaForCausalLM(
        LlamaConfig(attn_implementation="unmasked", **LAYERS, **IDS)
    ),
    "bloom": lambda: BloomForCausalLM(
        BloomConfig(hidden_size=32, n_layer=2, n_head=2, initializer_range=0.3, **IDS)
    ),
    "gpt_neo": lambda: GPTNeoForCausalLM(
        GPTNeoConfig(
            hidden_size=32, num_layers=2, num_heads=2, window_size=4, initializer_range=0.3,
            attention_types=[[["global", "local"], 1]], **IDS,
        )
    ),
    "window": lambda: MistralForCausalLM(MistralConfig(sliding_window=4, **LAYERS, **IDS)),
    "state": lambda: Lfm2ForCausalLM(
        Lfm2Config(layer_types=["conv", "full_attention"], **LAYERS, **IDS)
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params={**MODELS, **WITHOUT_MASK})
def model(request: pytest.FixtureRequest) -> Any:
    return make({**MODELS, **WITHOUT_MASK}[request.param])


@pytest.fixture
def gpt2() -> Any:
    return make(MODELS["gpt2"])


def reader(model: Any, batch_size: int | None = 3) -> CausalReader:
    limits = BatchLimits(None, 40) if batch_size is None else BatchLimits(batch_size)
    return CausalReader(CacheCopyScorer(LoadedModel(model, CPU)), limits)


def documents(seed: int = 0) -> list[list[EncodedPair]]:
    """Five arguments after one instruction; questions, answers, and the same without argument."""
    rng = random.Random(seed)  # noqa: S311

    def tokens(least: int, most: int) -> list[int]:
        return [rng.randrange(2, 60) for _ in range(rng.randint(least, most))]

    instruction = tokens(7, 7)
    made = []
    for _ in range(5):
        argument, none = instruction + tokens(1, 12), instruction + tokens(2, 2)
        question = argument + tokens(1, 3)
        document = [EncodedPair(argument + tokens(1, 4), tokens(1, 3)) for _ in range(4)]
        document += [EncodedPair(question, tokens(1, 1)) for _ in range(2)]
        document += [EncodedPair(argument, tokens(n, n)) for n in (1, 2, 3)]
        document += [EncodedPair(none, tokens(2, 2)) for _ in range(2)]
        made.append([*document, document[0]])
    return made


def assert_right(model: Any, reader: CausalReader, asked: list[list[EncodedPair]]) -> None:
    """Compared with the model's own forward pass, one prompt at a time."""
    for document, results in zip(asked, reader.score("", asked), strict=True):
        expected = [reference_score(model, "causal", *encoded) for encoded in document]
        assert [score for score, _ in results] == pytest.approx(expected, abs=1e-4)
    prompts = [[encoded.context for encoded in document] for document in asked]
    answers = reader.generate("", prompts, 4, lambda tokens: tokens[-1] == END)
    for document, results in zip(prompts, answers, strict=True):
        for prompt, result in zip(document, results, strict=True):
            expected = reference_answer(model, "causal", prompt, 4, ends=(END,))
            assert [token for token in result if token != END] == expected


@pytest.mark.parametrize("batch_size", [1, 3, None])
def test_scores_and_answers_are_those_of_one_by_one(model: Any, batch_size: int | None) -> None:
    assert_right(model, reader(model, batch_size), documents())


def test_greedy_continuations_are_known(model: Any) -> None:
    before = [3, 4, 5]
    best = reference_answer(model, "causal", before, 3, ends=())
    other = [*best[:2], best[2] ^ 1]
    asked = [EncodedPair(before, tokens) for tokens in (best, best[:1], other)]
    (answers,) = reader(model).score("", [asked])
    assert [greedy for _, greedy in answers] == [True, True, False]


@pytest.mark.parametrize("seed", range(1, 4))
def test_few_tokens_in_a_cache(gpt2: Any, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions are read a few at a time where a cache of all would be too large."""
    most = 60
    monkeypatch.setattr(cache_copy, "_HELD_TOKENS", most)
    held = []

    def count(_: Any, __: Any, kwargs: dict[str, Any]) -> None:
        rows, width = kwargs["input_ids"].shape
        past = kwargs["past_key_values"]
        held.append(rows * (width + (past.get_seq_length() if past else 0)))

    one = reader(gpt2, 1)
    hook = gpt2.register_forward_pre_hook(count, with_kwargs=True)
    one.score("", documents(seed))
    hook.remove()
    assert most / 2 < max(held) <= most
    assert_right(gpt2, one, documents(seed))


def test_what_is_shared_is_read_once(gpt2: Any) -> None:
    """Two arguments of equal length: the instruction, both arguments, both questions of both."""
    read = []
    gpt2.register_forward_pre_hook(
        lambda _, __, kwargs: read.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    asked = [
        [EncodedPair([2] * 10 + text + [q, q], [answer]) for q in (5, 6) for answer in (7, 8)]
        for text in ([3] * 5, [4] * 5)
    ]
    reader(gpt2).score("", asked)
    assert read == [(1, 10), (2, 5), (4, 2)]


def stems(*prompts: list[int], spare: int = 0) -> list[tuple[int, int]]:
    """Length and number of prompts of each stem of a unit."""
    tree = ArgumentTree()
    for prompt in prompts:
        tree.add_prompt(prompt, [0])
    ends = [[one.nodes[-1] for one in tree.continuations]]
    return [(s.length, len(s.prompts)) for s in cache_copy._stems([tree], ends, spare)]


def test_stems_by_hand() -> None:
    argument, none = [1, 2, 3, 4, 5], [9, 8]
    questions = [[*argument, q, q] for q in (6, 7, 8)]
    assert stems(*questions) == [(5, 3)]
    assert stems(questions[0]) == [(0, 1)]  # shared with nothing
    names = [[*where, n] for where in (argument, none) for n in (6, 7, 8)]
    assert stems(*names) == [(5, 3), (2, 3)]
    # 3 + 2 tokens apart; together, with nothing shared, 6
    assert stems([1, 2, 3], [4, 5]) == [(0, 1), (0, 1)]
    # a prompt to continue is never all stem
    assert stems(argument, [*argument, 6], spare=1) == [(4, 2)]
    assert stems(argument, [*argument, 6]) == [(5, 2)]


def test_stems_of_one_length_are_read_together() -> None:
    """Cut to one length if that costs little: here the tokens after the cut, for three prompts."""
    trees = []
    for first, length in ((1, 40), (2, 39), (3, 20)):
        tree = ArgumentTree()
        for question in (4, 5, 6):
            tree.add_prompt([first] * length + [question] * 4, [0])
        trees.append(tree)
    ends = [tree.leaves() for tree in trees]
    groups = list(cache_copy._groups(cache_copy._stems(trees, ends, 0)))
    assert [[stem.length for stem in group] for group in groups] == [[39, 39], [20]]


def test_half_precision_is_near(gpt2: Any) -> None:
    asked = documents()
    half = reader(make(lambda: type(gpt2)(gpt2.config)).to(torch.bfloat16)).score("", asked)
    for exact, near in zip(reader(gpt2).score("", asked), half, strict=True):
        assert [b for b, _ in near] == pytest.approx([a for a, _ in exact], rel=0.1)


@pytest.mark.parametrize("method", [None, *METHODS])
def test_adapters(tiny_gpt2: Path, tmp_path: Path, method: str | None) -> None:
    """Soft prompts and LoRA, in lm-eval's model: scores and texts of an unpadded reference."""
    base = write_lively(tmp_path / "base", tiny_gpt2, "causal")
    plain = load_base(base, "causal")
    options: dict[str, Any] = {}
    if method:
        options["peft"] = str(write_peft(tmp_path / "adapter", base, "causal", method))
        plain = PeftModel.from_pretrained(plain, options["peft"]).eval()
    one = LanguageModelLM(str(base), batch_size=2, device="cpu", **options)
    copy = CausalReader(CacheCopyScorer(one.loaded()), one.batch_limits())
    one._readers = replace(one._readers, near=copy)
    pairs = [one._encode_pair(*request.args) for request in scoring_requests()]
    scores = [reference_score(plain, "causal", *pair) for pair in pairs]
    answers = one.loglikelihood(scoring_requests(), disable_tqdm=True)
    assert [score for score, _ in answers] == pytest.approx(scores, abs=1e-4)
    texts = []
    for request in generation_requests():
        before = one.tok_encode(request.args[0])
        tokens = reference_answer(plain, "causal", before, 8, (one.eot_token_id,))
        texts.append(one.tok_decode(tokens).split("\n\n")[0])
    assert len(set(texts)) > len(texts) / 2
    assert one.generate_until(generation_requests(), disable_tqdm=True) == texts


@pytest.mark.parametrize("name", WITHOUT_MASK)
def test_the_probe_knows_the_way(name: str) -> None:
    model = make(WITHOUT_MASK[name])
    assert unsupported_reason(LoadedModel(model, CPU)) is not None
    assert unsupported_reason(LoadedModel(model, CPU), CacheCopyScorer) is None


def test_a_model_that_keeps_nothing_is_found_out() -> None:
    """Mamba keeps its states under a name of its own."""
    model = make(lambda: MambaForCausalLM(MambaConfig(hidden_size=32, num_hidden_layers=2, **IDS)))
    reason = unsupported_reason(LoadedModel(model, CPU), CacheCopyScorer)
    assert reason is not None
    assert "mamba" in reason


def test_a_model_that_answers_otherwise_is_found_out(
    gpt2: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_copy, "_copied", lambda past, rows: None)
    reason = unsupported_reason(LoadedModel(gpt2, CPU), CacheCopyScorer)
    assert reason is not None
    assert "answers differently" in reason


def test_gradients_are_those_of_the_tree(gpt2: Any) -> None:
    """So models without a mask can be trained on templates, too."""
    gradients = []
    for scorer in (TreeAttentionScorer, CacheCopyScorer):
        gpt2.zero_grad()
        one = CausalReader(scorer(LoadedModel(gpt2, CPU)), BatchLimits(1))
        said = one.log_likelihoods(documents())
        (said * torch.arange(len(said))).sum().backward()
        gradients.append([parameter.grad.clone() for parameter in gpt2.parameters()])
    for tree, copies in zip(*gradients, strict=True):
        torch.testing.assert_close(copies, tree, rtol=1e-3, atol=1e-3)
