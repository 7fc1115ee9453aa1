"""Cross-encoders: an argument is read beside each value's description."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from training import small_config, stop_training, write_language_model, write_small_data

from valueeval.adapters.classifier.classifier import Classifier, load_classifier, load_tokenizer
from valueeval.adapters.classifier.encoding import encode
from valueeval.adapters.classifier.ensemble import load_adapter
from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.input_format import Head, InputFormat
from valueeval.adapters.directory.manifest_file import read_manifest
from valueeval.adapters.harness.classifier_lm import ClassifierLM
from valueeval.tasks.data.dataset import Argument, load_set
from valueeval.tasks.scores.scoring import score
from valueeval.tasks.values import VALUES
from valueeval.train.command_line import parse_config
from valueeval.train.config.choice import ConfigError
from valueeval.train.config.config import TrainConfig
from valueeval.train.objectives.cross_encoder import AllValues, EachValue, SampledLoss
from valueeval.train.objectives.losses import (
    DistillationLoss,
    DistributionBalancedLoss,
    FocalLoss,
    weighted_bce,
)
from valueeval.train.options import changed
from valueeval.train.run import train

TRAINING, VALIDATION = 8, 4
CPU = torch.device("cpu")
FORM = InputFormat(("{stance_word}: {conclusion} {premise}", "{value.name}: {value.short}"), 400)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data"), TRAINING, VALIDATION)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    written = {f: write_language_model(root / f, f, tiny_bert) for f in ("llama", "t5")}
    return {"bert": tiny_bert, **written}


@pytest.fixture
def config(tiny_bert: Path, data_dir: Path, tmp_path: Path) -> TrainConfig:
    options: dict[str, Any] = {"epochs": 1, "batch_size": 4, "learning_rate": 0.01}
    config = small_config(tmp_path / "adapter", tiny_bert, data_dir, **options)
    return changed(config, heads="cross-encoder", max_length=96)


# --------------------------------------------------------------------------------- by hand


class Numbers:
    """Inputs that are their own numbers, of length 2 for the first argument and 3 for others."""

    lengths = [2] * 20 + [3] * 40

    def batch(self, rows: Sequence[int], device: torch.device) -> dict[str, torch.Tensor]:
        """Some of them."""
        numbers = torch.tensor(rows)
        return {"numbers": numbers, "attention_mask": torch.ones(len(numbers), 1)}


class Itself(nn.Module):
    """Its logit for an input is the input's number; remembers how many it was given at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, numbers: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Logits (inputs, 1)."""
        self.sizes.append(len(numbers))
        return numbers.unsqueeze(1).float()


def test_twenty_inputs_an_argument_in_the_order_of_the_values() -> None:
    inputs = EachValue(Numbers())
    assert inputs.lengths == [40, 60, 60]
    model = AllValues(Itself())
    logits = model(**inputs.batch([2, 0], CPU))
    assert logits.tolist() == [list(range(40, 60)), list(range(20))]


def test_evaluation_reads_few_inputs_at_once() -> None:
    model, batch = AllValues(Itself()), EachValue(Numbers()).batch([0, 1, 2, 0], CPU)
    together = model.train()(**batch)
    assert torch.equal(model.eval()(**batch), together)
    assert model.model.sizes == [80, 64, 16]


def test_some_values_an_argument() -> None:
    inputs = EachValue(Numbers(), values_per_step=5)
    assert inputs.lengths == [10, 15, 15]
    torch.manual_seed(0)
    batch = inputs.batch([2, 0, 2], CPU)
    assert batch["numbers"].shape == (15,)
    logits = AllValues(Itself())(**batch)
    assert (logits.isfinite().sum(dim=1) == 5).all()
    for row, argument in enumerate((2, 0, 2)):
        read = logits[row].isfinite()
        expected = torch.arange(20.0)[read] + 20 * argument
        assert torch.equal(logits[row][read], expected)
    assert not torch.equal(logits[0], logits[2])  # drawn anew


def test_every_value_is_drawn_as_often() -> None:
    torch.manual_seed(0)
    inputs = EachValue(Numbers(), values_per_step=3)
    drawn = torch.cat([inputs.batch([0] * 100, CPU)["values"] for _ in range(20)])
    assert all(len(set(row)) == 3 for row in drawn.tolist())
    counts = torch.bincount(drawn.flatten(), minlength=20)
    assert (counts - 300).abs().max() < 4 * 16  # 2000 draws of 3 in 20: deviation 16


