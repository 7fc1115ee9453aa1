"""Several adapters as one model: `adapter=A+B+C`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from language_models import task_manager
from lm_eval import simple_evaluate
from tiny_adapters import write_adapter

from valueeval.adapters.classifier.classifier import load_classifier
from valueeval.adapters.classifier.ensemble import Ensemble, load_adapter
from valueeval.adapters.directory import base
from valueeval.adapters.directory.ensemble import (
    adapter_name,
    average_manifest,
    find_members,
    member_folders,
    read_adapter,
    write_average,
)
from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.manifest import Manifest, Thresholds, TrainingData
from valueeval.adapters.directory.manifest_file import MANIFEST_FILE, read_manifest, write_manifest
from valueeval.adapters.harness.resolved_adapter import ResolvedAdapter
from valueeval.adapters.predict import cli as cli_predict
from valueeval.registration import register
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.display import error_message
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_SLUGS

ARGUMENTS = load_set("sample").arguments[:9]
HALF = Thresholds((0.5,) * 20, "none", "none")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> list[Path]:
    runs = tmp_path_factory.mktemp("runs")
    return [write_adapter(runs / name, tiny_bert, seed) for seed, name in enumerate("abc")]


@pytest.fixture(scope="module")
def joined(folders: list[Path]) -> str:
    return "+".join(map(str, folders))


def test_decides_by_the_mean_of_logit_less_threshold(folders: list[Path], joined: str) -> None:
    average = load_adapter(joined, "cpu")
    assert isinstance(average, Ensemble)
    members = [load_classifier(folder, "cpu") for folder in folders]
    margins = [
        m.logits(ARGUMENTS).astype(np.float64) - m.manifest.thresholds.logits for m in members
    ]
    expected = np.mean(margins, axis=0)
    one = average.logits(ARGUMENTS, batch_size=1)
    np.testing.assert_allclose(one - average.manifest.thresholds.logits, expected, atol=1e-5)
    assert (average.manifest.thresholds.decide(one) == (expected > 0)).all()
    np.testing.assert_allclose(average.logits(ARGUMENTS, batch_size=8), one, atol=1e-5)
    assert not np.allclose(one, members[0].logits(ARGUMENTS), atol=0.01)


def test_thresholds_by_hand(folders: list[Path], tmp_path: Path, tiny_bert: Path) -> None:
    """Odds of 4 and 1 (0.8 and 0.5): the mean of the logits is that of odds of 2, or 2/3."""
    for name, value in (("low", 0.5), ("high", 0.8)):
        folder = write_adapter(tmp_path / name, tiny_bert)
        thresholds = Thresholds((value,) * 20, "validation", "macro_f1")
        write_manifest(folder, replace(read_manifest(folder), thresholds=thresholds))
    manifest = read_adapter(f"{tmp_path / 'low'}+{tmp_path / 'high'}")
    assert manifest.thresholds.values == pytest.approx([2 / 3] * 20)
    assert (manifest.thresholds.split, manifest.thresholds.metric) == ("validation", "macro_f1")


def test_manifest_describes_all(folders: list[Path], joined: str) -> None:
    manifest = read_adapter(joined)
    one = read_manifest(folders[0])
    assert manifest.parameters.total == 3 * one.parameters.total
    assert manifest.base_model == one.base_model
    assert (manifest.method, manifest.objective) == ("full", "bce")
    assert [member["seed"] for member in manifest.config["members"]] == [0, 1, 2]
    assert [member["adapter"] for member in manifest.config["members"]] == list(map(str, folders))
    assert manifest.validation == {}
    assert manifest.weights_sha256 not in {read_manifest(f).weights_sha256 for f in folders}
    json.dumps(manifest.to_json(), allow_nan=False)


def test_of_other_methods_and_thresholds(
    folders: list[Path], tmp_path: Path, tiny_bert: Path
) -> None:
    folder = write_adapter(tmp_path / "other", tiny_bert)
    manifest: Manifest = read_manifest(folder)
    write_manifest(folder, replace(manifest, objective="focal", thresholds=HALF))
    together = read_adapter(f"{folders[0]}+{folder}")
    assert together.objective == "bce+focal"
    assert together.thresholds.split == "validation"  # one of them was tuned


def test_the_base_is_named_once_by_whatever_path(folders: list[Path]) -> None:
    one = read_manifest(folders[0])
    moved = replace(one, base_model=replace(one.base_model, name="models/moved"))
    other = replace(one, base_model=replace(one.base_model, name="other", sha256="c" * 64))
    assert average_manifest("ab", [one, moved]).base_model == one.base_model
    named = average_manifest("abc", [one, moved, other]).base_model.name
    assert named == f"{one.base_model.name}+other"


def test_an_average_was_trained_on_all_that_its_members_were(folders: list[Path]) -> None:
    """Two folds of files a and b, and one adapter that was trained on a."""
    one = read_manifest(folders[0])
    part = replace(one, data=TrainingData("touche23", "training", 9, "a" * 64))
    whole = TrainingData("touche23", "training+validation", 8, f"{'a' * 64}+{'b' * 64}", folds=5)
    folds = [replace(one, data=replace(whole, left_out=(fold,))) for fold in (1, 0)]
    both = replace(whole, size=9, left_out=(0, 1))
    for members in ([part, *folds], [*folds, part]):
        assert average_manifest("xyz", members).data == both
    apart = replace(one, data=TrainingData("touche23", "validation", 9, "c" * 64))
    with pytest.raises(
        ValueEvalError, match=r"y and z were trained on different data: touche23 tr"
    ):
        average_manifest("xyz", [part, folds[0], apart])
    ten = replace(folds[0], data=replace(folds[0].data, folds=10))
    with pytest.raises(ValueEvalError, match="x and y were trained on different data"):
        average_manifest("xy", [folds[0], ten])


def test_names(folders: list[Path], joined: str, tmp_path: Path) -> None:
    assert adapter_name(joined) == str(folders[0].parent / "a+b+c")
    assert adapter_name("x/a+y/b") == "x/a+y/b"
    assert adapter_name("runs/a/") == "runs/a"
    (tmp_path / "with+plus").mkdir()
    assert member_folders(str(tmp_path / "with+plus")) == [tmp_path / "with+plus"]


def test_refusals(folders: list[Path], tmp_path: Path, tiny_bert: Path) -> None:
    a = str(folders[0])
    with pytest.raises(ValueEvalError, match="given twice"):
        load_adapter(f"{a}+{a}/")
    with pytest.raises(ValueEvalError, match="missing beside a"):
        load_adapter(f"{a}+")
    with pytest.raises(ValueEvalError, match="nowhere: no such adapter directory"):
        load_adapter(f"{a}+{tmp_path / 'nowhere'}")
    other = write_adapter(tmp_path / "other", tiny_bert)
    manifest = read_manifest(other)
    write_manifest(other, replace(manifest, data=replace(manifest.data, sha256="1" * 64)))
    with pytest.raises(ValueEvalError, match="trained on different data"):
        load_adapter(f"{a}+{other}")
    write_manifest(other, replace(manifest, head=None, template="bca"))
    with pytest.raises(ValueEvalError, match="template 'bca' answers in words"):
        load_adapter(f"{a}+{other}")


# ------------------------------------------------------------------ a directory that lists them


@pytest.fixture
def average(joined: str, tmp_path: Path) -> Path:
    write_average(tmp_path / "average", joined)
    return tmp_path / "average"


def edit(average: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((average / MANIFEST_FILE).read_text("utf-8"))
    change(content)
    (average / MANIFEST_FILE).write_text(json.dumps(content), "utf-8")


def test_a_directory_of_members_is_what_they_are_joined(average: Path, joined: str) -> None:
    assert [path.name for path in average.iterdir()] == [MANIFEST_FILE]
    one, other = load_adapter(str(average), "cpu"), load_adapter(joined, "cpu")
    np.testing.assert_array_equal(one.logits(ARGUMENTS), other.logits(ARGUMENTS))
    assert one.manifest.thresholds == other.manifest.thresholds
    assert one.manifest.weights_sha256 == other.manifest.weights_sha256
    assert adapter_name(str(average)) == str(average)
    assert not ResolvedAdapter.from_args({"adapter": str(average)}).is_language_model


def test_a_directory_of_members_moves_with_them(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths are relative to the directory, wherever one stands."""
    for folder in folders[:2]:
        shutil.copytree(folder, tmp_path / "here" / folder.name)
    monkeypatch.chdir(tmp_path / "here")
    write_average("average", "a+b")
    listed = json.loads(Path("average", MANIFEST_FILE).read_text("utf-8"))["members"]
    assert [member["adapter"] for member in listed] == ["../a", "../b"]
    shutil.move(tmp_path / "here", tmp_path / "there")
    monkeypatch.chdir(tmp_path)
    assert len(find_members("there/average").folders) == 2


