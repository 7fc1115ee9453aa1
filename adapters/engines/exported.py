"""Run an adapter that was exported to ONNX, in ONNX Runtime; PyTorch is not imported.

An export lies in the user's cache (``~/.cache/valueeval/engines/``, or in ``$VALUEEVAL_CACHE``),
under a key of the adapter's and the base model's weights. `valueeval.adapters.engines.export` makes
it. In float32 it gives what PyTorch gives, within 1e-4. In int8 the linear layers multiply 8-bit
numbers (dynamic quantisation: the range of the activations is that of the batch, so an answer can
depend a little on the texts that are read beside it).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valueeval.adapters.classifier.encoding import (
    TokenizedArguments,
    batches_by_length,
    encode,
)
from valueeval.adapters.directory.base import weight_hash
from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.manifest import FileInfo, Manifest
from valueeval.adapters.directory.typed_json import parse_dataclass, read_json
from valueeval.tasks.data.dataset import Argument, cache_dir
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.values import VALUE_NAMES

SCHEMA_VERSION = 2
"""Version of the layout and of how exports are made: older ones in the cache are made again."""
MODEL_FILE, TOKENIZER_FILE, EXPORT_FILE = "model.onnx", "tokenizer.json", "export.json"
PRECISIONS = ("float32", "int8")


@dataclass(frozen=True)
class Export:
    """The description of an export, ``export.json``.

    Attributes:
        precision: ``"float32"`` or ``"int8"``.
        inputs: The names of the model's inputs, each (batch, length).
        padding: The padding token.
        largest_difference: The largest difference from PyTorch's logits on the texts that it was
            checked on.
        files: Size and SHA-256 of the other files.
        versions: Versions of the libraries that made it.
        schema_version: `SCHEMA_VERSION`.
    """

    precision: str
    inputs: tuple[str, ...]
    padding: int
    largest_difference: float
    files: Mapping[str, FileInfo]
    versions: Mapping[str, str]
    schema_version: int = SCHEMA_VERSION


def export_folder(manifest: Manifest, precision: str) -> Path:
    """Return the folder in the cache for an adapter's export (it need not exist)."""
    identity = {
        "weights": manifest.weights_sha256,
        "base": manifest.base_model.sha256,
        "method": manifest.method,
        "head": [manifest.head.kind, manifest.head.pooling] if manifest.head else None,
        "max_length": manifest.reading.max_length,
        "precision": precision,
        "schema_version": SCHEMA_VERSION,
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    return cache_dir().parent / "engines" / key


def read_export(folder: Path) -> Export | None:
    """Return the description of an export; None if it is not there whole, as it was written."""
    try:
        export = parse_dataclass(Export, read_json(folder / EXPORT_FILE))
    except (OSError, ManifestError):
        return None
    if export.schema_version != SCHEMA_VERSION:
        return None
    for name in (MODEL_FILE, TOKENIZER_FILE):
        file, info = folder / name, export.files.get(name)
        if info is None or not file.is_file() or file.stat().st_size != info.bytes:
            return None
        if weight_hash([file]) != info.sha256:
            return None
    return export


class FileTokenizer:
    """The tokenizer of an export, called as Transformers' own; see `encode`.

    Args:
        file: A ``tokenizer.json``.
        inputs: The names of the model's inputs.
    """

    def __init__(self, file: Path, inputs: Sequence[str]) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(file))
        self._tokenizer.no_padding()
        self.model_input_names = list(inputs)

    def __call__(
        self,
        *texts: list[str],
        truncation: str | None = None,
        max_length: int | None = None,
        **others: Any,
    ) -> dict[str, list[list[int]]]:
        """Return the tokens of texts, or of pairs of texts, unpadded."""
        if truncation is None or max_length is None:
            self._tokenizer.no_truncation()
        else:
            self._tokenizer.enable_truncation(max_length, strategy=truncation)
        words: Any = texts[0] if len(texts) == 1 else list(zip(*texts, strict=True))
        found = self._tokenizer.encode_batch(words)
        tokens = {"input_ids": [one.ids for one in found]}
        if "token_type_ids" in self.model_input_names:
            tokens["token_type_ids"] = [one.type_ids for one in found]
        return tokens


class ExportedClassifier:
    """An exported adapter, with the interface of `valueeval.adapters.classifier.Classifier`.

    Args:
        folder: The folder of the export.
        export: Its description.
        manifest: The manifest of the adapter.

    Attributes:
        manifest: The manifest of the adapter.
        cut: Arguments that were cut to the input limit so far, once for each reading.
    """

    def __init__(self, folder: Path, export: Export, manifest: Manifest) -> None:
        import onnxruntime

        self.manifest = manifest
        self.cut: list[Argument] = []
        self._padding = export.padding
        self._inputs = export.inputs
        self._tokenizer = FileTokenizer(folder / TOKENIZER_FILE, export.inputs)
        options = onnxruntime.SessionOptions()
        # As PyTorch does; 0 is all cores.
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 0)
        try:
            self._session = onnxruntime.InferenceSession(
                str(folder / MODEL_FILE), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the library's own classes, which it does not export
            raise ValueEvalError(
                f"{folder / MODEL_FILE}: ONNX Runtime cannot read it ({error}); remove {folder}, "
                "and it is made again"
            ) from error

    def logits(self, arguments: Sequence[Argument], batch_size: int = 32) -> np.ndarray:
        """Return a logit for each argument and value: float32, (arguments, 20), in their order.

        Args:
            arguments: The arguments, in any order and of any length.
            batch_size: Number of inputs read at once, of similar length.
        """
        if batch_size < 1:
            raise ValueEvalError(f"batch_size: {batch_size}; allowed: 1 or more")
        encoded = encode(self._tokenizer, arguments, self.manifest.reading)
        self.cut += [arguments[row] for row in sorted(encoded.cut)]
        logits: list[npt.NDArray[np.float32]] = [np.empty(0, np.float32)] * len(encoded.inputs)
        for rows in batches_by_length(encoded.lengths, batch_size):
            (found,) = self._session.run(None, self._batch(encoded, rows))
            for row, answer in zip(rows, found, strict=True):
                logits[row] = answer
        return np.array(logits, dtype=np.float32).reshape(-1, len(VALUE_NAMES))

    def _batch(self, encoded: TokenizedArguments, rows: Sequence[int]) -> dict[str, Any]:
        """Return some inputs padded to the longest: int64, (rows, longest), by name."""
        items = [encoded.inputs[row] for row in rows]
        shape = (len(items), max(len(item["input_ids"]) for item in items))
        batch = {name: np.zeros(shape, np.int64) for name in self._inputs}
        batch["input_ids"] += self._padding
        for place, item in enumerate(items):
            length = len(item["input_ids"])
            for name in self._inputs:
                batch[name][place, :length] = 1 if name == "attention_mask" else item[name]
        return batch
