"""Export an adapter with a head to ONNX, once, into the user's cache.

LoRA's weights are merged; `torch.onnx.export` writes encoder and head as one graph, which is
checked against PyTorch on the sample set's arguments, whole and as texts alone. For int8, ONNX
Runtime's `quantize_dynamic` takes the linear layers of that graph, but for the second layers of the
first half of feed-forward blocks, whose inputs have the largest outliers. Measured on minilm, as
macro_f1 on validation and as the speed of float32: all layers in int8 lose 0.0034 (all weights
trained; half of validation; 2.3 times); without those of the first third, 0.0003 there, 0.0022 for
the LoRA that ships with the package (2.1 times), and without the first half 0.0020 (1.95 times).
On a processor without VNNI weights have 7 bits; there, and without the first half, it gains 0.0003.
"""

from __future__ import annotations

import io
import json
import logging
import secrets
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from valueeval.adapters.classifier.backbones import pad_token
from valueeval.adapters.classifier.classifier import Classifier, collate, load_classifier
from valueeval.adapters.classifier.encoding import encode
from valueeval.adapters.directory.manifest import Manifest
from valueeval.adapters.directory.manifest_file import describe_files
from valueeval.adapters.engines.exported import (
    EXPORT_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    Export,
    ExportedClassifier,
    FileTokenizer,
    export_folder,
    read_export,
)
from valueeval.adapters.runtime.precision import overflows_in_8_bits
from valueeval.tasks.data.dataset import Argument, load_set
from valueeval.tasks.errors import ValueEvalError, first_line

METHODS = ("full", "head", "lora")
"""Methods whose models are exported; soft prompts are not."""
TOLERANCE = 1e-4
"""The largest difference from PyTorch's logits, in float32."""
_LARGEST = 1_800_000_000  # bytes; one file of ONNX holds 2 GB
_LIBRARIES = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime")


