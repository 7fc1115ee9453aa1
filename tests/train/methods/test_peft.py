"""PEFT methods on encoders: save and load, in stock PEFT and in ours, for every architecture."""

from __future__ import annotations

import json
import multiprocessing
import signal
import time
import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from fake_hub import FakeHub
from peft import PeftModel
from safetensors.torch import load_file
from torch import nn
from training import (
    ENCODERS,
    small_config,
    stop_training,
    write_encoder,
    write_language_model,
    write_small_data,
)
from transformers import AutoModel

from valueeval.adapters.classifier.classifier import (
    ValueClassifier,
    collate,
    load_backbone,
    load_classifier,
    load_tokenizer,
)
from valueeval.adapters.classifier.encoding import encode
from valueeval.adapters.directory.base import Base, fetch_base
from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.manifest_file import read_manifest
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.scoring import score
from valueeval.tasks.values import VALUES
from valueeval.train.build import INSTRUCTION, build_model
from valueeval.train.config.config import TrainConfig
from valueeval.train.methods import METHODS
from valueeval.train.methods.peft import prompt_embedding, word_embeddings
from valueeval.train.methods.prompt_initialisation import initial_embeddings, starting_embeddings
from valueeval.train.methods.soft_prompt import SoftPromptMethod
from valueeval.train.options import changed
from valueeval.train.run import train
from valueeval.train.storage.checkpoint import newest_step

PEFT_METHODS = ("lora", "prompt-tuning", "p-tuning", "prefix-tuning")
WITHOUT_PREFIXES = ("deberta-v2", "modernbert", "mpnet", "distilbert")
TRAINING, VALIDATION = 24, 12


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data"), TRAINING, VALIDATION)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("encoders")
    return {family: write_encoder(root / family, family, tiny_bert) for family in ENCODERS}


@pytest.fixture
def config(tiny_bert: Path, data_dir: Path, tmp_path: Path) -> TrainConfig:
    options = {"method": "lora", "epochs": 2, "batch_size": 8, "learning_rate": 0.05}
    return small_config(tmp_path / "adapter", tiny_bert, data_dir, **options)


def with_method(config: TrainConfig, method: str, **options: Any) -> TrainConfig:
    """The configuration with a method, and few virtual tokens where it has any."""
    if issubclass(METHODS[method], SoftPromptMethod):
        options = {"virtual_tokens": 5, **options}
    return changed(config, method=method, **options)


@pytest.mark.parametrize(
    ("method", "family"),
    [
        (method, family)
        for method in PEFT_METHODS
        for family in ENCODERS
        if method != "prefix-tuning" or family not in WITHOUT_PREFIXES
    ],
)
def test_saved_and_loaded_gives_the_same_scores(
    method: str, family: str, config: TrainConfig, encoders: dict[str, Path], data_dir: Path
) -> None:
    config = with_method(changed(config, base=str(encoders[family]), epochs=1), method)
    manifest = train(config)
    folder = Path(config.output)
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "head.safetensors",
        "metrics.jsonl", "valueeval.json",
    }  # fmt: skip
    validation = load_set("validation", data_dir)
    classifier = load_classifier(folder, device="cpu")
    one = classifier.logits(validation.arguments, batch_size=1)
    eight = classifier.logits(validation.arguments, batch_size=8)
    np.testing.assert_allclose(one, eight, atol=1e-5)
    for logits in (one, eight):
        assert score(validation.labels, manifest.thresholds.decide(logits)) == manifest.validation

    # In stock PEFT: its hidden states, virtual tokens left out, their mean, and the head's layer.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`")
        stock = PeftModel.from_pretrained(AutoModel.from_pretrained(config.base), folder).eval()
    head = load_file(folder / "head.safetensors")
    encoded = encode(classifier.tokenizer, validation.arguments, manifest.input)
    batch = collate(encoded, range(VALIDATION), 0)
    if issubclass(METHODS[method], SoftPromptMethod):
        batch.pop("token_type_ids", None)

    def logits_of(model: Any) -> Any:
        with torch.no_grad():
            hidden = model(**batch).last_hidden_state[:, -batch["input_ids"].shape[1] :]
        mask = batch["attention_mask"].unsqueeze(-1)
        pooled = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        return (pooled @ head["weight"].T + head["bias"]).numpy()

    np.testing.assert_allclose(one, logits_of(stock), atol=1e-4)
    # Without the adapter it would not say so.
    assert np.abs(one - logits_of(AutoModel.from_pretrained(config.base).eval())).max() > 5e-4


