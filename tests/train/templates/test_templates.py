"""Language models that answer templates: trained, written, and read again as the harness does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from language_models import load_base, reference_score, write_lively
from peft import PeftModel
from safetensors.torch import load_file
from training import (
    harness_answers,
    kill_training,
    load_lm,
    scores_of,
    shorten_answers,
    stop_training,
    train_noting_answers,
    write_language_model,
    write_small_data,
)
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    MistralConfig,
    T5Config,
    T5ForConditionalGeneration,
)

from valueeval.adapters.classifier.classifier import load_tokenizer
from valueeval.adapters.directory.base import fetch_base
from valueeval.adapters.directory.manifest import Manifest
from valueeval.adapters.directory.manifest_file import read_manifest
from valueeval.adapters.harness.language_model_lm import LanguageModelLM
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.harness.requests import ValueRequest
from valueeval.tasks.scores.scoring import score
from valueeval.tasks.templates.decide import decide
from valueeval.tasks.values import VALUES
from valueeval.train.cli import summary
from valueeval.train.command_line import parse_config
from valueeval.train.config.config import TrainConfig
from valueeval.train.config.model import GENERATED
from valueeval.train.methods.peft import prompt_embedding
from valueeval.train.objectives.losses import DistributionBalancedLoss, FocalLoss
from valueeval.train.options import changed, configure
from valueeval.train.run import train
from valueeval.train.templates.language_model import (
    build_language_model,
    end_of_answer,
    harness_model,
    questions_of,
)
from valueeval.train.templates.questions import answered, instruction, load_task, questions
from valueeval.train.templates.verbaliser import Verbaliser

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning"),
]
CPU = torch.device("cpu")
SOFT_PROMPTS = ("prompt-tuning", "p-tuning", "prefix-tuning")
FILES = {
    "README.md", "adapter_config.json", "adapter_model.safetensors", "metrics.jsonl",
    "valueeval.json",
}  # fmt: skip


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data"), 4, 3)


@pytest.fixture(scope="module")
def base(lively: Path) -> Path:
    return lively


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models hardly ever end what they say."""
    shorten_answers(monkeypatch)


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
    words = instruction(config.template.name, config.template.paraphrase)
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


@pytest.mark.parametrize("method", ["lora", *SOFT_PROMPTS])
@pytest.mark.parametrize("template", ["bca", "cls"])
def test_logits_in_training_are_the_scores_of_the_task(
    base: Path, data_dir: Path, tmp_path: Path, template: str, method: str
) -> None:
    config = config_of(base, data_dir, tmp_path / "x", template=template, method=method)
    model, (lm, asked), requests = in_training(config, data_dir)
    logits = model(**asked.batch(range(3), CPU)).detach().numpy()
    flat = [request for document in requests for request in document]
    answers = iter(lm.loglikelihood(flat, disable_tqdm=True))
    for row, document in zip(logits, requests, strict=True):
        decision = decide(template, [next(answers) for _ in document])
        np.testing.assert_allclose(row, decision.scores, atol=2e-4)


@pytest.mark.parametrize("method", ["lora", "prompt-tuning"])
def test_gradients_are_those_of_reading_every_prompt_alone(
    request: pytest.FixtureRequest, backend: str, data_dir: Path, tmp_path: Path, method: str
) -> None:
    """Shared prefixes, packed questions and cached instructions change no gradient."""
    # Not the lively models: their gradients grow float noise to the size of themselves.
    base = request.getfixturevalue({"causal": "tiny_gpt2", "seq2seq": "tiny_t5"}[backend])
    config = config_of(base, data_dir, tmp_path / "x", template="bca", method=method)
    model, (lm, asked), requests = in_training(config, data_dir)
    check_gradients(model, backend, lm, asked, requests)