def export(adapter: Path, manifest: Manifest, precision: str) -> Path:
    """Return the folder of an adapter's export; made if it is not in the cache yet.

    Args:
        adapter: The adapter directory.
        manifest: Its manifest, read and checked.
        precision: ``"float32"`` or ``"int8"``.

    Raises:
        ValueEvalError: It cannot be exported, or answers otherwise than in PyTorch.
    """
    folder = export_folder(manifest, precision)
    if read_export(folder) is not None:
        return folder
    if manifest.method not in METHODS:
        raise ValueEvalError(
            f"{adapter}: method {manifest.method!r} cannot be exported to ONNX; exported are "
            + ", ".join(METHODS)
        )
    classifier = load_classifier(adapter, "cpu", manifest)
    made = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        made.mkdir(parents=True)
        try:
            found = _write(classifier, made)
            _check(classifier, found, made)
        except ValueEvalError:
            raise
        except Exception as error:  # whatever an exporter finds that it does not know
            raise ValueEvalError(
                f"{adapter}: cannot be exported to ONNX ({type(error).__name__}: "
                f"{first_line(error)})"
            ) from error
        if precision == "int8":
            _quantise(made / MODEL_FILE)
            found = replace(found, precision=precision)
        difference = _difference(classifier, _described(found, made), made)
        described = replace(_described(found, made), largest_difference=difference)
        (made / EXPORT_FILE).write_text(json.dumps(asdict(described), indent=1) + "\n", "utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        try:
            made.rename(folder)
        except OSError:  # another process was faster
            if read_export(folder) is None:
                raise
    except OSError as error:
        raise ValueEvalError(f"{folder}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


class _Graph(nn.Module):
    """A classifier with its inputs by position, as an exported graph has them."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return logits, (batch, outputs), of inputs (batch, length)."""
        found: torch.Tensor = self.model(**dict(zip(self.names, inputs, strict=True)))
        return found


def _write(classifier: Classifier, folder: Path) -> Export:
    """Write graph and tokenizer; return their description, without files."""
    backend = getattr(classifier.tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ValueEvalError(
            f"{classifier.manifest.base_model.name}: its tokenizer has no tokenizer.json, so it "
            "cannot be exported to ONNX"
        )
    model = classifier.model
    if sum(p.numel() for p in model.parameters()) * 4 > _LARGEST:
        raise ValueEvalError("the model is too large for one ONNX file (2 GB)")
    if hasattr(model.backbone, "merge_and_unload"):
        model.backbone = cast(Any, model.backbone).merge_and_unload()
    # The plain formula of attention, which every exporter knows.
    cast(Any, model.backbone).config._attn_implementation = "eager"
    arguments = load_set("sample").arguments[:3]
    encoded = encode(classifier.tokenizer, arguments, classifier.manifest.reading)
    padding = pad_token(classifier.tokenizer)
    batch = collate(encoded, range(len(encoded.inputs)), padding)
    names = tuple(batch)
    sizes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with _quiet():
        program = torch.onnx.export(
            _Graph(model, names).eval(),
            tuple(batch.values()),
            dynamo=True,
            input_names=list(names),
            output_names=["logits"],
            dynamic_shapes={"inputs": tuple(sizes for _ in names)},
        )
    assert program is not None  # noqa: S101 (dynamo returns one; for the type checker)
    program.save(str(folder / MODEL_FILE), external_data=False)
    backend.save(str(folder / TOKENIZER_FILE))
    versions = {name: metadata.version(name) for name in _LIBRARIES}
    return Export("float32", names, padding, 0.0, {}, versions)


def _described(export: Export, folder: Path) -> Export:
    return replace(export, files=describe_files(folder))


def _check(classifier: Classifier, found: Export, folder: Path) -> None:
    """Refuse a graph or a tokenizer that answers otherwise than the original.

    Raises:
        ValueEvalError: It does.
    """
    form, texts = classifier.manifest.reading, checked_texts()
    tokenizer = FileTokenizer(folder / TOKENIZER_FILE, found.inputs)
    if encode(tokenizer, texts, form) != encode(classifier.tokenizer, texts, form):
        raise ValueEvalError("its tokenizer.json gives other tokens than its tokenizer")
    difference = _difference(classifier, found, folder)
    if not difference <= TOLERANCE:
        raise ValueEvalError(
            f"exported to ONNX, its logits differ from PyTorch's by up to {difference:.2g} "
            f"(allowed: {TOLERANCE})"
        )


def _difference(classifier: Classifier, found: Export, folder: Path) -> float:
    """Return the largest difference of logits between the graph and PyTorch."""
    texts = checked_texts()
    exported = ExportedClassifier(folder, found, classifier.manifest).logits(texts)
    return float(np.abs(exported - classifier.logits(texts)).max())


def checked_texts() -> tuple[Argument, ...]:
    """Return the sample set's arguments, whole and as texts alone, and one that is too long."""
    arguments = load_set("sample").arguments
    alone = tuple(replace(one, conclusion="", stance="") for one in arguments)
    long = replace(arguments[0], premise=" ".join(one.premise for one in arguments))
    return (*arguments, *alone, long)


def _quantise(file: Path) -> None:
    """Replace a graph by one whose linear layers multiply 8-bit numbers."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(str(file)).graph
    shapes = {one.name: list(one.dims) for one in graph.initializer}
    contracting = [
        node.name
        for node in graph.node
        if node.op_type == "MatMul" and _contracts(shapes.get(node.input[1], []))
    ]
    whole = file.with_suffix(".whole")
    file.rename(whole)
    with _quiet():
        quantize_dynamic(
            str(whole),
            str(file),
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=overflows_in_8_bits(),
            op_types_to_quantize=["MatMul", "Gemm"],
            nodes_to_exclude=contracting[: -(-len(contracting) // 2)],
        )
    whole.unlink()


def _contracts(shape: list[int]) -> bool:
    """Return True for weights (inputs, outputs) with at least twice as many inputs as outputs."""
    return len(shape) == 2 and shape[0] >= 2 * shape[1]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what exporters say about their own steps."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
