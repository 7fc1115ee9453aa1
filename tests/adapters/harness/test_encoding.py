"""Requests as tokens: tokenizers that append tokens, and tokens that span prompt and answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from language_models import (
    load_base,
    reference_answer,
    reference_score,
    request,
    scoring_requests,
    write_lively,
)
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from valueeval.adapters.harness.encoding import Encoder
from valueeval.adapters.harness.language_model_lm import LanguageModelLM
from valueeval.tasks.errors import ValueEvalError

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
END = 1  # of tiny_gpt2's tokenizer


def encoder(tokenizer: Any, add_bos_token: bool | None = None) -> Encoder:
    return Encoder(tokenizer, "causal", add_bos_token, END)


@pytest.fixture
def appending(tiny_gpt2: Path, tmp_path: Path) -> Path:
    """A model whose tokenizer makes ``<end> text <end>`` of a text."""
    folder = write_lively(tmp_path / "appending", tiny_gpt2, "causal")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    end = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{end} $A {end}", special_tokens=[(end, END)]
    )
    tokenizer.save_pretrained(folder)
    return folder


def test_what_a_tokenizer_appends_is_left_out(
    appending: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Scores and texts are those of prompts that begin with the token and do not end with it."""
    tokenizer = AutoTokenizer.from_pretrained(appending)
    assert tokenizer.encode("people")[-1] == END
    model = LanguageModelLM(str(appending), batch_size=2, device="cpu")
    assert "the tokenizer appends '<|endoftext|>' to every text" in caplog.text
    plain = load_base(appending, "causal")
    asked = scoring_requests()[:6]
    expected = []
    for one in asked:
        context, continuation = one.args
        before = tokenizer.encode(context, add_special_tokens=False)
        after = tokenizer.encode(context + continuation, add_special_tokens=False)[len(before) :]
        expected.append(reference_score(plain, "causal", [END, *before], after))
    scores = [score for score, _ in model.loglikelihood(asked, disable_tqdm=True)]
    assert scores == pytest.approx(expected, abs=1e-4)
    for settings in ({}, {"num_beams": 1}):  # by our decoding, and by generate()
        kwargs = {"until": [], "max_gen_toks": 4, "do_sample": False, **settings}
        prompts = ["people", "people who live there"]
        texts = model.generate_until(
            [request("generate_until", (prompt, dict(kwargs))) for prompt in prompts],
            disable_tqdm=True,
        )
        for prompt, text in zip(prompts, texts, strict=True):
            before = [END, *tokenizer.encode(prompt, add_special_tokens=False)]
            tokens = reference_answer(plain, "causal", before, 4, (END,))
            assert text == model.tok_decode(tokens)


