"""The manifest: written, read back, and refused when the directory does not go with it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_adapters import make_manifest

from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.input_format import InputFormat
from valueeval.adapters.directory.manifest import Manifest, Thresholds, manifest_from_json
from valueeval.adapters.directory.manifest_file import (
    MANIFEST_FILE,
    combined_hash,
    describe_files,
    read_manifest,
    write_manifest,
)
from valueeval.tasks.data.dataset import Argument
from valueeval.tasks.display import error_message


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A directory with two small files in the place of weights, and its manifest."""
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "head.safetensors").write_bytes(b"head")
    write_manifest(tmp_path, make_manifest(describe_files(tmp_path)))
    return tmp_path


def edit(adapter: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = adapter / MANIFEST_FILE
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), "utf-8")


def test_read_gives_what_was_written(adapter: Path) -> None:
    assert read_manifest(adapter) == make_manifest(describe_files(adapter))
    assert not list(adapter.glob("*.tmp")) + list(adapter.glob(".*"))


def test_json_is_strict_and_starts_with_the_schema_version(adapter: Path) -> None:
    text = (adapter / MANIFEST_FILE).read_text("utf-8")
    assert next(iter(json.loads(text))) == "schema_version"
    assert manifest_from_json(json.loads(text)).to_json() == json.loads(text)


CHANGES: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("other schema", lambda m: m.update(schema_version=2, brand_new=1), r"schema_version: 2; .* 1"),
    ("unknown template", lambda m: m.update(template="x", head=None, input=None), "template: 'x'"),
    ("number of 400 digits", lambda m: m.update(seconds=10**400), "seconds: 1000"),
    ("no schema", lambda m: m.pop("schema_version"), "schema_version: None"),
    ("label order", lambda m: m["labels"].reverse(), "labels: not the 20 value categories"),
    ("labels missing", lambda m: m.pop("labels"), "labels: missing"),
    ("unknown field", lambda m: m.update(treshold=1), "treshold: unknown field"),
    ("threshold of 1", lambda m: m["thresholds"]["values"].__setitem__(0, 1), "1.0 for 'Self-dir"),
    ("threshold count", lambda m: m["thresholds"]["values"].pop(), "19 numbers; allowed: 20"),
    (
        "threshold type",
        lambda m: m["thresholds"]["values"].__setitem__(3, "0.5"),
        r"thresholds\.values\[3\]: '0.5'; allowed: a number",
    ),
    ("test set", lambda m: m["thresholds"].update(split="main"), "thresholds.split: 'main'"),
    ("fold of none", lambda m: m["data"].update(left_out=[0]), r"data.left_out: \[0\]; .* none"),
    ("no such fold", lambda m: m["data"].update(folds=5, left_out=[5]), r"left_out: \[5\]"),
    ("head kind", lambda m: m["head"].update(kind="quadratic"), "head.kind: 'quadratic'; allowed"),
    ("no head", lambda m: m.update(head=None), "exactly one of them"),
    ("bool", lambda m: m["parameters"].update(total=True), "parameters.total: True"),
    ("not an object", lambda m: m.update(data=[]), "data: not an object"),
    ("field of input", lambda m: m["input"].update(segments=["{id}"]), r"field \{id\}"),
    (
        "attribute of a field",
        lambda m: m["input"].update(segments=["{premise.__class__}"]),
        r"field \{premise.__class__\}",
    ),
    ("open brace", lambda m: m["input"].update(segments=["{premise"]), "input.segments"),
    ("three texts", lambda m: m["input"].update(segments=["a", "b", "c"]), "one or two"),
    ("path", lambda m: m["files"].update({"../x": m["files"]["model.safetensors"]}), "plain file"),
    ("no weights", lambda m: m.update(files={}), "no .safetensors weights listed"),
    (
        "500 digits in the configuration",
        lambda m: m["config"].update(x=[10**500]),
        r"config.x\[0\]: 1",
    ),
    (
        "max_length",
        lambda m: m["input"].update(max_length=10**30),
        "input.max_length: 1000000000… is",
    ),
    ("infinite", lambda m: m["config"].update(x=float("inf")), "config.x: inf is not a finite"),
    ("date with an escape", lambda m: m.update(date="2026-01-01\x1b[2J"), "date: .* holds '.x1b'"),
    ("date of another kind", lambda m: m.update(date="yesterday"), "date: 'yesterday'; allowed"),
    ("date of two lines", lambda m: m.update(date=m["date"] + "\n"), "date: .*; allowed: such as"),
    ("method with a bell", lambda m: m.update(method="full\a"), "method: .* holds '.x07'"),
    (
        "name of 100,000 characters",
        lambda m: m["base_model"].update(name="x" * 100_000),
        "base_model.name: a text of 100000 characters; allowed: at most 10000",
    ),
    (
        "field of 100,000 characters",
        lambda m: m.update({"x" * 100_000: 1}),
        "x: unknown field",
    ),
    (
        "file of 100,000 characters",
        lambda m: m["files"].update({"x" * 100_000: m["files"]["model.safetensors"]}),
        "files: a text of 100000 characters",
    ),
    (
        "file of 5000 characters",
        lambda m: m["files"].update({"x" * 5000: m["files"]["model.safetensors"]}),
        "xx is missing from the directory",
    ),
    (
        "file with NUL",
        lambda m: m["files"].update({"x\0": m["files"]["model.safetensors"]}),
        "files: 'x.x00' holds '.x00'",
    ),
    (
        "file with half a surrogate pair",
        lambda m: m["files"].update({"x\ud800": m["files"]["model.safetensors"]}),
        "files: 'x.ud800' holds",
    ),
    (
        "premise 200,000 times",
        lambda m: m["input"].update(segments=["{premise}" * 200_000]),
        r"input.segments\[0\]: a text of 1800000 characters",
    ),
    ("weights hash", lambda m: m.update(weights_sha256="0"), "weights_sha256"),
]