@pytest.mark.parametrize(
    "config",
    [
        GPTNeoConfig(
            hidden_size=32, num_layers=2, num_heads=2, attention_types=[[["global", "local"], 1]],
            window_size=16, max_position_embeddings=4096,
        ),
        MistralConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, sliding_window=16,
        ),
    ],
    ids=["gpt_neo", "mistral"],
)  # fmt: skip
def test_gradients_of_attention_that_reaches_to_a_window(
    config: Any, tiny_gpt2: Path, data_dir: Path, tmp_path: Path
) -> None:
    """Prompts are longer than the window."""
    tokenizer = load_tokenizer(tiny_gpt2)
    config.update({"vocab_size": len(tokenizer), "bos_token_id": 1, "eos_token_id": 1})
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    options = {"template": "bca", "method": "lora"}
    model, (lm, asked), requests = in_training(
        config_of(tmp_path / "base", data_dir, tmp_path / "x", **options), data_dir
    )
    check_gradients(model, "causal", lm, asked, requests)


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
    """As `reference_score`, by PEFT's own forward pass, with its gradient."""
    if backend == "seq2seq":
        ids = torch.tensor([before])
        logits = model(
            input_ids=ids, attention_mask=torch.ones_like(ids), labels=torch.tensor([asked])
        ).logits[0]
    else:
        logits = model(input_ids=torch.tensor([(before + asked)[:-1]])).logits[0, -len(asked) :]
    return logits.log_softmax(-1).gather(1, torch.tensor(asked)[:, None]).sum()


@pytest.mark.parametrize("template", GENERATED)
def test_loss_of_text_is_that_of_its_tokens(
    base: Path, backend: str, data_dir: Path, tmp_path: Path, template: str
) -> None:
    options = {"pos_weight_power": 1.0} if template == "oa" else {}
    config = config_of(base, data_dir, tmp_path / "x", template=template, method="lora", **options)
    model, (lm, asked), requests = in_training(config, data_dir)
    losses = model(**asked.batch([1, 2], CPU)).tolist()
    labels = load_set("validation", data_dir).labels
    for row, loss in zip((1, 2), losses, strict=True):
        total, tokens = 0.0, 0.0
        for request, one in zip(
            requests[row], [prompt.tokens for prompt in lm.fit(requests[row])], strict=True
        ):
            weight = 1.0
            if request.value is not None and labels[row, request.value]:
                positives = int(labels[:, request.value].sum())
                weight = max((len(labels) - positives) / positives, 1e-3)
            said = reference_score(model.model, backend, *one)
            total, tokens = total - weight * said, tokens + weight * len(one.continuation)
        assert loss == pytest.approx(total / tokens, rel=1e-4)


def test_right_answers_end_and_hold_no_label_of_the_document(
    tiny_gpt2: Path, data_dir: Path
) -> None:
    task = load_task("cot", 1, "validation", str(data_dir))
    data = load_set("validation", data_dir)
    (request,) = answered(task, questions(task, data.arguments)[0], data.labels[0], "<end>")
    assert request.args[1].endswith("<end>")
    assert "labels" not in request.doc
    named = decide("cot", [request.args[1].removesuffix("<end>")]).prediction
    assert named == tuple(data.labels[0].tolist())


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


@pytest.mark.parametrize("method", ["lora", *SOFT_PROMPTS, "prompt+full"])
def test_every_method_reads_back(
    base: Path, backend: str, data_dir: Path, tmp_path: Path, method: str
) -> None:
    config = config_of(base, data_dir, tmp_path / "a", template="bca", method=method)
    train(config)
    manifest = check_adapter(tmp_path / "a", "bca", data_dir)
    files = {path.name for path in (tmp_path / "a").iterdir()}
    if method == "prompt+full":
        assert {"model.safetensors", "config.json", "tokenizer.json"} <= files
        assert manifest.parameters.trainable == manifest.parameters.total
        return
    assert files == FILES
    size = sum(p.numel() for p in load_base(base, backend).parameters())
    assert manifest.parameters.total == size + manifest.parameters.trainable
    # PEFT's own files, for whoever has nothing but PEFT.
    PeftModel.from_pretrained(load_base(base, backend), tmp_path / "a")
    held = load_file(tmp_path / "a" / "adapter_model.safetensors")
    if method == "prompt-tuning":
        assert [tuple(tensor.shape) for tensor in held.values()] == [(20, 32)]


@pytest.mark.parametrize("method", ["lora", *SOFT_PROMPTS])
@pytest.mark.parametrize("template", ["bca", "cls"])
def test_stock_peft_says_the_same(
    base: Path, backend: str, data_dir: Path, tmp_path: Path, template: str, method: str
) -> None:
    """One prompt at a time, by PEFT's own forward pass of the adapter's files."""
    config = config_of(base, data_dir, tmp_path / "a", template=template, method=method)
    manifest = train(config)
    check_against_stock_peft(config, backend, data_dir, manifest)


