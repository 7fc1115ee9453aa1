"""The model card that `valueeval train` writes: true, whole, silent about the trainer's machine."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from language_models import load_base
from peft import PeftModel
from tiny_adapters import make_manifest
from training import small_config, write_small_data

from valueeval.adapters.directory.base import MINILM, MINILM_HUB_ID, Base
from valueeval.adapters.directory.manifest import BaseModel, Manifest, Parameters, Thresholds
from valueeval.adapters.directory.manifest_file import CARD_FILE, read_manifest
from valueeval.tasks.data.conclusions import conclusion_key
from valueeval.tasks.data.dataset import DataSet, load_set
from valueeval.tasks.scores.intervals import Interval
from valueeval.tasks.scores.scoring import Intervals, intervals
from valueeval.train.command_line import parse_config
from valueeval.train.config.config import TrainConfig
from valueeval.train.config.model import GENERATED
from valueeval.train.options import configure
from valueeval.train.publish.model_card import NAME, model_card, write_card
from valueeval.train.run import train

HUB_BASE = Base("google/bert-tiny", Path("/cache/somewhere/abc"), "abc", "0" * 64)
FOUND = Intervals(
    macro_f1=Interval(0.4434, 0.02, 0.4141, 0.4963),
    official_f1=Interval(0.4541, 0.02, 0.42, 0.51),
    units=100,
    level=0.95,
)


@pytest.fixture(scope="module")
def sets() -> tuple[DataSet, DataSet]:
    """The sample set's, passed off as those published."""
    return tuple(
        replace(load_set(f"sample_{s}"), official=True) for s in ("training", "validation")
    )  # type: ignore[return-value]


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return make_manifest(
        {},
        base_model=BaseModel(HUB_BASE.name, HUB_BASE.revision, HUB_BASE.sha256),
        method="lora",
        config=configure("x", base=HUB_BASE.name, method="lora").recipe(),
        thresholds=Thresholds(tuple((i + 1) / 30 for i in range(20)), "validation", "macro_f1"),
        parameters=Parameters(22_713_216, 7_700),
        validation={"macro_f1": 0.4434, "f1_face": None, "f1_tradition": 0.61},
        versions={"torch": "2.13.0", "peft": "0.21.2"},
        seconds=354.2,
        peak_memory_bytes=3 * 2**30,
    )


def text_of(card: str) -> str:
    return card.split("\n---\n", 1)[1]


def test_of_a_peft_adapter(manifest: Manifest, sets: tuple[DataSet, DataSet]) -> None:
    card = model_card(manifest, HUB_BASE, sets, FOUND, "AutoModel")
    data = ModelCard(card).data
    assert (data.library_name, data.base_model) == ("peft", "google/bert-tiny")
    assert (data.base_model_relation, data.pipeline_tag) == ("adapter", "text-classification")
    assert data.license is None
    assert data.model_name == NAME
    assert {result.metric_name: result.metric_value for result in data.eval_results} == {
        "macro_f1": 0.4434, "macro_f1_ci_low": 0.4141, "macro_f1_ci_high": 0.4963,
        "official_f1": 0.4541, "official_f1_ci_low": 0.42, "official_f1_ci_high": 0.51,
    }  # fmt: skip
    assert {(r.dataset_type, r.dataset_split) for r in data.eval_results} == {
        ("webis/Touche23-ValueEval", "validation")
    }
    text = text_of(card)
    for line in (
        "# Human values behind arguments: google/bert-tiny, lora",
        "| base model | [google/bert-tiny](https://huggingface.co/google/bert-tiny), revision "
        f"`abc`; SHA-256 of its weights `{manifest.base_model.sha256}` |",
        "| method | `lora`, objective `bce` |",
        "| answer | head `linear`, pooling `mean` |",
        "| thresholds | shrunk, tuned for macro_f1 on validation |",
        "| parameters | 22,713,216, of these trained 7,700 |",
        "| training data | Touché23-ValueEval, training, 200 arguments |",
        "| training took | 354 s, 3.0 GiB |",
        "| versions | torch 2.13.0, peft 0.21.2 |",
        "On validation, 151 arguments about 27 conclusions.",
        "| `macro_f1` | 0.443 | 0.414 to 0.496 |",
        "| `official_f1` | 0.454 | 0.420 to 0.510 |",
        "`macro_f1` is the mean of the 20 F1 scores, `official_f1` the harmonic mean of "
        "macro-precision and",
        "| `face` | undefined | 0.267 |",
        "| `tradition` | 0.610 | 0.367 |",
        "lm_eval --tasks valueeval_cls --model valueeval --model_args adapter=ORG/NAME",
        "valueeval predict --adapter ORG/NAME my_arguments.csv -o labelled.csv",
        'base = AutoModel.from_pretrained("google/bert-tiny", revision="abc")',
        'model = PeftModel.from_pretrained(base, "ORG/NAME")',
    ):
        assert line in text.splitlines(), line
    assert not re.search(r"\{\{|\}\}|\{%|%\}|\n\n\n|None", text)


