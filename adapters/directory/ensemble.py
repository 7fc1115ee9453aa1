"""Several adapters as one: ``adapter=A+B+C``, or a directory whose manifest lists its members.

Such a directory holds nothing but ``valueeval.json``::

    {"schema_version": 1,
     "members": [{"adapter": "../a", "weights_sha256": "…"},
                 {"adapter": "../b", "weights_sha256": "…"}]}

with the members' paths, as seen from it, and the ``weights_sha256`` of their manifests.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from valueeval.adapters.directory.base import hub_origin
from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.hub import local_folder
from valueeval.adapters.directory.manifest import (
    SCHEMA_VERSION,
    BaseModel,
    Manifest,
    Parameters,
    Thresholds,
    TrainingData,
    parse,
)
from valueeval.adapters.directory.manifest_file import MANIFEST_FILE, read_content, read_manifest
from valueeval.tasks.data.dataset import CV
from valueeval.tasks.errors import ValueEvalError
from valueeval.tasks.files import replacing

MOST_MEMBERS = 1000


@dataclass(frozen=True)
class Members:
    """One adapter, or several that answer together.

    Attributes:
        folders: The adapters' directories.
        manifests: Their manifests, in the same order.
        manifest: The manifest of all of them together.
    """

    folders: tuple[Path, ...]
    manifests: tuple[Manifest, ...]
    manifest: Manifest


@dataclass(frozen=True)
class ListedMember:
    """A member in the manifest of an average.

    Attributes:
        adapter: Path of its directory, as seen from that of the average.
        weights_sha256: Hash of its weights, as in its own manifest.
    """

    adapter: str
    weights_sha256: str


@dataclass(frozen=True)
class MemberList:
    """The manifest of an average."""

    members: tuple[ListedMember, ...]
    schema_version: int

    def __post_init__(self) -> None:
        if not 2 <= len(self.members) <= MOST_MEMBERS:
            raise ManifestError(f"members: {len(self.members)}; allowed: 2 to {MOST_MEMBERS}")


def read_adapter(adapter: str) -> Manifest:
    """Return the manifest of an adapter directory, or of several together.

    Raises:
        ValueEvalError: One cannot be used, or they do not go together.
    """
    return find_members(adapter).manifest


def find_members(adapter: str) -> Members:
    """Read and check the adapters that a name stands for (hashing the weights takes a while).

    Args:
        adapter: An adapter directory or its name on the hub, several joined by ``+``, or the
            directory of an average.

    Raises:
        ValueEvalError: One cannot be used, or they do not go together.
    """
    folders = member_folders(adapter)
    listed = _read_list(folders[0]) if len(folders) == 1 else None
    if listed is None:
        manifests = [read_manifest(folder) for folder in folders]
    else:
        (average,) = folders
        folders = [average / member.adapter for member in listed]
        _refuse_twice(folders, str(average / MANIFEST_FILE))
        manifests = [_read_listed(average, number, member) for number, member in enumerate(listed)]
    names = [member_name(folder) for folder in folders]
    together = manifests[0] if len(folders) == 1 else average_manifest(names, manifests)
    return Members(tuple(folders), tuple(manifests), together)


def write_average(folder: str | Path, adapter: str) -> None:
    """Write the directory of an average; its members stay where they are.

    Args:
        folder: The directory, which must be new or empty.
        adapter: The members, joined by ``+``.

    Raises:
        ValueEvalError: A member cannot be used, or they do not go together; the directory holds
            something, or cannot be written.
    """
    folder = Path(folder)
    members = find_members(adapter)
    listed = [
        ListedMember(os.path.relpath(member.resolve(), folder.resolve()), manifest.weights_sha256)
        for member, manifest in zip(members.folders, members.manifests, strict=True)
    ]
    content = asdict(MemberList(tuple(listed), SCHEMA_VERSION))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ValueEvalError(f"{folder}: holds other files; name a new directory")
        with replacing(folder / MANIFEST_FILE) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ValueEvalError(f"{folder}: cannot be written ({error.strerror or error})") from error


def member_folders(adapter: str) -> list[Path]:
    """Return the directories that an adapter's name stands for: one, or several joined by ``+``.

    Adapters on the hub are fetched.

    Raises:
        ValueEvalError: A name is missing or given twice; also as `local_folder`.
    """
    names = _names(adapter)
    if not all(name.strip() for name in names):
        raise ValueEvalError(f"adapter={adapter}: a name is missing beside a +")
    folders = [local_folder(name) for name in names]
    _refuse_twice(folders, f"adapter={adapter}")
    return folders


def adapter_name(adapter: str) -> str:
    """Return a short name, in which a folder of all members occurs once (``runs/a+b+c``)."""
    folders = [Path(name).expanduser() for name in _names(adapter)]
    parents = {folder.parent for folder in folders}
    if len(folders) == 1 or len(parents) > 1:
        return "+".join(str(folder) for folder in folders)
    return str(folders[0].parent / "+".join(folder.name for folder in folders))


def _names(adapter: str) -> list[str]:
    # False for a name that is too long for a path, as joined names may be.
    one = "+" not in adapter or os.path.exists(Path(adapter).expanduser())
    return [adapter] if one else adapter.split("+")


def _refuse_twice(folders: Sequence[Path], where: str) -> None:
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueEvalError(f"{where}: a name is given twice; it would count twice")


def _read_list(folder: Path) -> tuple[ListedMember, ...] | None:
    """Return the members that a manifest lists; None for the manifest of one adapter."""
    content = read_content(folder)
    if not isinstance(content, dict) or "members" not in content:
        return None
    try:
        return parse(MemberList, content).members
    except ManifestError as error:
        raise ManifestError(f"{folder / MANIFEST_FILE}: {error}") from error


def _read_listed(average: Path, number: int, member: ListedMember) -> Manifest:
    """Return the manifest of a member, after checking its weights against the list."""
    where = f"{average / MANIFEST_FILE}: members[{number}]"
    folder = average / member.adapter
    try:
        manifest = read_manifest(folder)
    except ManifestError as error:
        raise ManifestError(f"{where}: {error}") from error
    if manifest.weights_sha256 != member.weights_sha256:
        raise ManifestError(
            f"{where}: {folder} has other weights than those listed ({manifest.weights_sha256} "
            f"there, {member.weights_sha256} here): put the right adapter there, or list its hash"
        )
    return manifest


def average_manifest(names: Sequence[str], manifests: Sequence[Manifest]) -> Manifest:
    """Return the manifest of several adapters together.

    Args:
        names: The adapters' names for messages and results: paths, or names on the hub.
        manifests: Their manifests, in the same order.

    Raises:
        ValueEvalError: One has no head, or none was trained on all that the others were.
    """
    first = manifests[0]
    widest = max(manifests, key=lambda manifest: len(manifest.data.file_hashes))
    for name, manifest in zip(names, manifests, strict=True):
        if manifest.head is None:
            cv = manifest.data.protocol == CV
            raise ValueEvalError(
                f"{name}: template {manifest.template!r} answers in words; only "
                "classifiers with a head can be "
                + (
                    "evaluated together: run each on its fold, then `valueeval join`"
                    if cv
                    else "averaged"
                )
            )
        if not _contains(widest.data, manifest.data):
            other = names[manifests.index(widest)]
            raise ValueEvalError(
                f"{other} and {name} were trained on different data: {widest.data.described} and "
                f"{manifest.data.described}; average adapters of one data set, or of parts of what "
                "one of them was trained on"
            )
    cut_first = min(manifests, key=lambda manifest: manifest.reading.max_length)
    hashes = "".join(manifest.weights_sha256 for manifest in manifests)
    return replace(
        first,
        head=cut_first.head,
        input=cut_first.input,
        base_model=_common_base(manifests),
        method="+".join(dict.fromkeys(manifest.method for manifest in manifests)),
        objective="+".join(dict.fromkeys(manifest.objective for manifest in manifests)),
        thresholds=_mean_thresholds(manifests),
        parameters=Parameters(
            total=sum(manifest.parameters.total for manifest in manifests),
            trainable=sum(manifest.parameters.trainable for manifest in manifests),
        ),
        data=_common_data(widest.data, [manifest.data for manifest in manifests]),
        config={"members": [member_of(*pair) for pair in zip(names, manifests, strict=True)]},
        validation={},  # config has the members' scores; the average's are unknown
        seconds=sum(manifest.seconds for manifest in manifests),
        peak_memory_bytes=max(manifest.peak_memory_bytes for manifest in manifests),
        peak_device_bytes=max(m.peak_device_bytes or 0 for m in manifests) or None,
        date=max(manifest.date for manifest in manifests),
        files={},
        weights_sha256=hashlib.sha256(hashes.encode()).hexdigest(),
    )


def member_name(folder: Path) -> str:
    """Return a member's path, or its name and commit on the hub."""
    return hub_origin(folder) or str(folder)