@pytest.mark.parametrize("family", WITHOUT_PREFIXES)
def test_prefix_tuning_is_refused_where_peft_has_none(
    family: str, config: TrainConfig, encoders: dict[str, Path]
) -> None:
    config = with_method(changed(config, base=str(encoders[family])), "prefix-tuning")
    with pytest.raises(ValueEvalError) as caught:
        train(config)
    assert f"prefix-tuning does not work on {family} encoders (" in str(caught.value)
    assert "take p-tuning" in str(caught.value)
    assert not Path(config.output).exists()


@pytest.mark.parametrize("method", ["lora", "prompt-tuning", "p-tuning"])
@pytest.mark.parametrize("family", ["distilbert", "electra", "mpnet"])
def test_other_families_train(
    method: str, family: str, config: TrainConfig, encoders: dict[str, Path]
) -> None:
    """Among them one whose word embeddings are narrower than its hidden states."""
    config = with_method(changed(config, base=str(encoders[family])), method)
    model = model_of(config)
    tokens = torch.tensor([[5, 6, 7]])
    model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).sum().backward()
    trained = [p for p in model.backbone.parameters() if p.requires_grad]
    assert trained
    assert all(p.grad is not None for p in trained)


def model_of(config: TrainConfig) -> ValueClassifier:
    base = Base(config.base, Path(config.base), None, "")
    assert config.classifier is not None
    return build_model(config, config.classifier, base, load_tokenizer(base.path))


@pytest.mark.parametrize(
    ("method", "options", "size"),
    [
        # A layer of width 32: four matrices of 32 x 32, two of 32 x 64; two layers.
        ("lora", {"lora_rank": 4}, 2 * 4 * (4 * (32 + 32) + 2 * (32 + 64))),
        ("prompt-tuning", {}, 5 * 32),
        ("p-tuning", {"prompt_hidden_size": 8}, 5 * 32 + 32 * 8 + 8 + 8 * 8 + 8 + 8 * 32 + 32),
        # Keys and values, 5 virtual tokens, 2 layers.
        ("prefix-tuning", {}, 2 * 5 * 2 * 32),
        (
            "prefix-tuning",
            {"prompt_hidden_size": 8},
            5 * 32 + 32 * 8 + 8 + 8 * 2 * 2 * 32 + 2 * 2 * 32,
        ),
    ],
)
def test_trainable_parameters_by_hand(
    method: str, options: dict[str, Any], size: int, config: TrainConfig
) -> None:
    model = model_of(with_method(config, method, **options))
    trained = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    assert sum(trained.values()) == size + 20 * 32 + 20
    whole = sum(p.numel() for p in load_backbone(Path(config.base)).parameters())
    assert sum(p.numel() for p in model.parameters()) == whole + size + 20 * 32 + 20


@pytest.mark.parametrize("method", ["prompt-tuning", "p-tuning", "prefix-tuning"])
def test_no_virtual_token_is_pooled(method: str, config: TrainConfig) -> None:
    """The first hidden state that is pooled is the text's, not the first virtual token's."""
    config = with_method(config, method, pooling="cls")
    model = model_of(config).eval()
    tokens = torch.tensor([[5, 6, 7]])
    mask = torch.ones_like(tokens)
    inputs = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": 1 - mask}
    with torch.no_grad():
        hidden = cast(Any, model.backbone)(input_ids=tokens, attention_mask=mask).last_hidden_state
        logits = model(**inputs)
    first = 0 if method == "prefix-tuning" else 5
    assert hidden.shape[1] == first + 3
    torch.testing.assert_close(model.hidden(**inputs), hidden[:, first:])
    expected = nn.functional.linear(hidden[:, first], model.head.weight, model.head.bias)
    torch.testing.assert_close(logits, expected)