@pytest.mark.parametrize("name", ["bce", "focal", "distribution-balanced", "teacher"])
def test_the_loss_of_some_values_is_unbiased(name: str) -> None:
    """The mean over each value read alone is the loss of all, and so is its gradient."""
    rng = np.random.default_rng(0)
    data = rng.random((30, 20)) < 0.3
    losses = {
        "bce": weighted_bce(torch.rand(20) + 1),
        "focal": FocalLoss(2.0),
        "distribution-balanced": DistributionBalancedLoss(data, 2.0),
        "teacher": DistillationLoss(weighted_bce(torch.rand(20) + 1), 0.7),
    }
    whole, labels = losses[name], torch.from_numpy(data[:2]).float()
    if name == "teacher":
        labels = torch.cat([labels, torch.rand(2, 20)], dim=1)
    logits = torch.randn(2, 20, requires_grad=True)
    (expected,) = torch.autograd.grad(whole(logits, labels), logits)
    alone = SampledLoss(whole, 1)
    estimates = []
    for value in range(20):
        read = torch.zeros(2, 20, dtype=torch.bool)
        read[0, value] = read[1, 19 - value] = True
        estimates.append(alone(logits.masked_fill(~read, float("inf")), labels))
    mean = torch.stack(estimates).mean()
    torch.testing.assert_close(mean, whole(logits, labels))
    (gradient,) = torch.autograd.grad(mean, logits)
    torch.testing.assert_close(gradient, expected)


def test_logits_that_are_no_numbers_are_not_taken_for_left_out() -> None:
    loss = SampledLoss(weighted_bce(torch.ones(20)), 5)
    assert loss(torch.full((1, 20), float("nan")), torch.zeros(1, 20)).isnan()


# ------------------------------------------------------------------------------- the inputs


def test_inputs_name_the_values(tiny_bert: Path) -> None:
    tokenizer = load_tokenizer(tiny_bert)
    arguments = [Argument("1", "no", "against", "yes"), Argument("2", "a", "in favor of", "b " * 9)]
    encoded = encode(tokenizer, arguments, FORM)
    assert len(encoded.inputs) == 40
    for row in (0, 7, 20, 39):
        value = VALUES[row % 20]
        first = "against: no yes" if row < 20 else "for: a " + "b " * 9
        expected = tokenizer(first, f"{value.name}: {value.short}")["input_ids"]
        assert encoded.inputs[row]["input_ids"] == expected


def test_what_is_cut_is_counted_once_an_argument(tiny_bert: Path) -> None:
    tokenizer = load_tokenizer(tiny_bert)
    short, long = (Argument("1", "a", "against", text) for text in ("b", "no " * 300))
    for separator in (None, "\n"):
        form = replace(FORM, max_length=200, separator=separator)
        encoded = encode(tokenizer, [short, long, long], form)
        assert encoded.truncated == 2
        for row in range(20, 60):
            text = tokenizer.decode(encoded.inputs[row]["input_ids"])
            assert text.startswith("against: a no no")
            assert text.endswith(VALUES[row % 20].short)  # the value is whole


# -------------------------------------------------------------------------- trained and read


@pytest.mark.parametrize(
    ("method", "family", "options"),
    [
        ("full", "bert", {}),
        ("full", "llama", {"values_per_step": 4}),
        ("lora", "bert", {"pooling": "attention", "values_per_step": 4}),
        ("prefix-tuning", "llama", {"virtual_tokens": 3, "values_per_step": 4}),
        ("lora", "t5", {"pooling": "cls", "values_per_step": 4}),
        ("head", "t5", {}),
        ("head", "bert", {"pooling": "cls", "epochs": 3}),
    ],
)
def test_saved_and_loaded_gives_the_same_scores(
    method: Any,
    family: str,
    options: dict[str, Any],
    config: TrainConfig,
    bases: dict[str, Path],
    data_dir: Path,
) -> None:
    manifest = train(changed(config, method=method, base=str(bases[family]), **options))
    assert manifest.head is not None
    assert manifest.head.kind == "cross-encoder"
    # On a decoder only the tokens behind the value's name have read it.
    assert manifest.head.pooling == options.get("pooling", "last" if family == "llama" else "mean")
    head = load_file(Path(config.output) / "head.safetensors")
    assert (head["weight"].shape, head["bias"].shape) == ((1, 32), (1,))
    validation = load_set("validation", data_dir)
    classifier = load_classifier(config.output, device="cpu")
    one = classifier.logits(validation.arguments, batch_size=1)
    assert one.shape == (VALIDATION, 20)
    np.testing.assert_allclose(classifier.logits(validation.arguments, 8), one, atol=1e-5)
    assert score(validation.labels, manifest.thresholds.decide(one)) == manifest.validation
    assert one.std(axis=0).mean() > 1e-4  # arguments differ
    assert one.std(axis=1).mean() > 1e-4  # values differ


def test_a_logit_by_hand(config: TrainConfig, data_dir: Path) -> None:
    """The mean of the pair's hidden states, times the layer."""
    train(changed(config, method="head", max_length=400))
    classifier = load_classifier(config.output, device="cpu")
    argument, value = load_set("validation", data_dir).arguments[1], VALUES[8]
    pair = classifier.tokenizer(
        f"{'for' if argument.stance == 'in favor of' else 'against'}: {argument.conclusion} "
        f"{argument.premise}",
        f"{value.name}: {value.short}",
        return_tensors="pt",
    )
    with torch.no_grad():
        hidden = classifier.model.backbone(**pair).last_hidden_state[0]
    head = classifier.model.head
    expected = (hidden.mean(dim=0) * head.weight[0]).sum() + head.bias[0]
    assert classifier.logits([argument])[0, 8] == pytest.approx(expected.item(), abs=1e-5)