def check_against_stock_peft(
    config: TrainConfig, backend: str, data_dir: Path, manifest: Manifest
) -> None:
    base, folder, template = Path(config.base), Path(config.output), config.template.name
    if config.method.name == "prompt+full":
        stock = load_base(folder, backend)
    else:
        stock = PeftModel.from_pretrained(load_base(base, backend), folder).eval()
    _, (lm, _), requests = in_training(config, data_dir)
    with torch.no_grad():
        said = [
            [
                (float(plain_score(stock, backend, *one)), False)
                for one in [prompt.tokens for prompt in lm.fit(document)]
            ]
            for document in requests
        ]
    logits = np.array([decide(template, answers).scores for answers in said], dtype=np.float32)
    ours = harness_logits(folder, template, data_dir)
    cuts = np.array(manifest.thresholds.values)
    np.testing.assert_allclose(ours, logits - np.log(cuts / (1 - cuts)), atol=5e-4)
    truth = load_set("validation", data_dir).labels
    assert score(truth, manifest.thresholds.decide(logits)) == manifest.validation


def harness_logits(folder: Path, template: str, data_dir: Path) -> Any:
    """Logits less thresholds, (arguments, 20), by `--model valueeval`."""
    answers = harness_answers(load_lm(folder, 4), template, data_dir)
    return np.array([decide(template, document).scores for document in answers])


@pytest.mark.parametrize("method", ["lora", *SOFT_PROMPTS, "prompt+full"])
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_families_of_larger_models(
    family: str, method: str, tiny_bert: Path, data_dir: Path, tmp_path: Path
) -> None:
    """Grouped queries and rotary positions; a tokenizer that puts a beginning before every text."""
    base = write_language_model(tmp_path / "base", family, tiny_bert)
    config = config_of(base, data_dir, tmp_path / "a", template="bca", method=method)
    config = changed(config, max_tokens_per_microbatch=512, learning_rate=0.01)
    model, (lm, asked), requests = in_training(config, data_dir)
    check_gradients(model, "causal", lm, asked, requests)
    manifest = train(config)
    check_adapter(tmp_path / "a", "bca", data_dir)
    check_against_stock_peft(config, "causal", data_dir, manifest)