def test_the_adapter_names_its_base_for_stock_peft(config: TrainConfig) -> None:
    train(changed(config, epochs=1))
    content = json.loads((Path(config.output) / "adapter_config.json").read_text("utf-8"))
    assert content["base_model_name_or_path"] == str(Path(config.base).resolve())
    assert content["revision"] is None
    assert content["task_type"] == "FEATURE_EXTRACTION"
    assert content["r"] == 8


def test_the_adapter_names_the_revision_of_a_base_on_the_hub(
    hub: FakeHub, config: TrainConfig
) -> None:
    """As its manifest and its card do: the main branch may have other weights by then."""
    commit = hub.add("org/bert", Path(config.base), ref="refs/pr/1")
    train(changed(config, epochs=1, base="org/bert", revision="refs/pr/1"))
    content = json.loads((Path(config.output) / "adapter_config.json").read_text("utf-8"))
    assert (content["base_model_name_or_path"], content["revision"]) == ("org/bert", commit)
    card = (Path(config.output) / "README.md").read_text("utf-8")
    assert f'AutoModel.from_pretrained("org/bert", revision="{commit}")' in card


def test_learns_and_leaves_the_base_as_it_is(config: TrainConfig) -> None:
    """The head hardly moves, so what is learnt is in the adapter."""
    before = (Path(config.base) / "model.safetensors").read_bytes()
    config = changed(config, head_learning_rate=1e-9, epochs=8, dropout=0.0)
    # What comes before the text moves a tiny random encoder but little.
    rates = {"lora": 0.01, "prompt-tuning": 1.0, "p-tuning": 0.1, "prefix-tuning": 1.0}
    for method in PEFT_METHODS:
        output = Path(config.output + method)
        train(with_method(changed(config, output=str(output), learning_rate=rates[method]), method))
        lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
        assert lines[-1]["loss"] < lines[0]["loss"], method
        names = load_file(output / "adapter_model.safetensors").keys()
        assert all("lora" in name or name == "prompt_embeddings" for name in names)
    assert (Path(config.base) / "model.safetensors").read_bytes() == before


def test_heads_of_their_own_on_an_adapter(config: TrainConfig, data_dir: Path) -> None:
    manifest = train(changed(config, heads="multiple", epochs=1))
    assert manifest.head is not None
    assert (manifest.head.kind, manifest.head.pooling) == ("multiple", "attention")
    validation = load_set("validation", data_dir)
    logits = load_classifier(config.output, "cpu").logits(validation.arguments, 4)
    assert score(validation.labels, manifest.thresholds.decide(logits)) == manifest.validation


def test_lm_eval_takes_it_for_a_classifier(config: TrainConfig, data_dir: Path) -> None:
    """And not for a language model, though it has PEFT's files."""
    from valueeval.adapters.harness.classifier_lm import ClassifierLM

    manifest = train(changed(config, epochs=1))
    model = ClassifierLM.create_from_arg_obj({"adapter": config.output}, {"device": "cpu"})
    assert isinstance(model, ClassifierLM)
    validation = load_set("validation", data_dir)
    decided = model.differences(validation.arguments) > 0
    assert score(validation.labels, decided) == manifest.validation
    assert model.get_model_info()["model_num_parameters"] == manifest.parameters.total


def test_contrastive_learning_beside_the_loss(config: TrainConfig, data_dir: Path) -> None:
    plain = train(config)
    joint = train(changed(config, contrastive="joint", output=config.output + "-joint"))
    assert (plain.objective, joint.objective) == ("bce", "bce+contrastive")
    assert joint.parameters == plain.parameters
    assert joint.weights_sha256 != plain.weights_sha256
    validation = load_set("validation", data_dir)
    logits = load_classifier(config.output + "-joint", "cpu").logits(validation.arguments, 4)
    assert score(validation.labels, joint.thresholds.decide(logits)) == joint.validation


def test_virtual_tokens_take_positions(config: TrainConfig) -> None:
    with pytest.raises(ValueEvalError, match=r"model and 5 virtual tokens: at most 507"):
        model_of(with_method(config, "p-tuning", max_length=508))


def test_refuses_an_adapter_without_its_weights(config: TrainConfig) -> None:
    train(changed(config, epochs=1))
    (Path(config.output) / "adapter_model.safetensors").unlink()
    with pytest.raises(ManifestError, match=r"adapter_model\.safetensors is missing"):
        load_classifier(config.output)


# ------------------------------------------------------------------------------------- resumed