MEMBERS: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("one", lambda m: m["members"].__delitem__(slice(1, None)), "members: 1; allowed: 2 to 1000"),
    ("no list", lambda m: m.update(members="a+b"), "members: 'a\\+b'; allowed: a list"),
    ("other schema", lambda m: m.update(schema_version=2), "schema_version: 2"),
    ("unknown", lambda m: m.update(weights=[1, 2]), "weights: unknown field"),
    ("no hash", lambda m: m["members"][1].pop("weights_sha256"), r"members\[1\].weights.*missing"),
    (
        "other weights",
        lambda m: m["members"][1].update(weights_sha256="0"),
        r"members\[1\]: .*b has other weights than those listed \(\w{64} there, 0 here\)",
    ),
    (
        "missing",
        lambda m: m["members"][2].update(adapter="../nowhere"),
        r"members\[2\]: .*nowhere: no such adapter directory",
    ),
    ("itself", lambda m: m["members"][0].update(adapter=""), r"members\[0\]: .* an average of"),
    (
        "100,000",
        lambda m: m.update(members=m["members"][:1] * 100_000),
        "members: 100000; allowed: 2 to 1000",
    ),
    (
        "path of 100,000 characters",
        lambda m: m["members"][1].update(adapter="x" * 100_000),
        r"members\[1\].adapter: a text of 100000 characters; allowed: at most 10000",
    ),
    (
        "path of 9000 characters",
        lambda m: m["members"][1].update(adapter="x" * 9000),
        r"members\[1\]: .*File name too long",
    ),
    (
        "path with NUL",
        lambda m: m["members"][1].update(adapter="../b\0"),
        r"members\[1\].adapter: '../b.x00' holds '.x00', which is no text",
    ),
    (
        "path with half a surrogate pair",
        lambda m: m["members"][1].update(adapter="../b\udc80"),
        r"members\[1\].adapter: '../b.udc80' holds '.udc80'",
    ),
    ("twice", lambda m: m["members"].append(m["members"][0]), "a name is given twice"),
]