def test_tokens_are_left_out_only_where_the_tokenizer_adds_them(appending: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(appending)
    plain = tokenizer.encode("people", add_special_tokens=False)
    assert encoder(tokenizer).appended == [END]
    assert encoder(tokenizer).encode_text("people") == [END, *plain]
    assert encoder(tokenizer).encode_text("people", add_special_tokens=False) == plain
    assert encoder(tokenizer, add_bos_token=False).appended == []
    assert encoder(tokenizer, add_bos_token=False).encode_text("people") == plain


class OtherWords:
    """A tokenizer whose tokens of a text differ where special tokens are added."""

    eos_token_id = END

    def decode(self, token: int) -> str:
        """Return a text that begins no other."""
        return "<end>"

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Return the same tokens for every text."""
        return [5, 6, END] if add_special_tokens else [7, 8]


def test_an_end_that_cannot_be_left_out_is_refused() -> None:
    with pytest.raises(ValueEvalError, match="add_bos_token=False"):
        encoder(OtherWords())
    assert encoder(OtherWords(), add_bos_token=False).encode_text("people") == [7, 8]


def test_a_token_that_spans_prompt_and_answer(tiny_gpt2: Path, tmp_path: Path) -> None:
    """The answer is encoded by itself; where hf can answer, its tokens are those of hf."""
    folder = write_lively(tmp_path / "spanning", tiny_gpt2, "causal")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["Answer: yes"])
    tokenizer.save_pretrained(folder)
    plain = load_base(folder, "causal")
    plain.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    plain.save_pretrained(folder)
    model = LanguageModelLM(str(folder), batch_size=2, device="cpu")
    context = "people\nAnswer:"
    before = tokenizer.encode(context)
    assert len(tokenizer.encode(context + " yes")) <= len(before)
    answers = ((" yes", tokenizer.encode(" yes")), (" no", tokenizer.encode(" no")))
    expected = [reference_score(plain, "causal", before, after) for _, after in answers]
    asked = [request("loglikelihood", (context, text)) for text, _ in answers]
    scores = [score for score, _ in model.loglikelihood(asked, disable_tqdm=True)]
    assert scores == pytest.approx(expected, abs=1e-4)
    (prompt,) = model._encoder.encode_document(asked[1:])
    assert tuple(prompt.tokens) == model._encode_pair(context, " no")


def _tokenizer(kind: str) -> Any:
    """Return a BPE of words, or of whole texts, with words marked in several ways."""
    special = {"unk_token": "<unk>", "eos_token": "<end>"}
    bpe = Tokenizer(models.BPE(unk_token=special["unk_token"]))
    if kind == "bytes":
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    elif kind == "marked words":
        bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    else:
        bpe.normalizer = normalizers.Replace(" ", "_")
    texts = ["people say that\nQuestion: is it so?\nAnswer: yes", "no people\nQuestion: are they?"]
    bpe.train_from_iterator(
        texts * 3, BpeTrainer(vocab_size=90, special_tokens=["<end>", special["unk_token"]])
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, **special)


@pytest.mark.parametrize(
    ("kind", "apart"), [("bytes", 16), ("marked words", 0), ("whole texts", 0)]
)
def test_prompts_that_begin_alike_have_the_tokens_of_each(kind: str, apart: int) -> None:
    """Their beginning is encoded once where tokens do not reach over the end of its last line."""
    tokenizer = _tokenizer(kind)
    station = Encoder(tokenizer, "causal", None, 0)
    contexts = [f"people say that\nQuestion: is {it} so?\nAnswer:" for it in ("it", "no", "this")]
    asked = [
        request("loglikelihood", (context, word))
        for context in contexts
        for word in (" yes", " no")
    ]
    prompts = station.encode_document(asked)
    for prompt, one in zip(prompts, asked, strict=True):
        context, word = one.args
        before, whole = tokenizer.encode(context), tokenizer.encode(context + word)
        assert prompt.tokens == (before, whole[len(before) :] or tokenizer.encode(word))
    assert station._seam([context for context in contexts for _ in "ab"]) == apart
    blanks = [f"people say that  \n  {it} so?" for it in ("it", "no", "this", "that")]
    assert station._seam(blanks) == 0
    texts = [one.tokens.context for one in station.encode_document(_to_generate(blanks))]
    assert texts == [tokenizer.encode(text) for text in blanks]


def _to_generate(prompts: list[str]) -> list[Any]:
    return [request("generate_until", (prompt, {"until": []})) for prompt in prompts]


def test_a_tokenizer_without_an_end_is_refused(tiny_gpt2: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_gpt2)
    tokenizer.eos_token = tokenizer.bos_token = None
    with pytest.raises(ValueEvalError, match="has no end-of-sequence token") as caught:
        LanguageModelLM(str(tiny_gpt2), tokenizer=tokenizer, device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("length", [0, -1, 10**30, "many"])
def test_no_length(tiny_gpt2: Path, length: int | str) -> None:
    with pytest.raises(ValueEvalError, match=r"max_length: .*; allowed: 1 to") as caught:
        LanguageModelLM(str(tiny_gpt2), max_length=length, device="cpu")
    assert len(str(caught.value)) < 100


def test_log_likelihoods_that_are_no_numbers_are_told(
    tiny_gpt2: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = LanguageModelLM(str(tiny_gpt2), batch_size=2, device="cpu")
    model.model.lm_head.weight.data.fill_(float("nan"))
    model.loglikelihood(scoring_requests()[:3], disable_tqdm=True)
    assert "3 of 3 log-likelihoods are not numbers and count as unparsed" in caplog.text