def test_of_other_methods(manifest: Manifest, sets: tuple[DataSet, DataSet]) -> None:
    """Not called a Transformers model: its head would be left out, and a random one put on."""
    for method, relation in (("full", "finetune"), ("head", "adapter")):
        card = ModelCard(model_card(replace(manifest, method=method), HUB_BASE, sets, FOUND))
        assert card.data.library_name == "lm-eval-valueeval"
        assert card.data.base_model_relation == relation
        assert "PeftModel" not in card.text


@pytest.mark.parametrize(
    ("model_type", "name"),
    [("bert", "AutoModel"), ("gpt2", "AutoModel"), ("t5", "AutoModelForTextEncoding")],
)
def test_its_code_loads_the_backbone_that_was_trained(
    manifest: Manifest, sets: tuple[DataSet, DataSet], tmp_path: Path, model_type: str, name: str
) -> None:
    """Of a T5 the encoder alone: the whole of it takes no text without a text for its decoder."""
    adapter, base = tmp_path / "adapter", tmp_path / "base"
    for folder, file, content in (
        (adapter, "adapter_config.json", {"task_type": "FEATURE_EXTRACTION"}),
        (base, "config.json", {"model_type": model_type}),
    ):
        folder.mkdir()
        (folder / file).write_text(json.dumps(content), "utf-8")
    write_card(adapter, manifest, replace(HUB_BASE, path=base), sets, np.ones_like(sets[1].labels))
    text = (adapter / CARD_FILE).read_text("utf-8")
    assert f"from transformers import {name}\n" in text
    assert f'base = {name}.from_pretrained("google/bert-tiny", revision="abc")\n' in text


@pytest.mark.parametrize("name", ["AutoModelForCausalLM", "AutoModelForSeq2SeqLM"])
def test_of_a_language_model(manifest: Manifest, sets: tuple[DataSet, DataSet], name: str) -> None:
    words = replace(manifest, head=None, template="bca")
    card = ModelCard(model_card(words, HUB_BASE, sets, FOUND, name))
    assert card.data.pipeline_tag is None
    assert f'base = {name}.from_pretrained("google/bert-tiny", revision="abc")' in card.text
    assert "| answer | in words, to the template `bca` |" in card.text
    assert "lm_eval --tasks valueeval_bca --model valueeval" in card.text
    assert "predict" not in card.text
    assert "head.safetensors" not in card.text


def test_of_thresholds_and_prompts_of_a_template(
    manifest: Manifest, sets: tuple[DataSet, DataSet]
) -> None:
    recipe = {**manifest.config, "paraphrase": 2}
    words = replace(manifest, head=None, input=None, template="bca", config=recipe)
    text = model_card(words, HUB_BASE, sets, FOUND, "AutoModelForCausalLM")
    assert "| answer | in words, to the template `bca`, paraphrase 2 |" in text
    assert "lm_eval --tasks valueeval_bca_p2 --model valueeval" in text
    assert "| thresholds | shrunk, tuned for macro_f1 on validation |" in text
    assert "| `tradition` | 0.610 | 0.367 |" in text
    assert "is in the task\n`valueeval_bca_p2`, the thresholds in `valueeval.json`.\n" in text
    assert "The best epoch and the thresholds were chosen" in text


@pytest.mark.parametrize("template", GENERATED)
def test_answers_that_are_text_have_no_thresholds(
    manifest: Manifest, sets: tuple[DataSet, DataSet], template: str
) -> None:
    words = replace(
        manifest, head=None, input=None, template=template,
        thresholds=Thresholds((0.5,) * 20, "none", "none"),
        validation={**manifest.validation, "unparsed": 0.125},
    )  # fmt: skip
    text = text_of(model_card(words, HUB_BASE, sets, FOUND, "AutoModelForSeq2SeqLM"))
    for line in (
        "| thresholds | none: its answers are text |",
        "Share of the answers that could not be read: 0.125.",
        "| value | F1 |",
        "| --- | --- |",
        "| `tradition` | 0.610 |",
        f"lm_eval --tasks valueeval_{template} --model valueeval --model_args adapter=ORG/NAME",
        f"`valueeval_{template}`.",
    ):
        assert line in text.splitlines(), line
    assert "The best epoch was chosen by these same scores" in text
    assert not re.search(r"the thresholds|\{\{|\}\}|\{%|%\}|\n\n\n|None", text)