def test_a_step_reads_as_many_values_as_it_should(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    forward = AllValues.forward

    def counted(model: AllValues, **inputs: torch.Tensor) -> torch.Tensor:
        if model.training:
            read.append(len(inputs["input_ids"]))
        return forward(model, **inputs)

    monkeypatch.setattr(AllValues, "forward", counted)
    train(config)
    assert sum(read) == TRAINING * 20
    read.clear()
    train(changed(config, values_per_step=3, output=config.output + "-3"))
    assert sum(read) == TRAINING * 3


def test_stopped_and_resumed_gives_the_same_adapter(config: TrainConfig) -> None:
    config = changed(config, values_per_step=2, epochs=2, checkpoint_seconds=0.0)
    whole = train(changed(config, output=config.output + "-whole"))
    stop_training(config, 3)
    again = train(changed(config, resume=True))
    assert again.weights_sha256 == whole.weights_sha256
    assert (again.thresholds, again.validation) == (whole.thresholds, whole.validation)


def test_learns_from_the_words_of_the_values(config: TrainConfig) -> None:
    """How frequent each is: a layer that all values share can only read that off their names."""
    config = changed(config, segments=("{value.name}",), pos_weight_power=0.0, dropout=0.0)
    config = changed(config, batch_size=8, layer_decay=1.0, schedule="constant_with_warmup")
    train(changed(config, epochs=20, learning_rate=5e-3))
    lines = (Path(config.output) / "metrics.jsonl").read_text("utf-8").splitlines()
    share = load_set("training", config.data_dir).labels.mean()
    without_names = -share * np.log(share) - (1 - share) * np.log(1 - share)
    assert json.loads(lines[-1])["loss"] < 0.95 * without_names


def test_lm_eval_and_averages(config: TrainConfig, data_dir: Path) -> None:
    config = changed(config, method="head")
    manifest = train(config)
    arguments = load_set("validation", data_dir).arguments
    model = ClassifierLM.create_from_arg_obj({"adapter": config.output}, {"device": "cpu"})
    own = load_classifier(config.output, "cpu").logits(arguments)
    expected = own - manifest.thresholds.logits
    np.testing.assert_allclose(model.differences(arguments), expected, atol=1e-5)

    other = changed(config, heads="single", output=config.output + "-single", max_length=64)
    train(other)
    plain = load_classifier(other.output, "cpu")
    for joined in (f"{config.output}+{other.output}", f"{other.output}+{config.output}"):
        mean = load_adapter(joined, "cpu").logits(arguments)
        np.testing.assert_allclose(mean, (own + plain.logits(arguments)) / 2, atol=1e-5)


def test_learns_from_a_teacher(config: TrainConfig) -> None:
    """One that reads an argument once; some of what it says is left out in each step."""
    teacher = changed(config, heads="single", method="head", output=config.output + "-teacher")
    train(teacher)
    config = changed(config, values_per_step=4, epochs=2)
    plain = train(config)
    taught = train(changed(config, output=config.output + "-taught", teacher=teacher.output))
    assert taught.parameters == plain.parameters
    assert taught.weights_sha256 != plain.weights_sha256


# -------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--contrastive=joint"], "no meaning with --heads cross-encoder, which has features of"),
        (["--contrastive=pretrain"], "leave it out, or take --heads single"),
        (["--segments=['{premise}', '{conclusion}']"], "segments: a cross-encoder must be told of"),
        (["--values_per_step=0"], "values_per_step: 0; allowed: 1 to 20"),
        (["--values_per_step=21"], "values_per_step: 21; allowed: 1 to 20"),
        (["--values_per_step=4", "--method=head"], "saves nothing with --method head"),
        (["--pooling=attention", "--method=head"], "in memory: take mean, or --method lora"),
        (["--heads=single", "--values_per_step=4"], "or take --heads cross-encoder"),
        (["--heads=multiple", "--segments=['{value.long}']"], "a meaning for a cross-encoder only"),
        (["--segments=['{value.level1}']"], "field {value.level1} in '{value.level1}'; allowed: "),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(["--output=x", "--heads=cross-encoder", *words])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_manifest_without_a_value_in_its_input_is_refused(config: TrainConfig) -> None:
    manifest = train(changed(config, method="head"))
    assert read_manifest(config.output).input == replace(FORM, max_length=96)
    with pytest.raises(ManifestError, match=r"input\.segments: a cross-encoder must be told of a"):
        replace(manifest, input=InputFormat(("{premise}",), 64))
    with pytest.raises(ManifestError, match="has a meaning for a cross-encoder only"):
        replace(manifest, head=Head("linear", "mean"))


def test_empty(config: TrainConfig) -> None:
    train(changed(config, method="head"))
    classifier: Classifier = load_classifier(config.output, "cpu")
    assert classifier.logits([]).shape == (0, 20)
