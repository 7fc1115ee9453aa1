"""Short runs with a template, and what their adapters answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from training import (
    harness_answers,
    load_lm,
    scores_of,
)
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
)

from valueeval.adapters.classifier.classifier import load_tokenizer
from valueeval.adapters.directory.base import fetch_base
from valueeval.adapters.directory.manifest import Manifest
from valueeval.adapters.directory.manifest_file import read_manifest
from valueeval.adapters.harness.language_model_lm import LanguageModelLM
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.harness.questions import load_task, questions
from valueeval.tasks.harness.requests import ValueRequest
from valueeval.train.config.config import TrainConfig
from valueeval.train.options import configure
from valueeval.train.templates.language_model import (
    build_language_model,
    end_of_answer,
    harness_model,
    questions_of,
)
from valueeval.train.templates.questions import answered, instruction
from valueeval.train.templates.verbaliser import Verbaliser

CPU = torch.device("cpu")


SOFT_PROMPTS = ("prompt-tuning", "p-tuning", "prefix-tuning")


def config_of(base: Path, data_dir: Path, output: Path, **options: Any) -> TrainConfig:
    return configure(
        output=str(output), base=str(base), data_dir=str(data_dir), precision="float32",
        batch_size=2, epochs=1, **options,
    )  # fmt: skip


def in_training(
    config: TrainConfig, data_dir: Path
) -> tuple[Verbaliser, Any, list[list[ValueRequest]]]:
    """A model about to be trained, what it reads, and the requests of its task."""
    folder = fetch_base(config.base)
    words = instruction(config.template)
    network = build_language_model(config, folder, words, CPU).eval()
    task = load_task(config.template.name, 1, "validation", str(data_dir))
    lm = harness_model(network, load_tokenizer(folder.path))
    data = load_set("validation", data_dir)
    asked = questions_of(lm, task, data, config)
    requests = questions(task, data.arguments)
    if config.template.generated:
        requests = [
            answered(task, one, labels, end_of_answer(lm))
            for one, labels in zip(requests, data.labels, strict=True)
        ]
    return Verbaliser(network, config.template.name), (lm, asked), requests


def check_gradients(
    model: Verbaliser, backend: str, lm: Any, asked: Any, requests: list[list[ValueRequest]]
) -> None:
    weights = torch.linspace(-1, 1, 20)
    (model(**asked.batch([0], CPU)) * weights).sum().backward()
    ours = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    encoded = [prompt.tokens for prompt in lm.fit(requests[0])]
    for value, weight in enumerate(weights):
        said: dict[str, list[torch.Tensor]] = {"yes": [], "no": []}
        for request, one in zip(requests[0], encoded, strict=True):
            if request.value == value:
                score = plain_score(model.model, backend, one.context, one.continuation)
                said[request.role].append(score)
        yes, no = (torch.stack(said[role]).logsumexp(0) for role in ("yes", "no"))
        ((yes - no) * weight).backward()
    theirs = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert ours.keys() == theirs.keys()
    largest = max(float(grad.abs().max()) for grad in ours.values())
    assert largest > 1e-4
    for name, grad in ours.items():
        torch.testing.assert_close(grad, theirs[name], atol=1e-4 * largest, rtol=1e-3)


def plain_score(model: Any, backend: str, before: list[int], asked: list[int]) -> torch.Tensor:
    """Return `reference_score` by PEFT's own forward pass, with its gradient."""
    if backend == "seq2seq":
        ids = torch.tensor([before])
        logits = model(
            input_ids=ids, attention_mask=torch.ones_like(ids), labels=torch.tensor([asked])
        ).logits[0]
    else:
        logits = model(input_ids=torch.tensor([(before + asked)[:-1]])).logits[0, -len(asked) :]
    return logits.log_softmax(-1).gather(1, torch.tensor(asked)[:, None]).sum()


def check_adapter(folder: Path, template: str, data_dir: Path) -> Manifest:
    """The harness gives the manifest's scores, at every batch size."""
    manifest = read_manifest(folder)
    assert manifest.template == template
    assert manifest.head is None and manifest.input is None  # noqa: PT018
    for batch_size in (1, 8):
        answers = harness_answers(load_lm(folder, batch_size), template, data_dir)
        assert scores_of(answers, template, data_dir) == manifest.validation
    return manifest


def check_texts(
    folder: Path, base: Path, template: str, data_dir: Path, said: list[list[Any]]
) -> None:
    """The harness gets the answers that validation in training has got, at every batch size."""
    for batch_size in (1, 8):
        assert harness_answers(load_lm(folder, batch_size), template, data_dir) == said
    # The adapter has a say.
    plain = LanguageModelLM(str(base), batch_size=8, device="cpu")
    assert harness_answers(plain, template, data_dir) != said


CUES = {"yes": "#", "no": "~"}  # no prompt has them


