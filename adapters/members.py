"""Names and manifests of several adapters as one: ``adapter=A+B+C``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from valueeval.adapters.manifest import BaseModel, Manifest, Parameters, Thresholds, read_manifest
from valueeval.tasks.errors import ValueEvalError


def read_adapter(adapter: str) -> Manifest:
    """The manifest of an adapter directory, or of several joined by ``+`` together.

    Raises:
        ValueEvalError: One cannot be used, or they do not go together.
    """
    folders = member_folders(adapter)
    manifests = [read_manifest(folder) for folder in folders]
    return manifests[0] if len(folders) == 1 else _together(folders, manifests)


def member_folders(adapter: str) -> list[Path]:
    """The directories that an adapter's name stands for; one, unless they are joined by ``+``.

    Raises:
        ValueEvalError: A name is missing, or one is there twice.
    """
    whole = Path(adapter).expanduser()
    if "+" not in adapter or whole.exists():
        return [whole]
    names = adapter.split("+")
    folders = [Path(name).expanduser() for name in names]
    if not all(name.strip() for name in names):
        raise ValueEvalError(f"adapter={adapter}: a name is missing beside a +")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueEvalError(f"adapter={adapter}: one is named twice; it would count twice")
    return folders


def adapter_name(adapter: str) -> str:
    """A short name: for members in one folder, that folder is named once (``runs/a+b+c``)."""
    folders = member_folders(adapter)
    parents = {folder.parent for folder in folders}
    if len(folders) == 1 or len(parents) > 1:
        return "+".join(str(folder) for folder in folders)
    return str(folders[0].parent / "+".join(folder.name for folder in folders))


def _together(folders: Sequence[Path], manifests: Sequence[Manifest]) -> Manifest:
    first = manifests[0]
    for folder, manifest in zip(folders, manifests, strict=True):
        if manifest.head is None:
            raise ValueEvalError(
                f"{folder}: template {manifest.template!r} answers in words; only classifiers with "
                "a head can be averaged"
            )
        if manifest.data.sha256 != first.data.sha256:
            raise ValueEvalError(
                f"{folders[0]} and {folder} were trained on different data ({first.data.name} and "
                f"{manifest.data.name}); average adapters of one data set"
            )
    cut_first = min(manifests, key=lambda manifest: manifest.input.max_length)
    hashes = "".join(manifest.weights_sha256 for manifest in manifests)
    return replace(
        first,
        input=cut_first.input,
        base_model=_common_base(manifests),
        method="+".join(dict.fromkeys(manifest.method for manifest in manifests)),
        objective="+".join(dict.fromkeys(manifest.objective for manifest in manifests)),
        thresholds=_mean_thresholds(manifests),
        parameters=Parameters(
            total=sum(manifest.parameters.total for manifest in manifests),
            trainable=sum(manifest.parameters.trainable for manifest in manifests),
        ),
        data=replace(first.data, size=max(manifest.data.size for manifest in manifests)),
        config={"members": [_member(*pair) for pair in zip(folders, manifests, strict=True)]},
        validation={},  # of the members, in config; nobody has measured the mean
        seconds=sum(manifest.seconds for manifest in manifests),
        peak_memory_bytes=max(manifest.peak_memory_bytes for manifest in manifests),
        date=max(manifest.date for manifest in manifests),
        files={},
        weights_sha256=hashlib.sha256(hashes.encode()).hexdigest(),
    )


def _member(folder: Path, manifest: Manifest) -> dict[str, object]:
    return {
        "adapter": str(folder),
        "method": manifest.method,
        "seed": manifest.seed,
        "weights_sha256": manifest.weights_sha256,
        "validation_macro_f1": manifest.validation.get("macro_f1"),
    }


def _mean_thresholds(manifests: Sequence[Manifest]) -> Thresholds:
    logits = np.mean([manifest.thresholds.logits for manifest in manifests], axis=0)
    tuned = [m.thresholds for m in manifests if m.thresholds.split != "none"]
    split, metric = (tuned[0].split, tuned[0].metric) if tuned else ("none", "none")
    return Thresholds(tuple((1 / (1 + np.exp(-logits))).tolist()), split, metric)


def _common_base(manifests: Sequence[Manifest]) -> BaseModel:
    bases = list(dict.fromkeys(manifest.base_model for manifest in manifests))
    if len(bases) == 1:
        return bases[0]
    digest = hashlib.sha256("".join(base.sha256 for base in bases).encode()).hexdigest()
    return BaseModel("+".join(base.name for base in bases), None, digest)
