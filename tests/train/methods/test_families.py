"""Heads on decoders and on the encoder of a T5: every method, save and load, stock PEFT, errors."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from training import (
    LANGUAGE_MODELS,
    learning_rates,
    small_config,
    write_language_model,
    write_small_data,
)
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForTextEncoding,
    AutoTokenizer,
    GPT2ForSequenceClassification,
)

from valueeval.adapters.classifier.backbones import (
    check_max_length,
    is_causal,
    load_backbone,
    load_tokenizer,
    pad_token,
)
from valueeval.adapters.classifier.classifier import collate, load_classifier
from valueeval.adapters.classifier.encoding import encode
from valueeval.adapters.directory.base import Base
from valueeval.adapters.directory.input_format import InputFormat
from valueeval.adapters.harness.classifier_lm import ClassifierLM
from valueeval.tasks.data.dataset import Argument, load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.scores.scoring import score
from valueeval.train.build import build_model
from valueeval.train.config.config import TrainConfig
from valueeval.train.loop.optimizer import parameter_groups
from valueeval.train.methods import METHODS
from valueeval.train.methods.soft_prompt import SoftPromptMethod
from valueeval.train.options import changed, configure
from valueeval.train.run import train
from valueeval.train.runtime.padding_check import check_reading

DECODERS = ("gpt2", "llama", "qwen2")
TRAINING, VALIDATION = 16, 12


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data"), TRAINING, VALIDATION)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    return {
        family: write_language_model(root / family, family, tiny_bert) for family in LANGUAGE_MODELS
    }


@pytest.fixture
def config(data_dir: Path, tmp_path: Path) -> TrainConfig:
    config = small_config(tmp_path / "adapter", tmp_path, data_dir, epochs=1, batch_size=8)
    return changed(config, learning_rate=0.02, max_length=400)


def with_method(config: TrainConfig, method: str, base: Path, **options: Any) -> TrainConfig:
    if issubclass(METHODS[method], SoftPromptMethod):
        options = {"virtual_tokens": 5, **options}
    return changed(config, base=str(base), method=method, **options)


@pytest.mark.parametrize(
    ("method", "family"),
    [
        (method, family)
        for method in METHODS
        if method != "prompt+full"  # has no head
        for family in LANGUAGE_MODELS
        if (method, family) != ("prefix-tuning", "t5")  # PEFT has none: refused, see below
    ],
)
def test_saved_and_loaded_gives_the_same_scores(
    method: str, family: str, config: TrainConfig, bases: dict[str, Path], data_dir: Path
) -> None:
    config = with_method(config, method, bases[family])
    manifest = train(config)
    folder, validation = Path(config.output), load_set("validation", data_dir)
    classifier = load_classifier(folder, device="cpu")
    one = classifier.logits(validation.arguments, batch_size=1)
    eight = classifier.logits(validation.arguments, batch_size=8)
    assert classifier.cut == []
    np.testing.assert_allclose(one, eight, atol=1e-5)
    for logits in (one, eight):
        assert score(validation.labels, manifest.thresholds.decide(logits)) == manifest.validation
    assert one.std(axis=0).mean() > 1e-3  # arguments differ

    causal = family in DECODERS
    assert manifest.head is not None
    assert manifest.head.pooling == "mean"
    assert manifest.input.separator == ("\n" if causal else None)

    # Stock Transformers and PEFT, the head by hand, one text at a time.
    source = folder if method == "full" else bases[family]
    model = (AutoModel if causal else AutoModelForTextEncoding).from_pretrained(source)
    if method not in ("full", "head"):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`")
            model = PeftModel.from_pretrained(model, folder)
    head = load_file(folder / "head.safetensors")
    tokenizer = AutoTokenizer.from_pretrained(source)
    for argument, got in zip(validation.arguments[:3], one, strict=False):
        texts = manifest.input.texts(argument)
        ids = tokenizer("\n".join(texts) if causal else texts[0], None if causal else texts[1])
        tokens = torch.tensor([ids["input_ids"]])
        with torch.no_grad():
            mask = torch.ones_like(tokens)
            hidden = model.eval()(input_ids=tokens, attention_mask=mask).last_hidden_state[0]
        pooled = hidden[-tokens.shape[1] :].mean(dim=0)  # virtual tokens stand before these
        expected = head["weight"] @ pooled + head["bias"]
        np.testing.assert_allclose(got, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("family", LANGUAGE_MODELS)
def test_heads_of_their_own(
    family: str, config: TrainConfig, bases: dict[str, Path], data_dir: Path
) -> None:
    config = changed(with_method(config, "p-tuning", bases[family]), heads="multiple")
    manifest = train(config)
    classifier = load_classifier(config.output, device="cpu")
    arguments = load_set("validation", data_dir).arguments
    one, eight = classifier.logits(arguments, 1), classifier.logits(arguments, 8)
    np.testing.assert_allclose(one, eight, atol=1e-5)
    assert manifest.head is not None
    assert (manifest.head.kind, manifest.head.pooling) == ("multiple", "attention")


def test_the_last_token_is_that_of_transformers_own_classifier(
    config: TrainConfig, bases: dict[str, Path], data_dir: Path
) -> None:
    """All weights trained: stock GPT2ForSequenceClassification with our layer as its own."""
    config = changed(with_method(config, "full", bases["gpt2"]), pooling="last")
    train(config)
    classifier = load_classifier(config.output, device="cpu")
    arguments = load_set("validation", data_dir).arguments
    head = classifier.model.head
    stock = GPT2ForSequenceClassification(
        AutoConfig.from_pretrained(config.output, num_labels=20, pad_token_id=1)
    )
    stock.transformer.load_state_dict(load_file(Path(config.output) / "model.safetensors"))
    stock.score.weight = head.weight
    encoded = encode(classifier.tokenizer, arguments, classifier.manifest.input)
    with torch.no_grad():
        batch = collate(encoded, range(len(arguments)), 1)
        batch.pop("token_type_ids", None)
        expected = stock.eval()(**batch).logits + head.bias
    np.testing.assert_allclose(classifier.logits(arguments), expected.numpy(), atol=1e-5)


def test_token_types_are_not_taken_for_words(bases: dict[str, Path]) -> None:
    """GPT-2 adds the embedding of word 1 where the tokenizer says «second text»."""
    config = configure("x", base=str(bases["gpt2"]))
    model = build(config).eval()
    tokens = torch.tensor([[5, 6, 7]])
    mask = torch.ones_like(tokens)
    with torch.no_grad():
        plain = model(input_ids=tokens, attention_mask=mask)
        typed = model(input_ids=tokens, attention_mask=mask, token_type_ids=mask)
    assert torch.equal(plain, typed)


def build(config: TrainConfig) -> Any:
    base = Base(config.base, Path(config.base), None, "")
    assert config.classifier is not None
    return build_model(config, config.classifier, base, load_tokenizer(base.path))


@pytest.mark.parametrize("family", LANGUAGE_MODELS)
def test_layers_and_embeddings_have_their_learning_rates(
    family: str, bases: dict[str, Path]
) -> None:
    """Two layers: head 1, layer 1 and what is beside it a half, layer 0 a quarter, words 1/8."""
    model = build(configure("x", base=str(bases[family])))
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, learning_rates(0.5, 0.01))
    rates = {names[p]: group["lr"] for group in groups for p in group["params"]}
    assert rates.keys() == dict(model.named_parameters()).keys()
    embeddings = ("wte", "wpe", "embed_tokens", "shared")
    layers = {"h.0.": 0.25, "layers.0.": 0.25, "block.0.": 0.25}
    expected = {"head.": 1.0, **dict.fromkeys(embeddings, 0.125), **layers}
    for name, rate in rates.items():
        assert rate == next((r for part, r in expected.items() if part in name), 0.5), name


@pytest.mark.parametrize(
    ("method", "size"),
    [
        # GPT-2, a layer of width 32: 32 x 96, 32 x 32, 32 x 128 and 128 x 32; two layers, rank 8.
        ("lora", 2 * 8 * (32 + 96 + 32 + 32 + 2 * (32 + 128))),
        ("prompt-tuning", 5 * 32),
        ("prefix-tuning", 2 * 5 * 2 * 32),
    ],
)
def test_trainable_parameters_of_gpt2_by_hand(
    method: str, size: int, config: TrainConfig, bases: dict[str, Path]
) -> None:
    model = build(with_method(config, method, bases["gpt2"]))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == size + 20 * 32 + 20


def test_grouped_queries_have_a_narrower_prefix(
    config: TrainConfig, bases: dict[str, Path]
) -> None:
    """One head of keys and values of width 16 for two heads of queries."""
    model = build(with_method(config, "prefix-tuning", bases["llama"]))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == 2 * 5 * 2 * 16 + 20 * 32 + 20


def test_lm_eval_takes_them_for_classifiers(
    config: TrainConfig, bases: dict[str, Path], data_dir: Path
) -> None:
    """And not for language models, which their bases are."""
    arguments = load_set("validation", data_dir).arguments
    for method in ("full", "lora"):
        output = config.output + method
        manifest = train(changed(with_method(config, method, bases["llama"]), output=output))
        model = ClassifierLM.create_from_arg_obj({"adapter": output}, {"device": "cpu"})
        assert isinstance(model, ClassifierLM)
        differences = model.differences(arguments)
        expected = load_classifier(output, "cpu").logits(arguments) - manifest.thresholds.logits
        np.testing.assert_allclose(differences, expected, atol=1e-5)


# -------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_given_as_a_language_model_it_is_refused(
    family: str, config: TrainConfig, bases: dict[str, Path]
) -> None:
    """Loaded as one it would get a random head, and a score."""
    for method, name in (("full", "pretrained"), ("lora", "peft")):
        output = config.output + method
        train(changed(with_method(config, method, bases[family]), output=output))
        arguments = {"pretrained": str(bases[family]), name: output}
        with pytest.raises(
            ValueEvalError, match=f"--model valueeval --model_args adapter={output}"
        ):
            ClassifierLM.create_from_arg_obj(arguments, {"device": "cpu"})


def test_prefixes_before_the_encoder_of_a_t5_are_refused(
    config: TrainConfig, bases: dict[str, Path]
) -> None:
    with pytest.raises(ValueEvalError, match="prefix-tuning does not work on t5 encoders") as error:
        train(with_method(config, "prefix-tuning", bases["t5"]))
    assert "take p-tuning" in str(error.value)
    assert not Path(config.output + ".training").exists()


def test_the_first_token_of_a_decoder_is_refused(
    config: TrainConfig, bases: dict[str, Path]
) -> None:
    for method in ("full", "prompt-tuning"):
        refused = changed(with_method(config, method, bases["qwen2"]), pooling="cls")
        with pytest.raises(ValueEvalError, match="pooling: 'cls' has no meaning on a decoder"):
            train(refused)
    assert not Path(config.output + ".training").exists()
    train(changed(with_method(config, "head", bases["t5"]), pooling="cls"))  # it sees all of them


def test_a_model_that_reads_padding_is_refused() -> None:
    """FNet mixes all positions; ours to try is a random one."""
    sizes = {"vocab_size": 64, "hidden_size": 8, "num_hidden_layers": 1, "intermediate_size": 8}
    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model("fnet", **sizes, initializer_range=0.5))
    with pytest.raises(ValueEvalError, match="this fnet encoder takes no head: it reads the padd"):
        check_reading(model, padding=3)


def test_hidden_states_of_another_width_are_refused() -> None:
    """OPT-350m's are projected to the width of its word embeddings."""
    sizes = {"vocab_size": 64, "hidden_size": 8, "num_hidden_layers": 1, "ffn_dim": 8}
    config = AutoConfig.for_model("opt", **sizes, num_attention_heads=2, word_embed_proj_dim=4)
    with pytest.raises(ValueEvalError, match="gives hidden states of width 4, not 8"):
        check_reading(AutoModel.from_config(config), padding=1)