def echoing_gpt2(tokenizer: Any) -> GPT2LMHeadModel:
    """Its first token tells it.

    Its hidden states hold three numbers, each as (x, -x), which layer norms leave centred: «is yes»
    (1 for one cue, -1 for the other, 0 for all else), «is at the start», and a constant. Every
    token attends to the start alone and copies «is yes» from there into a fourth number, of which
    the two answers' logits are multiples.
    """
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=4096, n_embd=8, n_layer=1, n_head=1,
        bos_token_id=1, eos_token_id=1, pad_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    is_yes, at_start, constant, copied = (
        torch.tensor([1.0 if i == 2 * n else -1.0 if i == 2 * n + 1 else 0.0 for i in range(8)])
        for n in range(4)
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".ln_" not in name:
                parameter.zero_()
        gpt2, attention = model.transformer, model.transformer.h[0].attn
        for sign, word in ((1, "yes"), (-1, "no")):
            gpt2.wte.weight[tokenizer.encode(CUES[word])[0]] = sign * is_yes
            model.lm_head.weight[tokenizer.encode(f" {word}")[0]] = sign * 10 * copied
        gpt2.wpe.weight[:] = constant
        gpt2.wpe.weight[0] += 3 * at_start
        _, key, value = attention.c_attn.weight.split(8, dim=1)
        attention.c_attn.bias[:8] = 30 * at_start  # what all tokens ask for
        key.copy_(torch.outer(at_start, at_start))
        value.copy_(torch.outer(is_yes, copied))
        attention.c_proj.weight.copy_(torch.eye(8))
    return model


def echoing_t5(tokenizer: Any) -> T5ForConditionalGeneration:
    """A cue anywhere in the encoder's text tells it, or what stands before the answer.

    Its hidden states hold «is yes» (as that of GPT-2), «is a cue», and a constant. The decoder
    attends to the cue alone and copies «is yes» from there into a fourth number, of which the two
    answers' logits are multiples; its tokens add nothing to that, but a prefix before them may.
    """
    config = T5Config(
        vocab_size=len(tokenizer), d_model=4, d_kv=4, d_ff=4, num_layers=1, num_heads=1,
        dropout_rate=0.0, decoder_start_token_id=0, eos_token_id=1, pad_token_id=0,
        tie_word_embeddings=False,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    is_yes, is_cue, constant, copied = torch.eye(4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layer_norm" not in name:
                parameter.zero_()
        model.shared.weight[:] = constant
        for sign, word in ((1, "yes"), (-1, "no")):
            model.shared.weight[tokenizer.encode(CUES[word])[0]] += is_cue + sign * is_yes
            model.lm_head.weight[tokenizer.encode(f" {word}")[0]] = sign * 10 * copied
        alone, across = (model.decoder.block[0].layer[i] for i in (0, 1))
        across.EncDecAttention.q.weight.copy_(30 * torch.outer(is_cue, constant))
        across.EncDecAttention.k.weight.copy_(torch.outer(is_cue, is_cue))
        across.EncDecAttention.v.weight.copy_(torch.outer(copied, is_yes))
        for attention in (alone.SelfAttention, across.EncDecAttention):
            attention.o.weight.copy_(torch.eye(4))
    return model


def talkative_t5(tokenizer: Any, texts: Sequence[str]) -> T5ForConditionalGeneration:
    """A model whose answer depends on the words of the argument.

    Its hidden states hold a constant, «is of the argument» (1 for tokens that none of the texts,
    which are instructions and questions, has), and a random name of the token. The decoder attends
    to the argument's tokens, adds the mean of their names to that of the token before, and says
    what a random projection of the sum gives.

    Args:
        tokenizer: The tokenizer.
        texts: What is said about every argument alike.
    """
    size = 24
    config = T5Config(
        vocab_size=len(tokenizer), d_model=size, d_kv=size, d_ff=4, num_layers=1, num_heads=1,
        dropout_rate=0.0, decoder_start_token_id=0, eos_token_id=1, pad_token_id=0,
        tie_word_embeddings=False,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    constant, of_argument = torch.eye(size)[:2]
    names = torch.eye(size)
    names[:2] = 0
    generator = torch.Generator().manual_seed(0)
    shared = sorted({token for text in texts for token in tokenizer.encode(text)})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layer_norm" not in name:
                parameter.zero_()
        embeddings = torch.randn(len(tokenizer), size, generator=generator) @ names
        embeddings += constant + of_argument
        embeddings[shared, 1] = 0.0
        model.shared.weight.copy_(embeddings)
        said = torch.randn(len(tokenizer), size, generator=generator) @ names
        said[tokenizer.all_special_ids] = 0
        model.lm_head.weight.copy_(said)
        across = model.decoder.block[0].layer[1].EncDecAttention
        across.q.weight.copy_(8 * torch.outer(of_argument, constant))
        across.k.weight.copy_(torch.outer(of_argument, of_argument))
        across.v.weight.copy_(4 * names)
        # What a prefix puts before the decoder is heard.
        for attention in (across, model.decoder.block[0].layer[0].SelfAttention):
            attention.o.weight.copy_(torch.eye(size))
    return model


def cue_of(echo: Path, all_yes: Path, output: Path, word: str, **options: Any) -> TrainConfig:
    """A soft prompt that starts as one of the two cues."""
    options = {"method": "prompt-tuning", "virtual_tokens": 1, "thresholds": "half", **options}
    return config_of(echo, all_yes, output, init=CUES[word], **options)