@pytest.mark.parametrize(
    ("change", "reason"),
    [pytest.param(change, reason, id=name) for name, change, reason in MEMBERS],
)
def test_refuses_a_list_of_members_that_is_wrong(
    average: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    edit(average, change)
    with pytest.raises(ValueEvalError, match=reason) as caught:
        load_adapter(str(average))
    assert str(average / MANIFEST_FILE) in str(caught.value)
    assert len(error_message(caught.value).splitlines()) == 1
    assert len(error_message(caught.value)) < 1100


def test_many_long_names_joined_are_no_path(joined: str) -> None:
    """The file system takes names of 255 characters and paths of 4096."""
    with pytest.raises(ValueEvalError, match="no such adapter directory"):
        load_adapter("+".join([*joined.split("+"), *(f"nowhere{n}" for n in range(1000))]))


def test_an_average_is_no_member(average: Path, folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"an average of adapters .* a single one is needed"):
        load_adapter(f"{folders[0]}+{average}")
    with pytest.raises(ManifestError, match="a single one is needed"):
        load_classifier(average)
    with pytest.raises(ValueEvalError, match="members: 1; allowed: 2 to 1000"):
        write_average(tmp_path / "one", str(folders[0]))
    assert not (tmp_path / "one").exists()


def test_an_average_overwrites_nothing(joined: str, folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueEvalError, match="holds other files"):
        write_average(folders[0], joined)
    read_manifest(folders[0])
    (tmp_path / "file").write_text("mine", "utf-8")
    with pytest.raises(ValueEvalError, match="cannot be written"):
        write_average(tmp_path / "file", joined)
    assert (tmp_path / "file").read_text("utf-8") == "mine"


def test_weights_are_hashed_once(joined: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []

    def weight_hash(files: list[Path]) -> str:
        hashed.extend(files)
        return base.weight_hash(files)

    monkeypatch.setattr("valueeval.adapters.directory.manifest_file.weight_hash", weight_hash)
    load_adapter(joined, "cpu")
    assert len(hashed) == len(set(hashed)) > 3


# --------------------------------------------------------------------------------- where it is used


@pytest.mark.parametrize("directory", [False, True])
def test_as_a_model_of_lm_eval(
    joined: str, average: Path, directory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    register()
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)
    results = simple_evaluate(
        model="valueeval",
        model_args={"adapter": str(average) if directory else joined},
        tasks=["valueeval_cls_sample"],
        limit=len(ARGUMENTS),
        device="cpu",
        batch_size=4,
        task_manager=task_manager(),
    )
    config = results["config"]["valueeval"]
    assert len(config["config"]["members"]) == 3
    assert results["config"]["model_num_parameters"] == config["parameters"]["total"]
    classifier = load_adapter(joined, "cpu")
    decided = classifier.manifest.thresholds.decide(classifier.logits(ARGUMENTS))
    for sample in results["samples"]["valueeval_cls_sample"]:
        row = [argument.id for argument in ARGUMENTS].index(sample["doc"]["id"])
        assert sample["macro_f1"]["prediction"] == decided[row].astype(int).tolist()


@pytest.mark.parametrize("directory", [False, True])
def test_labels_a_table(joined: str, average: Path, directory: bool, tmp_path: Path) -> None:
    argument = ARGUMENTS[0]
    row = {
        "Premise": argument.premise,
        "Conclusion": argument.conclusion,
        "Stance": argument.stance,
    }
    (tmp_path / "in.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    out = tmp_path / "out.jsonl"
    adapter = str(average) if directory else joined
    words = [str(tmp_path / "in.jsonl"), "--adapter", adapter, "-o", str(out), "--device", "cpu"]
    assert cli_predict.main(words) == 0
    labelled = json.loads(out.read_text("utf-8"))
    classifier = load_adapter(joined, "cpu")
    decided = classifier.manifest.thresholds.decide(classifier.logits([argument]))[0]
    assert [labelled[slug] for slug in VALUE_SLUGS] == decided.astype(int).tolist()