@pytest.mark.parametrize(
    ("change", "reason"),
    [pytest.param(change, reason, id=name) for name, change, reason in CHANGES],
)
def test_refuses_with_the_reason(
    adapter: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    edit(adapter, change)
    with pytest.raises(ManifestError, match=reason) as caught:
        read_manifest(adapter)
    assert str(adapter / MANIFEST_FILE) in str(caught.value)
    assert len(error_message(caught.value).splitlines()) == 1
    assert len(error_message(caught.value)) < 1100


def test_refuses_an_adapter_whose_name_no_file_can_have() -> None:
    with pytest.raises(ManifestError, match="File name too long"):
        read_manifest("x" * 100_000)


def test_refuses_weights_that_cannot_be_read(
    adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(files: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("valueeval.adapters.directory.manifest_file.weight_hash", denied)
    with pytest.raises(ManifestError, match=r"safetensors cannot be read \(.*Permission denied"):
        read_manifest(adapter)


def test_refuses_nan(adapter: Path) -> None:
    edit(adapter, lambda m: m.update(seconds=float("nan")))
    with pytest.raises(ManifestError, match="seconds: nan is not a finite number"):
        read_manifest(adapter)


def test_refuses_missing_truncated_and_changed_weights(adapter: Path) -> None:
    weights = adapter / "model.safetensors"
    weights.write_bytes(b"weight")
    with pytest.raises(ManifestError, match=r"model.safetensors has 6 bytes instead of 7"):
        read_manifest(adapter)
    weights.write_bytes(b"weighty")
    with pytest.raises(ManifestError, match=r"model.safetensors was changed"):
        read_manifest(adapter)
    weights.unlink()
    with pytest.raises(ManifestError, match=r"model.safetensors is missing"):
        read_manifest(adapter)


def test_says_what_a_directory_without_manifest_is(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no valueeval\.json in it"):
        read_manifest(tmp_path)
    with pytest.raises(ManifestError, match="no such adapter directory"):
        read_manifest(tmp_path / "none")
    (tmp_path / "half.training").mkdir()
    with pytest.raises(ManifestError, match=r"unfinished .* --resume"):
        read_manifest(tmp_path / "half")


def test_refuses_broken_json(adapter: Path) -> None:
    (adapter / MANIFEST_FILE).write_text('{"schema_version": 1,', "utf-8")
    with pytest.raises(ManifestError, match="not valid JSON"):
        read_manifest(adapter)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 200_000, "nested too deeply"),
        ('{"seed": ' + "1" * 5000 + "}", "1111111111… is a number of 5000 digits"),
        ('{"seed": 1, "seed": 2}', "the key 'seed' stands there twice"),
    ],
    ids=["nested", "digits", "twice"],
)
def test_refuses_odd_json_in_one_line(adapter: Path, text: str, reason: str) -> None:
    (adapter / MANIFEST_FILE).write_text(text, "utf-8")
    with pytest.raises(ManifestError, match=reason) as caught:
        read_manifest(adapter)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 400


def test_refuses_a_pipe_as_manifest(adapter: Path) -> None:
    (adapter / MANIFEST_FILE).unlink()
    os.mkfifo(adapter / MANIFEST_FILE)
    with pytest.raises(ManifestError, match="not a regular file"):
        read_manifest(adapter)


def test_writes_nothing_that_is_not_there(adapter: Path) -> None:
    manifest = make_manifest(describe_files(adapter))
    (adapter / MANIFEST_FILE).unlink()
    (adapter / "head.safetensors").unlink()
    with pytest.raises(ManifestError, match=r"head\.safetensors is missing"):
        write_manifest(adapter, manifest)
    assert not (adapter / MANIFEST_FILE).exists()


def test_same_weights_same_identity(adapter: Path) -> None:
    """The identity covers weights only: another tokenizer file does not change it."""
    before = combined_hash(describe_files(adapter))
    (adapter / "tokenizer.json").write_text("{}", "utf-8")
    assert combined_hash(describe_files(adapter)) == before
    (adapter / "head.safetensors").write_bytes(b"heat")
    assert combined_hash(describe_files(adapter)) != before


def test_a_value_is_predicted_strictly_above_its_threshold() -> None:
    thresholds = Thresholds((0.5,) * 19 + (0.9,), "validation", "macro_f1")
    logits = np.array([[0.0] + [1e-6] * 18 + [2.19]], dtype=np.float32)  # logit of 0.9: 2.197
    assert thresholds.decide(logits)[0].tolist() == [False] + [True] * 18 + [False]
    assert thresholds.decide(logits + 0.01).all()


def test_texts_of_an_argument() -> None:
    argument = Argument("1", "We should {x}", "in favor of", "It helps")
    assert InputFormat(("{premise}", "{stance_word}: {conclusion}"), 64).texts(argument) == (
        "It helps",
        "for: We should {x}",
    )
    assert InputFormat(("{stance} {conclusion}",), 64).texts(argument) == (
        "in favor of We should {x}",
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
FIELDS = [name for name in Manifest.__dataclass_fields__ if name != "schema_version"]


@settings(deadline=None)
@given(name=st.sampled_from(FIELDS), value=json_values)
def test_no_value_of_a_field_crashes_the_reader(name: str, value: object) -> None:
    content = make_manifest({}).to_json()
    content[name] = value
    with contextlib.suppress(ManifestError):
        manifest_from_json(content)