def test_of_a_language_model_all_of_whose_weights_are_there(
    manifest: Manifest, sets: tuple[DataSet, DataSet]
) -> None:
    words = replace(manifest, head=None, input=None, template="cls", method="prompt+full")
    card = ModelCard(model_card(words, HUB_BASE, sets, FOUND, "AutoModelForSeq2SeqLM"))
    assert (card.data.library_name, card.data.base_model_relation) == ("transformers", "finetune")
    assert 'model = AutoModelForSeq2SeqLM.from_pretrained("ORG/NAME")' in card.text
    assert "PeftModel" not in card.text


def test_of_a_fold(manifest: Manifest, sets: tuple[DataSet, DataSet]) -> None:
    """Other arguments than those of validation: not to be ranked with scores on these."""
    data = replace(manifest.data, set="training+validation", folds=5, left_out=(2,))
    thresholds = replace(manifest.thresholds, split="fold")
    fold = replace(manifest, data=data, thresholds=thresholds)
    card = ModelCard(model_card(fold, HUB_BASE, sets, FOUND))
    named = "fold 2 of 5 (counted from 0)"
    for line in (
        f"| thresholds | shrunk, tuned for macro_f1 on {named} of training+validation |",
        f"| training data | Touché23-ValueEval, training+validation, without {named}, "
        "200 arguments |",
        f"On {named} of training+validation, 151 arguments about 27 conclusions.",
        "The best epoch and the thresholds were chosen by these same scores, so they are too good: "
        "report",
    ):
        assert line in card.text.splitlines(), line
    assert card.data.eval_results is None
    assert card.data.datasets == ["webis/Touche23-ValueEval"]
    sample = replace(fold, data=replace(data, name="sample"))
    assert (
        f"| training data | the package's sample set, without {named}, 200 arguments |"
        in model_card(sample, HUB_BASE, sets, FOUND)
    )


def test_of_a_part_of_validation(manifest: Manifest, sets: tuple[DataSet, DataSet]) -> None:
    """Fewer arguments than validation has: not to be ranked with scores on all of them."""
    part = replace(manifest, data=replace(manifest.data, validation_size=151))
    card = ModelCard(model_card(part, HUB_BASE, sets, FOUND))
    assert card.data.eval_results is None
    assert card.data.datasets == ["webis/Touche23-ValueEval"]
    for line in (
        "| thresholds | shrunk, tuned for macro_f1 on a part of validation |",
        "On a part of validation, 151 arguments about 27 conclusions.",
    ):
        assert line in card.text.splitlines(), line


def test_says_over_how_many_values_macro_f1_is_the_mean(
    manifest: Manifest, sets: tuple[DataSet, DataSet]
) -> None:
    """Those without a positive in the validation data are left out of it."""
    labels = sets[1].labels.copy()
    labels[:, :2] = False
    data = (sets[0], replace(sets[1], labels=labels))
    text = model_card(manifest, HUB_BASE, data, FOUND)
    assert (
        "`macro_f1` is the mean of the F1 scores of the 18 values (of 20) that occur there, "
        "`official_f1`" in text
    )


def test_of_texts_that_stand_alone(manifest: Manifest, sets: tuple[DataSet, DataSet]) -> None:
    alone = tuple(replace(one, conclusion="") for one in sets[1].arguments)
    whole = sets[1].arguments[:51]
    number = len({conclusion_key(one.conclusion) for one in whole})
    for arguments, named in (
        (alone, "151 texts that stand alone."),
        (
            whole + alone[51:],
            f"51 arguments about {number} conclusions and 100 texts that stand alone.",
        ),
    ):
        data = (sets[0], replace(sets[1], arguments=arguments))
        card = model_card(manifest, HUB_BASE, data, FOUND)
        assert f"On validation, {named}" in card.splitlines()
        assert "conclusions (over texts, where they stand alone), by the jackknife." in card


def test_an_interval_over_texts_that_stand_alone(
    manifest: Manifest, sets: tuple[DataSet, DataSet], tmp_path: Path
) -> None:
    alone = tuple(replace(one, conclusion="") for one in sets[1].arguments)
    data = (sets[0], replace(sets[1], arguments=alone))
    write_card(tmp_path, manifest, HUB_BASE, data, np.ones_like(sets[1].labels))
    assert "unknown" not in (tmp_path / CARD_FILE).read_text("utf-8")