@pytest.fixture(scope="module")
def talkative(base: Path, backend: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model whose texts depend on the argument; those of the lively T5 do not."""
    if backend == "causal":
        return base
    folder = tmp_path_factory.mktemp("talkative")
    torch.manual_seed(1)
    config = T5Config.from_pretrained(base, initializer_factor=3.0)
    T5ForConditionalGeneration(config).save_pretrained(folder)
    load_tokenizer(base).save_pretrained(folder)
    return folder


# Far enough from where they start for other answers.
RATES = {"lora": 0.02, "prompt-tuning": 0.3, "p-tuning": 0.05, "prefix-tuning": 0.3}


@pytest.mark.parametrize(
    ("template", "method"),
    [(template, "lora") for template in ("cls", *GENERATED)]
    + [("cot", method) for method in SOFT_PROMPTS],
)
def test_every_template_reads_back(
    talkative: Path, backend: str, data_dir: Path, tmp_path: Path, template: str, method: str
) -> None:
    options = {"template": template, "method": method, "learning_rate": RATES[method]}
    _, said = train_noting_answers(config_of(talkative, data_dir, tmp_path / "a", **options))
    check_adapter(tmp_path / "a", template, data_dir)
    if template in GENERATED:
        check_texts(tmp_path / "a", talkative, template, data_dir, said)
        # So has the argument, but for a T5 that one long instruction makes say the same.
        assert (backend, template) == ("seq2seq", "mbc") or any(one != said[0] for one in said)


# ------------------------------------------------------------------- what soft prompts can learn

CUES = {"yes": "#", "no": "~"}  # no prompt has them


@pytest.fixture(scope="module")
def all_yes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small data; every argument has every value."""
    data = write_small_data(tmp_path_factory.mktemp("all-yes"), 4, 2)
    for split in ("training", "validation"):
        path = data / f"labels-{split}.tsv"
        header, *rows = path.read_text("utf-8").splitlines()
        ones = [row.split("\t")[0] + "\t1" * 20 for row in rows]
        path.write_text("\n".join([header, *ones]) + "\n", "utf-8")
    return data


@pytest.fixture(scope="module")
def echo(backend: str, tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says yes, again and again, or no, as a cue before the text tells it."""
    tokenizer = load_tokenizer(tiny_gpt2)
    tokenizer.add_tokens([" yes", " no"])
    model = echoing_t5(tokenizer) if backend == "seq2seq" else echoing_gpt2(tokenizer)
    folder = tmp_path_factory.mktemp("echo")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


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


def cue_of(echo: Path, all_yes: Path, output: Path, word: str, **options: Any) -> TrainConfig:
    """A soft prompt that starts as one of the two cues."""
    options = {"method": "prompt-tuning", "virtual_tokens": 1, "thresholds": "half", **options}
    return config_of(echo, all_yes, output, init=CUES[word], **options)


def test_a_soft_prompt_learns_what_the_frozen_model_can_say(
    echo: Path, all_yes: Path, tmp_path: Path
) -> None:
    """From the cue for no, which it repeats where nothing is learnt, to yes."""
    config = cue_of(echo, all_yes, tmp_path / "begun", "no", template="bca", learning_rate=1e-9)
    assert train(config).validation["macro_f1"] == 0.0
    config = changed(config, output=str(tmp_path / "learnt"), epochs=8, learning_rate=0.3)
    assert train(config).validation["macro_f1"] == 1.0
    first, last = first_and_last_loss(tmp_path / "learnt")
    assert last < 0.5 * first


@pytest.mark.parametrize("method", SOFT_PROMPTS)
def test_the_loss_of_every_soft_prompt_falls(
    echo: Path, backend: str, all_yes: Path, tmp_path: Path, method: str
) -> None:
    """From random virtual tokens, which say neither yes nor no for sure."""
    # Seeds with which p-tuning does not say yes before it is trained.
    seed = {"causal": 1, "seq2seq": 0}[backend]
    options = {"seed": seed} if method == "p-tuning" else {"init": "random"}
    config = config_of(
        echo, all_yes, tmp_path / "a", template="bca", method=method, virtual_tokens=4,
        thresholds="half", **options,
    )  # fmt: skip
    manifest = train(changed(config, epochs=8, learning_rate=0.1 if method == "p-tuning" else 0.3))
    first, last = first_and_last_loss(tmp_path / "a")
    assert last < 0.5 * first
    assert manifest.validation["macro_f1"] == 1.0


def first_and_last_loss(folder: Path) -> tuple[float, float]:
    """Of the epochs of a run."""
    first, *_, last = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    return json.loads(first)["loss"], json.loads(last)["loss"]


@pytest.mark.parametrize("word", CUES)
def test_answers_in_full_are_parsed_after_reading_back(
    echo: Path, all_yes: Path, tmp_path: Path, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Template mbc: 20 times yes, or no."""
    shorten_answers(monkeypatch, 20)
    config = cue_of(echo, all_yes, tmp_path / "a", word, template="mbc", thresholds="shrunk")
    manifest, said = train_noting_answers(changed(config, learning_rate=1e-9))
    assert [text.split() for (text,) in said] == [[word] * 20] * 2
    assert manifest.validation["unparsed"] == 0.0
    assert manifest.validation["macro_f1"] == (word == "yes")
    check_adapter(tmp_path / "a", "mbc", all_yes)
    for batch_size in (1, 8):
        assert harness_answers(load_lm(tmp_path / "a", batch_size), "mbc", all_yes) == said


@pytest.mark.parametrize("method", ["prompt-tuning", "prefix-tuning"])
def test_initialisations_differ_and_begin_as_they_say(
    base: Path, backend: str, data_dir: Path, tmp_path: Path, method: str
) -> None:
    """A soft prompt that starts from words is read like these words before the text.

    The text of the template is the instruction of the template that is asked.
    """
    if (backend, method) == ("seq2seq", "prefix-tuning"):
        pytest.skip("starts from random numbers alone, see the next test")
    tokenizer, plain = load_tokenizer(base), load_base(base, backend)
    words = plain.get_input_embeddings().weight.detach()
    task = load_task("cot", 1, "validation", str(data_dir))
    begun, said = {}, {}
    for init in ("random", "vocabulary", "template", "values", "some words"):
        config = config_of(base, data_dir, tmp_path / "x", template="cot", method=method, init=init)
        model, (lm, _), requests = in_training(config, data_dir)
        begun[init] = prompt_embedding(model.model).weight.detach()
        (one,) = [prompt.tokens for prompt in lm.fit(requests[0])]
        with torch.no_grad():
            said[init] = float(plain_score(model.model, backend, *one))
    kinds = list(begun.values())
    assert all(not torch.equal(a, b) for i, a in enumerate(kinds) for b in kinds[:i])

    def numbers(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    starts = {
        "template": words[numbers(task.config.description)[:20]],
        "values": torch.stack([words[numbers(value.short)].mean(dim=0) for value in VALUES]),
        "some words": words[(20 * numbers("some words"))[:20]],
    }
    for init, start in starts.items():
        assert said[init] == pytest.approx(said_after(plain, backend, start, *one), abs=1e-3)
    assert max(said[init] for init in starts) - min(said[init] for init in starts) > 1.0
    if method == "prompt-tuning":
        for init, start in starts.items():
            torch.testing.assert_close(begun[init], start)
        drawn = {init: (begun[init][:, None] == words).all(dim=2).any(dim=1) for init in begun}
        assert drawn["vocabulary"].all()
        assert not drawn["random"].any()


@torch.no_grad()
def said_after(
    model: Any, backend: str, start: torch.Tensor, before: list[int], asked: list[int]
) -> float:
    """As `reference_score`, with some embeddings before the text."""
    read = before if backend == "seq2seq" else (before + asked)[:-1]
    inputs = torch.cat([start, model.get_input_embeddings()(torch.tensor(read))])[None]
    more = {"labels": torch.tensor([asked])} if backend == "seq2seq" else {}
    logits = model(inputs_embeds=inputs, **more).logits[0, -len(asked) :]
    return float(logits.log_softmax(-1).gather(1, torch.tensor(asked)[:, None]).sum())


def test_a_prefix_before_an_answer_is_not_made_of_words(
    tiny_t5: Path, data_dir: Path, tmp_path: Path
) -> None:
    options = {"template": "bca", "method": "prefix-tuning", "init": "values"}
    with pytest.raises(ValueEvalError, match="whose prefix stands before the answer"):
        train(config_of(tiny_t5, data_dir, tmp_path / "x", **options))


@pytest.mark.parametrize("signal_of", ["SIGINT", "SIGKILL"])
def test_a_killed_run_goes_on_to_the_same_weights(
    tiny_t5: Path, data_dir: Path, tmp_path: Path, signal_of: str
) -> None:
    options = {"template": "bca", "method": "prompt+full", "checkpoint_seconds": 0.0}
    whole = config_of(tiny_t5, data_dir, tmp_path / "whole", **options)
    whole = changed(whole, epochs=2)
    train(whole)
    stopped = changed(whole, output=str(tmp_path / "stopped"))
    if signal_of == "SIGKILL":
        kill_training(stopped, 2)
    else:
        stop_training(stopped, 3)
    train(changed(stopped, resume=True))
    weights = [load_file(tmp_path / n / "model.safetensors") for n in ("whole", "stopped")]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--template bca", "method: 'full' trains a classifier head.*prompt\\+full"),
        ("--template bca --method head", "head'.*take --method prompt-tuning or lora"),
        ("--method prompt+full", "needs a --template"),
        ("--paraphrase 2", "no meaning without a --template"),
        ("--template bca --method lora --paraphrase 0", "paraphrase: 0; allowed: 1 or more"),
        ("--template bca --method lora --heads multiple", "heads: 'multiple' has no meaning"),
        (
            "--template cot --method lora --loss focal",
            "loss: 'focal' has no meaning with --template cot, .*take --template bca or cls",
        ),
        (
            "--template mbc --method lora --thresholds per-value",
            "thresholds: 'per-value' has no meaning with --template mbc, whose answers are text",
        ),
        (
            "--template mbc --method lora --pos_weight_power 1",
            "pos_weight_power: 1.0 has no meaning with --template mbc, .*take --template oa,",
        ),
        ("--template bca --method lora --dropout 0", "leave it out, or train without --template"),
        ("--template cls --method lora --contrastive joint", "contrastive: 'joint'"),
        ("--template oa --method lora --teacher A", "teacher: has no meaning with --template oa"),
        ("--template xyz --method lora", "template: 'xyz'; allowed: 'cls', 'mbc', 'bca'"),
    ],
)
def test_options_that_do_not_go_together(words: str, message: str) -> None:
    with pytest.raises(ValueEvalError, match=message):
        parse_config([*words.split(), "--output", "x"])


def test_an_encoder_cannot_answer_in_words(tiny_bert: Path, data_dir: Path, tmp_path: Path) -> None:
    config = config_of(tiny_bert, data_dir, tmp_path / "x", template="bca", method="lora")
    with pytest.raises(ValueEvalError, match=r"\(bert\) is no language model.*leave --template"):
        train(config)


def test_a_paraphrase_that_is_not_there(tiny_gpt2: Path, data_dir: Path, tmp_path: Path) -> None:
    config = config_of(
        tiny_gpt2, data_dir, tmp_path / "x", template="bca", method="lora", paraphrase=9
    )
    with pytest.raises(ValueEvalError, match="paraphrase: 9; allowed: 1 to 3"):
        train(config)


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parents[3] / "studies" / "training").glob("*.yaml"))
)
def test_configurations_of_studies_train_small_models_of_the_family(
    file: Path, request: pytest.FixtureRequest, data_dir: Path, tmp_path: Path
) -> None:
    assert f"[{file.name}](training/{file.name})" in (file.parents[1] / "README.md").read_text(
        "utf-8"
    )
    config = parse_config(["--config", str(file), "--output", str(tmp_path / "a")])
    family = file.name.partition("-")[0]
    if family == "qwen2.5":
        tiny = write_language_model(
            tmp_path / "tiny", "qwen2", request.getfixturevalue("tiny_gpt2")
        )
    else:
        tiny = request.getfixturevalue(f"tiny_{family}")
    base = write_lively(tmp_path / "base", tiny, "seq2seq" if family == "t5" else "causal")
    small = {"base": str(base), "revision": None, "epochs": 1, "batch_size": 2}
    config = changed(config, **small, data_dir=str(data_dir), precision="float32")
    _, said = train_noting_answers(config)
    assert (
        check_adapter(tmp_path / "a", config.template.name, data_dir).method == config.method.name
    )
    if config.template.generated:
        check_texts(tmp_path / "a", base, config.template.name, data_dir, said)