def test_which_models_are_causal() -> None:
    causal = {"gpt2": True, "llama": True, "bert": False, "t5": False, "deberta-v2": False}
    assert {name: is_causal(AutoConfig.for_model(name)) for name in causal} == causal
    assert is_causal(AutoConfig.for_model("bert", is_decoder=True))
    embedding = AutoConfig.for_model("gemma3_text", use_bidirectional_attention=True)
    assert not is_causal(embedding)


# ---------------------------------------------------------------------------------- tokenizers


def test_padding_with_the_end_of_text(bases: dict[str, Path]) -> None:
    for family, number in (("gpt2", 1), ("llama", 1), ("qwen2", 0)):
        tokenizer = load_tokenizer(bases[family])
        assert pad_token(tokenizer) == number
        assert len(tokenizer) <= load_backbone(bases[family]).config.vocab_size
    tokenizer.pad_token = tokenizer.eos_token = None
    with pytest.raises(ValueEvalError, match="no padding token and no end-of-text token"):
        pad_token(tokenizer)


def test_segments_joined_by_a_separator(bases: dict[str, Path]) -> None:
    """One text with one beginning; the premise is cut and the conclusion stays whole."""
    segments = ("{premise}", "{stance_word}: {conclusion}")
    tokenizer = load_tokenizer(bases["llama"])
    argument = Argument("1", "yes", "against", "no " * 50)
    encoded = encode(tokenizer, [argument], InputFormat(segments, 300, "\n"))
    text = tokenizer("no " * 50 + "\nagainst: yes")["input_ids"]
    assert (encoded.inputs[0]["input_ids"], encoded.truncated) == (text, 0)
    for limit in (20, 30, len(text) - 1):
        encoded = encode(tokenizer, [argument, argument], InputFormat(segments, limit, "\n"))
        assert encoded.truncated == 2
        assert all(limit - 4 <= length <= limit for length in encoded.lengths)
        cut = tokenizer.decode(encoded.inputs[0]["input_ids"])
        assert cut.startswith(tokenizer.eos_token + "no no")
        assert cut.endswith("no\nagainst: yes")
    both = Argument("1", "yes " * 50, "against", "no " * 50)
    encoded = encode(tokenizer, [both], InputFormat(segments, 30, "\n"))
    assert (encoded.lengths, encoded.truncated) == ([30], 1)


def test_limit_of_the_positions_of_gpt2(bases: dict[str, Path]) -> None:
    backbone, tokenizer = load_backbone(bases["gpt2"]), load_tokenizer(bases["gpt2"])
    check_max_length(backbone, tokenizer, 515, virtual=5)
    with pytest.raises(ValueEvalError, match="5 virtual tokens: at most 515"):
        check_max_length(backbone, tokenizer, 516, virtual=5)
    backbone.config.n_positions = -1  # as XLNet says that it has no limit
    check_max_length(backbone, tokenizer, 4096)