def test_a_teacher_is_named_by_its_hash(manifest: Manifest, sets: tuple[DataSet, DataSet]) -> None:
    where = "/home/someone/a+/home/someone/b"
    recipe = {
        **manifest.config, "teacher": where, "teacher_weight": 0.7, "teacher_sha256": "ab" * 32
    }  # fmt: skip
    text = model_card(replace(manifest, config=recipe), HUB_BASE, sets, FOUND)
    assert (
        f"| teacher | an adapter or an average of adapters, `weights_sha256` `{'ab' * 32}`; its "
        "probabilities count 0.7, labels 0.3 |" in text
    )
    assert "someone" not in text
    options = options_in(text)
    assert options["teacher"] == "PATH/TO/TEACHER"
    assert "teacher_sha256" not in options
    assert "teacher" not in model_card(manifest, HUB_BASE, sets, FOUND)


def test_of_minilm(manifest: Manifest, sets: tuple[DataSet, DataSet]) -> None:
    recipe = {**manifest.config, "base": MINILM}
    base = Base(MINILM, Path("/site-packages/model"), None, "0" * 64)
    card = ModelCard(model_card(replace(manifest, config=recipe), base, sets, FOUND))
    assert card.data.base_model == MINILM_HUB_ID
    assert options_in(card.text)["base"] == MINILM
    assert "site-packages" not in str(card)


def test_of_a_base_on_the_trainers_machine(
    manifest: Manifest, sets: tuple[DataSet, DataSet]
) -> None:
    name = "/home/someone/secret/my-bert/"
    recipe = {**manifest.config, "base": name}
    base = Base(name, Path(name), None, "0" * 64)
    text = model_card(replace(manifest, config=recipe), base, sets, FOUND, "AutoModel")
    assert "someone" not in text
    assert "secret" not in text
    assert ModelCard(text).data.base_model is None
    assert "| base model | my-bert, of the trainer's own; SHA-256" in text
    assert 'AutoModel.from_pretrained("PATH/TO/my-bert")' in text


def test_other_data_are_not_passed_off_as_the_published_ones(
    manifest: Manifest, sets: tuple[DataSet, DataSet]
) -> None:
    for which in (0, 1):
        own = tuple(replace(s, official=i != which) for i, s in enumerate(sets))
        card = ModelCard(model_card(manifest, HUB_BASE, own, FOUND))  # type: ignore[arg-type]
        assert card.data.eval_results is None
        assert card.data.datasets is None
    own = (replace(sets[0], official=False), sets[1])
    text = model_card(manifest, HUB_BASE, own, FOUND)
    assert (
        f"| the trainer's own, in the format of Touché23-ValueEval, 200 arguments ({sets[0].sha256}"
        in text
    )


def test_the_sample_set_is_marked(manifest: Manifest, sets: tuple[DataSet, DataSet]) -> None:
    sample = replace(manifest, data=replace(manifest.data, name="sample"))
    own = tuple(replace(s, official=False) for s in sets)
    text = model_card(sample, HUB_BASE, own, FOUND)  # type: ignore[arg-type]
    assert "**Trained on the small set of arguments that the package ships" in text
    assert "| training data | the package's sample set, 200 arguments |" in text
    assert "--tasks valueeval_cls_sample " in text


def test_where_nothing_was_tuned(manifest: Manifest, sets: tuple[DataSet, DataSet]) -> None:
    half = replace(manifest, thresholds=Thresholds((0.5,) * 20, "none", "none"))
    text = model_card(half, HUB_BASE, sets, FOUND)
    assert "| thresholds | 0.5 for every value; nothing was tuned |" in text


def test_where_there_is_no_interval(manifest: Manifest, sets: tuple[DataSet, DataSet]) -> None:
    few = replace(FOUND, macro_f1=Interval(0.4, None, None, None))
    card = ModelCard(model_card(manifest, HUB_BASE, sets, few))
    assert "| `macro_f1` | 0.400 | unknown: too few conclusions |" in card.text
    names = [result.metric_name for result in card.data.eval_results]
    assert "macro_f1" in names
    assert "macro_f1_ci_low" not in names


def options_in(text: str) -> dict[str, object]:
    block = re.search(r"```yaml\n(.*?)```", text, re.S)
    assert block
    content: dict[str, object] = yaml.safe_load(block[1])
    return content


def test_its_options_train_the_same(
    manifest: Manifest, sets: tuple[DataSet, DataSet], tmp_path: Path
) -> None:
    text = model_card(manifest, HUB_BASE, sets, FOUND)
    path = tmp_path / "options.yaml"
    path.write_text(yaml.safe_dump(options_in(text)), "utf-8")
    config = parse_config(["--config", str(path), "--output", "x"])
    assert config.recipe() == manifest.config


