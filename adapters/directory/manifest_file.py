"""Read and write `valueeval.json`, and check the files that it lists.

It is the last file written, so a directory that has one is complete. It lists the other files with
size and SHA-256, so a reader notices later changes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from valueeval.adapters.directory.base import hub_origin, weight_hash
from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.manifest import FileInfo, Manifest, manifest_from_json
from valueeval.adapters.directory.typed_json import read_json, shown
from valueeval.tasks.files import replacing

MANIFEST_FILE = "valueeval.json"
# The model card. The manifest does not list it, as people edit it on the hub.
CARD_FILE = "README.md"


def describe_files(folder: Path) -> dict[str, FileInfo]:
    """Return size and hash of every file in a folder but the manifest and the card, by name."""
    return {
        file.name: FileInfo(file.stat().st_size, weight_hash([file]))
        for file in sorted(folder.iterdir())
        if file.is_file() and file.name not in (MANIFEST_FILE, CARD_FILE)
    }


def combined_hash(files: Mapping[str, FileInfo]) -> str:
    """Return one hash of all weights, over the hashes of the safetensors files."""
    hashes = [info.sha256 for name, info in sorted(files.items()) if name.endswith(".safetensors")]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def write_manifest(folder: str | Path, manifest: Manifest) -> None:
    """Write ``valueeval.json`` under a temporary name, then rename it.

    Raises:
        ManifestError: A file that the manifest lists is not in the folder as listed.
    """
    folder = Path(folder)
    _check_files(folder, manifest)
    text = json.dumps(manifest.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(folder / MANIFEST_FILE) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_manifest(folder: str | Path) -> Manifest:
    """Read ``valueeval.json`` and check the directory against it.

    Raises:
        ManifestError: The file is missing, it cannot be read as schema version 1, or a file that it
            lists is missing, truncated or changed.
    """
    return check_manifest(Path(folder), read_content(Path(folder)))


def check_manifest(folder: Path, content: object) -> Manifest:
    """Return the manifest that `read_content` read, checked as by `read_manifest`."""
    path = folder / MANIFEST_FILE
    try:
        if isinstance(content, dict) and "members" in content:
            raise ManifestError(
                "an average of adapters (it lists members), where a single one is needed: name "
                "one of its members, or all in place of it"
            )
        manifest = manifest_from_json(content)
        _check_files(folder, manifest)
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}{_about_copy(folder)}") from error
    return manifest


def read_content(folder: Path) -> object:
    """Return the JSON values of ``valueeval.json``, unchecked.

    Raises:
        ManifestError: The file is missing, or cannot be read.
    """
    try:
        return read_json(folder / MANIFEST_FILE)
    except FileNotFoundError:
        raise ManifestError(_no_manifest(folder)) from None


def _no_manifest(folder: Path) -> str:
    if not os.path.isdir(folder):
        unfinished = folder.with_name(folder.name + ".training")
        if os.path.isdir(unfinished):
            return (
                f"{folder}: no adapter yet, training is unfinished ({unfinished}): "
                "repeat the training command with --resume"
            )
        return f"{folder}: no such adapter directory"
    return (
        f"{folder}: no {MANIFEST_FILE} in it, so this is not an adapter directory of "
        "`valueeval train`"
    )


def _about_copy(folder: Path) -> str:
    """Return advice about an unusable copy from the hub; empty for other folders."""
    origin = hub_origin(folder)
    if origin is None:
        return ""
    return (
        f"\nThis is a copy of {origin} from the hub: remove {folder.parent.parent} to fetch it "
        "again; if that does not help, its author has to push it again"
    )


def _check_files(folder: Path, manifest: Manifest) -> None:
    """Compare the files of the folder with the manifest's list, sizes first (cheap)."""
    if not any(name.endswith(".safetensors") for name in manifest.files):
        raise ManifestError("files: no .safetensors weights listed")
    if manifest.weights_sha256 != combined_hash(manifest.files):
        raise ManifestError("weights_sha256: does not go with the hashes in files")
    for name, info in manifest.files.items():
        if Path(name).name != name:
            raise ManifestError(f"files: {shown(name)} is not a plain file name")
        file = folder / name
        if not os.path.isfile(file):  # False of a name that is too long for a file
            raise ManifestError(f"{name} is missing from the directory; copy it again")
        size = file.stat().st_size
        if size != info.bytes:
            raise ManifestError(
                f"{name} has {size} bytes instead of {info.bytes}: truncated or changed; "
                "copy it again"
            )
        try:
            found = weight_hash([file])
        except OSError as error:
            raise ManifestError(f"{name} cannot be read ({error})") from error
        if found != info.sha256:
            raise ManifestError(f"{name} was changed (its SHA-256 differs); copy it again")