@pytest.mark.parametrize(
    ("method", "options"),
    [("lora", {"contrastive": "joint", "contrastive_queue": 12}), ("p-tuning", {})],
)
def test_stopped_and_resumed_gives_the_same_adapter(
    method: str, options: dict[str, Any], config: TrainConfig
) -> None:
    config = changed(with_method(config, method, **options), checkpoint_seconds=0.0)
    whole = changed(config, output=config.output + "-whole")
    train(whole)
    stop_training(config, 4)
    (checkpoint,) = Path(config.output + ".training").glob("checkpoint-*")
    saved = load_file(checkpoint / "model.safetensors")
    assert not any(".layer.0.output.dense.weight" in name for name in saved)  # nothing frozen
    train(changed(config, resume=True))
    assert_same(Path(whole.output), Path(config.output))


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_adapter(config: TrainConfig) -> None:
    config = changed(config, checkpoint_seconds=0.0, resume=True, epochs=12)
    whole = changed(config, output=config.output + "-whole")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["valueeval.train.run"])

    def run(config: TrainConfig, last: int | None = None) -> int | None:
        """Train in a process of its own, killed as soon as it has a checkpoint of step `last`."""
        process = context.Process(target=train, args=(config,))
        process.start()
        deadline = time.monotonic() + 300
        while process.is_alive() and time.monotonic() < deadline:
            if last is not None and newest_step(Path(config.output + ".training")) >= last:
                process.kill()
            process.join(0.001)
        process.kill()
        process.join()
        return process.exitcode

    assert run(whole) == 0
    assert [run(config, last) for last in (3, 7, 11)] == 3 * [-signal.SIGKILL]
    assert run(config) == 0
    assert_same(Path(whole.output), Path(config.output))