# ------------------------------------------------------------------------------------- as trained


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize(
    ("backend", "method", "name"),
    [
        ("causal", "lora", "AutoModelForCausalLM"),
        ("seq2seq", "prompt+full", "AutoModelForSeq2SeqLM"),
    ],
)
def test_of_a_template_adapter_as_trained(
    request: pytest.FixtureRequest, tmp_path: Path, backend: str, method: str, name: str
) -> None:
    """Its code loads the model, its options train it again, its scores are the manifest's."""
    base: Path = request.getfixturevalue({"causal": "tiny_gpt2", "seq2seq": "tiny_t5"}[backend])
    data_dir = write_small_data(tmp_path / "data", 4, 8)
    config = configure(
        str(tmp_path / "a"), base=str(base), data_dir=str(data_dir), precision="float32",
        epochs=1, batch_size=2, template="bca", method=method,
    )  # fmt: skip
    manifest = train(config)
    text = (tmp_path / "a" / CARD_FILE).read_text("utf-8")
    assert "| answer | in words, to the template `bca` |" in text
    assert "lm_eval --tasks valueeval_bca --model valueeval --model_args adapter=ORG/NAME" in text
    assert f"| `macro_f1` | {manifest.validation['macro_f1']:.3f} |" in text
    assert "head" not in text_of(text)
    assert str(tmp_path) not in text
    assert str(base) not in text

    options = options_in(text)
    assert not {"heads", "pooling", "segments", "max_length"} & options.keys()
    path = tmp_path / "options.yaml"
    path.write_text(yaml.safe_dump({**options, "base": str(base)}), "utf-8")
    again = parse_config(["--config", str(path), "--output", "x"])
    assert again.recipe() == manifest.config

    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    code = code.replace("ORG/NAME", str(tmp_path / "a")).replace(f"PATH/TO/{base.name}", str(base))
    scope: dict[str, object] = {}
    exec(code, scope)  # noqa: S102 (the card's own)
    model = scope["model"]
    assert isinstance(model, PeftModel) == (method == "lora")
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    assert type(inner) is type(load_base(base, backend))
    assert name in code


@pytest.fixture(scope="module")
def config(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    folder = tmp_path_factory.mktemp("trained")
    data_dir = write_small_data(folder / "data", 24, 40)
    return small_config(folder / "adapter", tiny_bert, data_dir, method="lora", epochs=1)


@pytest.fixture(scope="module")
def adapter(config: TrainConfig) -> Path:
    train(config)
    return Path(config.output)


def test_says_nothing_of_the_machine(adapter: Path, config: TrainConfig) -> None:
    text = (adapter / CARD_FILE).read_text("utf-8")
    for path in (config.base, config.output, config.data_dir, os.getcwd(), str(Path.home()) + "/"):
        assert str(path) not in text


def test_holds_the_scores_of_the_manifest(adapter: Path, config: TrainConfig) -> None:
    from valueeval.adapters.classifier.ensemble import load_adapter

    text = (adapter / CARD_FILE).read_text("utf-8")
    validation = load_set("validation", config.data_dir)
    model = load_adapter(str(adapter), "cpu")
    prediction = model.manifest.thresholds.decide(model.logits(validation.arguments))
    keys = [conclusion_key(conclusion) for conclusion in validation.conclusions]
    found = intervals(validation.labels, prediction, keys).macro_f1
    assert found.ci_low is None
    row = f"| `macro_f1` | {found.estimate:.3f} | unknown: too few conclusions |"
    assert row in text
    assert model.manifest.validation["macro_f1"] == found.estimate


def test_may_be_edited_and_removed(adapter: Path) -> None:
    manifest = read_manifest(adapter)
    assert CARD_FILE not in manifest.files
    card = adapter / CARD_FILE
    text = card.read_text("utf-8")
    card.write_text("mine", "utf-8")
    assert read_manifest(adapter) == manifest
    card.unlink()
    assert read_manifest(adapter) == manifest
    card.write_text(text, "utf-8")


def test_of_the_same_run_is_the_same(
    adapter: Path, manifest: Manifest, sets: tuple[DataSet, DataSet], tmp_path: Path
) -> None:
    prediction = np.ones_like(sets[1].labels)
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        write_card(folder, manifest, HUB_BASE, sets, prediction)
    assert (tmp_path / "a" / CARD_FILE).read_bytes() == (tmp_path / "b" / CARD_FILE).read_bytes()
    assert not list(tmp_path.rglob("*.tmp"))