@pytest.mark.parametrize("template", ["bca", "cls"])
@pytest.mark.parametrize("loss", ["focal", "distribution-balanced"])
def test_every_loss_of_logits(
    tiny_gpt2: Path, data_dir: Path, tmp_path: Path, template: str, loss: str
) -> None:
    """They are those of a classifier, of the logits that log-likelihoods give."""
    config = config_of(tiny_gpt2, data_dir, tmp_path / "a", template=template, method="lora")
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    kind = {"focal": FocalLoss, "distribution-balanced": DistributionBalancedLoss}[loss]
    forward = kind.forward

    def noted(self: Any, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seen.append((logits, labels))
        return forward(self, logits, labels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "forward", noted)
        manifest = train(changed(config, loss=loss, epochs=1))
    assert (manifest.objective, manifest.config["loss"]) == (loss, loss)
    assert all(logits.shape == labels.shape and logits.shape[1] == 20 for logits, labels in seen)
    with pytest.raises(ValueEvalError, match=rf"another run \(.*loss '{loss}' there, 'bce' here"):
        train(changed(config, epochs=1, resume=True))


def test_what_an_earlier_version_did_not_write_down(
    tiny_gpt2: Path, data_dir: Path, tmp_path: Path
) -> None:
    """The loss of a template was bce and went without saying."""
    config = config_of(
        tiny_gpt2, data_dir, tmp_path / "a", template="bca", method="lora", checkpoint_seconds=0.0
    )
    config = changed(config, epochs=2)
    stop_training(config, 3)
    path = tmp_path / "a.training" / "run.json"
    run = json.loads(path.read_text("utf-8"))
    assert run["config"].pop("loss") == "bce"
    path.write_text(json.dumps(run), "utf-8")
    train(changed(config, resume=True))


def test_the_command_at_the_end_asks_as_training_did(
    tiny_gpt2: Path, data_dir: Path, tmp_path: Path
) -> None:
    config = config_of(
        tiny_gpt2, data_dir, tmp_path / "a", template="bca", method="lora", paraphrase=2
    )
    assert "\nlm_eval --tasks valueeval_bca_p2 --model valueeval" in summary(config, train(config))
