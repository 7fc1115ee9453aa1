"""Choose how an adapter with a head is run: ``--engine auto|torch|onnx|onnx-int8``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from valueeval.adapters.directory.ensemble import Members
from valueeval.adapters.directory.manifest import Manifest
from valueeval.adapters.engines.exported import ExportedClassifier, export_folder, read_export
from valueeval.tasks.data.dataset import Argument
from valueeval.tasks.display import did_you_mean
from valueeval.tasks.errors import ValueEvalError

if TYPE_CHECKING:
    from valueeval.adapters.classifier.classifier import Classifier
    from valueeval.adapters.classifier.ensemble import Ensemble

ENGINES = ("auto", "torch", "onnx", "onnx-int8")
MANY_TEXTS = 2000
"""Texts from which it is worth exporting an adapter that is not in the cache yet."""
MEASURED_FILE = "int8.json"
"""In a released adapter: macro_f1 on validation in float32 and in int8."""
MOST_LOST = 0.002
"""The largest loss of macro_f1 on validation with which ``auto`` takes int8."""


class AnyClassifier(Protocol):
    """Common interface of the engines: `Classifier`, `Ensemble` and `ExportedClassifier`."""

    manifest: Manifest

    @property
    def cut(self) -> Sequence[Argument]:
        """Return the arguments that were too long so far, and were cut."""

    def logits(self, arguments: Sequence[Argument], batch_size: int = 32) -> np.ndarray:
        """Return a logit for each argument and value: float32, (arguments, 20)."""


def load_with_engine(
    members: Members,
    engine: str = "auto",
    device: str | None = None,
    worth_exporting: bool = False,
    say: Callable[[str], None] = lambda note: None,
) -> tuple[AnyClassifier, str]:
    """Load an adapter, or several as one, and return it with the engine that runs it.

    ``auto`` takes ONNX Runtime on a machine without a GPU, for a single adapter that is in the
    cache already or is worth exporting: in int8 where its release has measured that this costs at
    most 0.002 of macro_f1 on validation, else in float32. In all other cases it takes PyTorch.

    Args:
        members: The adapter, read and checked.
        engine: One of `ENGINES`.
        device: The device to run on; None: the best for PyTorch, the CPU for ONNX Runtime.
        worth_exporting: True if ``auto`` may export it, which takes a while and 25 to 90 MB of
            cache for minilm: it is to read `MANY_TEXTS`, or is the one that ships.
        say: Takes notes for people.

    Raises:
        ValueEvalError: The engine that was asked for cannot run it; the message says why.
    """
    if engine not in ENGINES:
        raise ValueEvalError(
            f"engine: {engine!r}; allowed: {', '.join(ENGINES)}{did_you_mean(engine, ENGINES)}"
        )
    precision = "int8" if engine == "onnx-int8" else "float32"
    if engine == "torch":
        return _in_torch(members, device), "torch"
    reason = why_not_onnx(members, device)
    if engine != "auto":
        if reason is not None:
            raise ValueEvalError(f"--engine {engine}: {reason} (--engine torch runs it)")
        return _in_onnx(members, precision, say), engine
    if reason is not None or _may_have_gpu():
        return _in_torch(members, device), "torch"
    (folder,) = members.folders
    if int8_is_as_good(folder, members.manifest):
        precision = "int8"
    exported = read_export(export_folder(members.manifest, precision)) is not None
    if not (exported or worth_exporting):
        return _in_torch(members, device), "torch"
    chosen = "onnx-int8" if precision == "int8" else "onnx"
    try:
        return _in_onnx(members, precision, say), chosen
    except ValueEvalError as error:
        say(f"{error}: running in PyTorch")
        return _in_torch(members, device), "torch"


def why_not_onnx(members: Members, device: str | None) -> str | None:
    """Return why ONNX Runtime does not run an adapter; None if nothing is known against it."""
    if device not in (None, "cpu"):
        return f"it runs on the CPU, not on {device}"
    if len(members.folders) > 1:
        return "it runs single adapters, not several averaged"
    if members.manifest.head is None:
        return "it runs adapters with a head, not those that answer in words"
    missing = [name for name in ("onnxruntime", "onnx", "onnxscript") if not util.find_spec(name)]
    if missing:
        return f"{missing[0]} is not installed: pip install 'lm-eval-valueeval[onnx]'"
    return None


def int8_is_as_good(adapter: Path, manifest: Manifest) -> bool:
    """Return True if a release has measured that int8 costs at most 0.002 of macro_f1.

    A file that the adapter's manifest does not list may have been measured of other weights.
    """
    if MEASURED_FILE not in manifest.files:
        return False
    try:
        measured: Any = json.loads((adapter / MEASURED_FILE).read_text("utf-8"))
        lost = float(measured["float32"]) - float(measured["int8"])
    except (OSError, ValueError, TypeError, KeyError):
        return False
    return lost <= MOST_LOST


def _in_torch(members: Members, device: str | None) -> Classifier | Ensemble:
    # Slow to import.
    from valueeval.adapters.classifier.ensemble import load_members
    from valueeval.adapters.runtime.devices import choose_device

    return load_members(members, choose_device(device))


def _in_onnx(members: Members, precision: str, say: Callable[[str], None]) -> ExportedClassifier:
    (adapter,) = members.folders
    folder = export_folder(members.manifest, precision)
    export = read_export(folder)
    if export is None:
        from valueeval.adapters.engines.export import export as export_adapter

        say(f"exporting the adapter to ONNX ({precision}), once for this machine: some seconds")
        folder = export_adapter(adapter, members.manifest, precision)
        export = read_export(folder)
    if export is None:
        raise ValueEvalError(f"{folder}: cannot be read again after it was written")
    return ExportedClassifier(folder, export, members.manifest)


def _may_have_gpu() -> bool:
    """Return True if PyTorch may find an accelerator here; asking itself takes seconds."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return False
    if sys.platform == "darwin":
        return True
    places = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
    return sys.platform == "win32" or any(map(os.path.exists, places))
