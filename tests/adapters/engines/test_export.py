"""Adapters exported to ONNX: the same answers as in PyTorch, from the cache, without PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_adapters import make_manifest, write_adapter
from training import small_config, write_small_data

from valueeval.adapters.classifier.classifier import load_classifier
from valueeval.adapters.directory.ensemble import find_members
from valueeval.adapters.directory.manifest import FileInfo
from valueeval.adapters.directory.manifest_file import read_manifest
from valueeval.adapters.engines import choose
from valueeval.adapters.engines import export as exporting
from valueeval.adapters.engines.choose import int8_is_as_good, load_with_engine
from valueeval.adapters.engines.export import TOLERANCE, checked_texts, export
from valueeval.adapters.engines.exported import ExportedClassifier, export_folder, read_export
from valueeval.tasks.data.dataset import CACHE_VARIABLE
from valueeval.tasks.errors import ValueEvalError
from valueeval.train.run import train

# What the libraries warn of in their own code.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
TEXTS = checked_texts()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))


@pytest.fixture(scope="module")
def adapters(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Adapters of a few steps, by method."""
    folder = tmp_path_factory.mktemp("adapters")
    data = write_small_data(folder / "data", 20, 10)
    for method in ("full", "lora", "prompt-tuning"):
        options = {"method": method, "epochs": 1, "learning_rate": 0.01}
        train(small_config(folder / method, tiny_bert, data, **options))
    return {method: folder / method for method in ("full", "lora", "prompt-tuning")}


@pytest.mark.parametrize("method", [pytest.param("full", marks=pytest.mark.slow), "lora"])
def test_it_answers_as_pytorch_does_at_every_batch_size(
    adapters: dict[str, Path], method: str
) -> None:
    adapter = adapters[method]
    expected = load_classifier(adapter, "cpu")
    classifier, engine = load_with_engine(find_members(str(adapter)), "onnx")
    assert (engine, type(classifier)) == ("onnx", ExportedClassifier)
    logits = expected.logits(TEXTS)
    for batch_size in (1, 8, 32):
        found = classifier.logits(TEXTS, batch_size)
        np.testing.assert_allclose(found, logits, atol=TOLERANCE)
    # The one that is too long was cut, each time.
    assert len(classifier.cut) == 3 * len(expected.cut) >= 3
    assert classifier.logits([]).shape == (0, 20)
    described = read_export(export_folder(read_manifest(adapter), "float32"))
    assert described is not None
    assert described.largest_difference <= TOLERANCE