def member_of(name: str, manifest: Manifest) -> dict[str, object]:
    """Return what the manifest of several adapters says of one of them."""
    return {
        "adapter": name,
        "method": manifest.method,
        "seed": manifest.seed,
        "left_out": list(manifest.data.left_out),
        "weights_sha256": manifest.weights_sha256,
        "validation_macro_f1": manifest.validation.get("macro_f1"),
    }


def _contains(data: TrainingData, other: TrainingData) -> bool:
    """Return whether the second was trained on the same data, or on some of the first's files."""
    if data.protocol != other.protocol:
        return False
    if data.sha256 == other.sha256:
        return data.folds == other.folds
    return data.protocol != CV and other.file_hashes < data.file_hashes


def _common_data(widest: TrainingData, data: Sequence[TrainingData]) -> TrainingData:
    """Return the widest data with what its members left out of them, and all labels seen."""
    left_out = {fold for one in data if one.sha256 == widest.sha256 for fold in one.left_out}
    return replace(
        widest,
        size=max(one.size for one in data),
        left_out=tuple(sorted(left_out)),
        labels_seen=tuple(dict.fromkeys(name for one in data for name in one.labels_seen)),
    )


def _mean_thresholds(manifests: Sequence[Manifest]) -> Thresholds:
    logits = np.mean([manifest.thresholds.logits for manifest in manifests], axis=0)
    tuned = [m.thresholds for m in manifests if m.thresholds.tuned]
    split, metric = (tuned[0].split, tuned[0].metric) if tuned else ("none", "none")
    return Thresholds(tuple((1 / (1 + np.exp(-logits))).tolist()), split, metric)


def _common_base(manifests: Sequence[Manifest]) -> BaseModel:
    by_weights: dict[str, BaseModel] = {}  # a name can hold a path, which an archive leaves out
    for manifest in manifests:
        by_weights.setdefault(manifest.base_model.sha256, manifest.base_model)
    bases = list(by_weights.values())
    if len(bases) == 1:
        return bases[0]
    digest = hashlib.sha256("".join(base.sha256 for base in bases).encode()).hexdigest()
    return BaseModel("+".join(base.name for base in bases), None, digest)