def assert_same(one: Path, other: Path) -> None:
    for name in ("adapter_model.safetensors", "head.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    first, second = read_manifest(one), read_manifest(other)
    assert (first.thresholds, first.validation) == (second.thresholds, second.validation)


# ------------------------------------------------------------------------ where prompts start


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_a_text_fills_the_virtual_tokens_in_turn(tiny_bert: Path) -> None:
    tokenizer = load_tokenizer(tiny_bert)
    words = torch.arange(len(tokenizer)).float().unsqueeze(1)  # width 1: a word's own number
    numbers = tokenizer("for against", add_special_tokens=False)["input_ids"]
    n = len(numbers)
    got = initial_embeddings("for against", 2 * n + 1, words, tokenizer)
    assert got.flatten().tolist() == [*numbers, *numbers, numbers[0]]
    assert initial_embeddings("for against", 1, words, tokenizer).tolist() == [[numbers[0]]]
    with pytest.raises(ValueEvalError, match="at least one token"):
        initial_embeddings("", 3, words, tokenizer)


def test_the_template_stands_for_its_instruction(tiny_bert: Path) -> None:
    backbone, base = load_backbone(tiny_bert), fetch_base(str(tiny_bert))
    numbers = load_tokenizer(tiny_bert)(INSTRUCTION, add_special_tokens=False)["input_ids"]
    expected = word_embeddings(backbone)[numbers[:9]]
    got = starting_embeddings(backbone, "template", 9, base, INSTRUCTION)
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_each_virtual_token_is_the_mean_of_a_value(tiny_bert: Path) -> None:
    tokenizer = load_tokenizer(tiny_bert)
    words = torch.arange(len(tokenizer)).float().unsqueeze(1)
    got = initial_embeddings("values", 22, words, tokenizer).flatten()
    for token, value in enumerate((*VALUES, *VALUES[:2])):
        numbers = tokenizer(value.short, add_special_tokens=False)["input_ids"]
        assert got[token].item() == pytest.approx(np.mean(numbers), rel=1e-5)


def test_sampled_words_are_words(tiny_bert: Path) -> None:
    tokenizer = load_tokenizer(tiny_bert)
    words = torch.arange(len(tokenizer)).float().unsqueeze(1)
    got = initial_embeddings("vocabulary", 300, words, tokenizer).flatten().long().tolist()
    assert not {*tokenizer.all_special_ids} & {*got}
    for number in got:
        text = tokenizer.decode([number])
        assert text.strip()
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == [number]
    assert len(set(got)) > 50
    torch.manual_seed(1)
    other = initial_embeddings("vocabulary", 300, words, tokenizer).flatten().long().tolist()
    assert other != got


def test_words_of_a_real_vocabulary_are_whole_and_stand_for_something() -> None:
    """BERT's has a thousand «[unused…]», and pieces of words that begin with ##."""
    tokenizer = load_tokenizer(fetch_base("minilm").path)
    words = torch.arange(len(tokenizer)).float().unsqueeze(1)
    got = initial_embeddings("vocabulary", 500, words, tokenizer).flatten().long().tolist()
    assert len(set(got)) == 500
    assert not [w for w in tokenizer.convert_ids_to_tokens(got) if w.startswith(("[un", "##"))]


def test_random_numbers_are_like_the_word_embeddings(tiny_bert: Path) -> None:
    words = 3 + 0.1 * torch.randn(500, 8)
    got = initial_embeddings("random", 500, words, load_tokenizer(tiny_bert))
    assert got.mean().item() == pytest.approx(3, abs=0.02)
    assert got.std().item() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("method", ["prompt-tuning", "prefix-tuning"])
def test_initialisations_reach_the_model_and_differ(config: TrainConfig, method: str) -> None:
    prompts = []
    for init in ("random", "vocabulary", "template", "values", "for against"):
        model = model_of(with_method(config, method, init=init))
        prompts.append(prompt_embedding(cast(Any, model.backbone)).weight.detach())
    assert all(not torch.equal(a, b) for i, a in enumerate(prompts) for b in prompts[:i])


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_prefix_of_words_is_a_text_before_the_text(
    config: TrainConfig, family: str, tmp_path: Path
) -> None:
    """A decoder reads on after a prefix that starts from words as it does after the words."""
    base = write_language_model(tmp_path / "base", family, Path(config.base))
    words = "for against"
    options = {"init": words, "virtual_tokens": 4, "base": str(base)}
    model = model_of(changed(config, method="prefix-tuning", **options)).eval()
    tokenizer = load_tokenizer(base)
    before = (tokenizer(words, add_special_tokens=False)["input_ids"] * 4)[:4]
    text = [[10, 11, 12], [20, 21, 22]]
    ids = torch.tensor(text)
    with torch.no_grad():
        got = model.hidden(input_ids=ids, attention_mask=torch.ones_like(ids))
        whole = torch.tensor([before + row for row in text])
        plain = (
            load_backbone(base)
            .eval()(input_ids=whole, attention_mask=torch.ones_like(whole))
            .last_hidden_state
        )
    torch.testing.assert_close(got[:, -3:], plain[:, 4:])


def test_an_encoders_prefix_of_words_has_its_keys_and_values(config: TrainConfig) -> None:
    """In the first layer they are those of the embeddings themselves."""
    model = model_of(with_method(config, "prefix-tuning", init="for against"))
    bert = cast(Any, model.backbone).get_base_model().eval()
    numbers = load_tokenizer(Path(config.base))("for against", add_special_tokens=False)
    before = torch.tensor([(numbers["input_ids"] * 5)[:5]])
    attention = bert.encoder.layer[0].attention.self
    with torch.no_grad():
        read = bert.embeddings(before)[0]
        expected = torch.cat([attention.key(read), attention.value(read)], dim=1)
    prefix = prompt_embedding(cast(Any, model.backbone)).weight.detach()
    torch.testing.assert_close(prefix[:, : 2 * 32], expected)


def test_embeddings_that_a_model_scales_are_taken_as_it_reads_them(tmp_path: Path) -> None:
    """Gemma's are its weights times the root of their width."""
    from transformers import Gemma3TextConfig, Gemma3TextModel

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "vocab_size": 30}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
    gemma = Gemma3TextModel(Gemma3TextConfig(**sizes, **heads))
    words = word_embeddings(gemma)
    torch.testing.assert_close(words, 4 * gemma.get_input_embeddings().weight.detach())


def test_the_template_is_that_of_the_task() -> None:
    from importlib.resources import files

    text = " ".join(files("valueeval.tasks").joinpath("valueeval_cls.yaml").read_text().split())
    for sentence in INSTRUCTION.split(". "):
        assert sentence in text