def test_it_is_exported_once_and_again_if_the_file_is_damaged(
    adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    members = find_members(str(adapters["lora"]))
    folder = export(adapters["lora"], members.manifest, "float32")
    calls: list[object] = []
    write = exporting._write
    monkeypatch.setattr(exporting, "_write", lambda *a: calls.append(a) or write(*a))
    load_with_engine(members, "onnx")
    assert not calls
    model = folder / "model.onnx"
    model.write_bytes(model.read_bytes()[:-100])
    assert read_export(folder) is None
    load_with_engine(members, "onnx")
    assert len(calls) == 1
    assert read_export(folder) is not None
    assert not list(folder.parent.glob(".*"))


def test_another_adapter_has_another_export(adapters: dict[str, Path]) -> None:
    manifests = [read_manifest(adapters[method]) for method in ("full", "lora")]
    folders = {export_folder(m, p) for m in manifests for p in ("float32", "int8")}
    assert len(folders) == 4


@pytest.mark.slow
def test_int8_is_near(adapters: dict[str, Path]) -> None:
    members = find_members(str(adapters["full"]))
    exact = load_classifier(adapters["full"], "cpu").logits(TEXTS)
    classifier, engine = load_with_engine(members, "onnx-int8")
    found = classifier.logits(TEXTS)
    assert engine == "onnx-int8"
    assert 0 < np.abs(found - exact).max() < 0.1 * np.abs(exact).max()


def test_int8_is_as_good_where_that_was_measured_of_these_weights(tmp_path: Path) -> None:
    """The manifest, which is checked against the files, lists what a release has measured."""
    released = make_manifest({choose.MEASURED_FILE: FileInfo(1, "0" * 64)})
    for content, expected in (
        ({"float32": 0.46, "int8": 0.4585}, True),
        ({"float32": 0.46, "int8": 0.457}, False),
        ({"float32": 0.46, "int8": 0.47}, True),
        ({"float32": None, "int8": 0.47}, False),
    ):
        (tmp_path / choose.MEASURED_FILE).write_text(json.dumps(content))
        assert int8_is_as_good(tmp_path, released) == expected
        assert not int8_is_as_good(tmp_path, make_manifest({}))
    assert not int8_is_as_good(tmp_path / "nothing", released)


def test_auto_exports_only_what_is_worth_it(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "_may_have_gpu", lambda: False)
    members = find_members(str(write_adapter(tmp_path / "adapter", tiny_bert)))
    assert load_with_engine(members)[1] == "torch"
    said: list[str] = []
    assert load_with_engine(members, worth_exporting=True, say=said.append)[1] == "onnx"
    assert said == ["exporting the adapter to ONNX (float32), once for this machine: some seconds"]
    assert load_with_engine(members, say=said.append)[1] == "onnx"
    assert len(said) == 1
    monkeypatch.setattr(choose, "_may_have_gpu", lambda: True)
    assert load_with_engine(members)[1] == "torch"


def test_auto_goes_on_in_pytorch_and_says_so_where_it_cannot_export(
    adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "_may_have_gpu", lambda: False)
    members, said = find_members(str(adapters["prompt-tuning"])), []
    engine = load_with_engine(members, worth_exporting=True, say=said.append)[1]
    assert engine == "torch"
    assert "method 'prompt-tuning' cannot be exported to ONNX" in said[-1]
    assert said[-1].endswith("running in PyTorch")


def test_refusals_say_what_to_do(
    adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = find_members(str(adapters["full"]))
    two = find_members(f"{adapters['full']}+{adapters['lora']}")
    for members, device, why in (
        (one, "cuda", r"--engine onnx: it runs on the CPU, not on cuda \(--engine torch runs it\)"),
        (two, None, "it runs single adapters"),
    ):
        with pytest.raises(ValueEvalError, match=why):
            load_with_engine(members, "onnx", device)
    with pytest.raises(
        ValueEvalError, match=r"engine: 'onx'; allowed: auto, torch, onnx.*; did you mean onnx\?"
    ):
        load_with_engine(one, "onx")
    monkeypatch.setattr(choose.util, "find_spec", lambda name: None)
    with pytest.raises(ValueEvalError, match=r"onnxruntime is not installed: pip install"):
        load_with_engine(one, "onnx")


def test_a_graph_that_answers_otherwise_is_refused_and_not_kept(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = write_adapter(tmp_path / "adapter", tiny_bert, seed=7)
    logits = ExportedClassifier.logits
    monkeypatch.setattr(ExportedClassifier, "logits", lambda *a, **k: logits(*a, **k) + 0.001)
    with pytest.raises(ValueEvalError, match=r"differ from PyTorch's by up to 0\.001 \(allowed"):
        load_with_engine(find_members(str(adapter)), "onnx")
    folder = export_folder(read_manifest(adapter), "float32")
    assert not folder.exists()
    assert not list(folder.parent.glob(".*"))


def test_neither_pytorch_nor_transformers_is_imported_to_run_it(
    adapters: dict[str, Path], tmp_path: Path
) -> None:
    adapter = adapters["lora"]
    export(adapter, read_manifest(adapter), "float32")
    table = tmp_path / "my.csv"
    table.write_text("text\n" + "".join(f"{one.premise!r}\n" for one in TEXTS[:3]))
    argv = [str(table), "--adapter", str(adapter), "--engine", "onnx"]
    code = (
        "import sys\nfrom valueeval.adapters.predict import cli\n"
        f"assert cli.main({argv!r}) == 0\n"
        "print(sorted({'torch', 'transformers', 'peft', 'lm_eval'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert (tmp_path / "my-labelled.csv").is_file()


def test_texts_alone_are_read_alone(adapters: dict[str, Path]) -> None:
    classifier, _ = load_with_engine(find_members(str(adapters["lora"])), "onnx")
    alone = [replace(one, conclusion="", stance="") for one in TEXTS[:5]]
    expected = load_classifier(adapters["lora"], "cpu").logits(alone)
    np.testing.assert_allclose(classifier.logits(alone), expected, atol=TOLERANCE)
