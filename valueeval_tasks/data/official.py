"""The published files of Touché23-ValueEval: names, sizes, SHA-256 digests and source.

Source: Mirzakhmedova et al., *The Touché23-ValueEval Dataset for Identifying Human Values behind
Arguments*, 2023; Zenodo record 10564870 (doi 10.5281/zenodo.10564870), CC BY 4.0.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ZENODO_RECORD = "10564870"
ZENODO_FILES = f"https://zenodo.org/records/{ZENODO_RECORD}/files"
NYT_DOWNLOADER = (
    "https://github.com/touche-webis-de/touche-code"
    "/tree/main/semeval23/human-value-detection/nyt-downloader"
)


@dataclass(frozen=True)
class OfficialFile:
    """One published file.

    Attributes:
        name: Its name in the record, e.g. ``"arguments-test.tsv"``.
        sha256: Hex digest of its content.
        size: Bytes, or ``None`` where only the digest is known.
        distributed: True if the record holds it. The New York Times text is not distributed;
            users rebuild it with the organisers' downloader (`NYT_DOWNLOADER`).
    """

    name: str
    sha256: str
    size: int | None
    distributed: bool = True


OFFICIAL_FILES: tuple[OfficialFile, ...] = (
    OfficialFile(
        "arguments-training.tsv",
        "322f06c43e2cb0f061f865dc8e6ce9805515cccb5ec18c0bca7fc3462fa0453c",
        1012498,
    ),
    OfficialFile(
        "labels-training.tsv",
        "87ee3c0fe6760f2a6f895ed9144ad0ed076a9a5ff543820b9683aad8fd46bf12",
        253843,
    ),
    OfficialFile(
        "arguments-validation.tsv",
        "706e987776cbd7c5929e47b669c7de91b01f08eace10c10bb1083fd3c4f6c8ee",
        362608,
    ),
    OfficialFile(
        "labels-validation.tsv",
        "383b1dbbacfdcc7948e29619391a00f177b7708f85eb8ab1808972a76fc201b5",
        89484,
    ),
    OfficialFile(
        "arguments-validation-zhihu.tsv",
        "f0077c279ae2700741fd8514a5745078be03f5e811e2b57e8b4827ac64886a63",
        22082,
    ),
    OfficialFile(
        "labels-validation-zhihu.tsv",
        "71e43e63126bb0bc633a2f4c563e126e47d43f491a323bd542bdf34ed793a5af",
        5072,
    ),
    OfficialFile(
        "arguments-test.tsv",
        "dc1a1a214ceb60042d100197fdaaee826b3f33f6cbe864bab23169c1b7d65c76",
        290185,
    ),
    OfficialFile(
        "labels-test.tsv",
        "2e1886973652c6f657f746c94de77b98381bdc8a0a53bf0e0448a7a4a1df7b2b",
        74444,
    ),
    OfficialFile(
        "arguments-test-nahjalbalagha.tsv",
        "c93e227e3fdb787a4d44fa469b3aaaf100e302e4d60a8d2820bd4d490892b8ef",
        None,
    ),
    OfficialFile(
        "labels-test-nahjalbalagha.tsv",
        "932bee71aa4e3f23b18f247ca589b55d935385aaedf50bc40c5bd0174c34af9e",
        None,
    ),
    OfficialFile(
        "arguments-test-nyt.tsv",
        "fb02505106eaeb7ad5f2f1eaa54346a4286270d95707e8414eeb02649964615b",
        None,
        distributed=False,
    ),
    OfficialFile(
        "labels-test-nyt.tsv",
        "8742ad29e74913e14540f1d50c611a7c54e9e86732d652700551211114fc49aa",
        4132,
    ),
    OfficialFile(
        "value-categories.json",
        "f2847738a5cf37f18f7428441f448242b3e969061aa9d8b03df5c9ba77e749bf",
        10289,
    ),
)

OFFICIAL_SHA256: dict[str, str] = {file.name: file.sha256 for file in OFFICIAL_FILES}

#: The release before differs in spelling: «in favour of» is the stance of the arguments whose ids
#: start with D03 (18 in training, 4 in validation, 11 in test) and stands in three training
#: premises.
EARLIER_RECORD = "7550385"
EARLIER_SHA256: dict[str, str] = {
    "arguments-training.tsv": "f080cc1a75bc6f6910874c2ee1f407056b118024e33b0495de1f8a5570ce9948",
    "arguments-validation.tsv": "fa3c1b393b367696ace0220cb377fa8583a14f8491dc155680cdfa681931233d",
    "arguments-test.tsv": "c023dbee818a49bdf667f57302fdcef8bb26a6684aa69817240be1a0d3e4a8a3",
}


@dataclass(frozen=True)
class FileState:
    """The comparison of one file of a folder with the published one.

    Attributes:
        file: The published file.
        state: ``"ok"`` if both are the same, byte for byte; ``"absent"`` if an optional file is
            not there; else the problem.
        detail: The problem in a few words; empty if there is none.
    """

    file: OfficialFile
    state: Literal["ok", "missing", "truncated", "changed", "unreadable", "absent"]
    detail: str = ""

    @property
    def fine(self) -> bool:
        """Return whether there is nothing to correct."""
        return self.state in ("ok", "absent")


def verify_folder(folder: Path) -> tuple[FileState, ...]:
    """Compare the files in ``folder`` with the published ones, in the order of `OFFICIAL_FILES`.

    Only the arguments of The New York Times, which are not distributed, may be absent.
    """
    return tuple(_verify_file(folder / file.name, file) for file in OFFICIAL_FILES)


def _verify_file(path: Path, file: OfficialFile) -> FileState:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        if not file.distributed:
            return FileState(file, "absent", "optional, not distributed")
        return FileState(file, "missing")
    except OSError as error:
        return FileState(file, "unreadable", str(error.strerror or error))
    found = hashlib.sha256(content).hexdigest()
    if found == file.sha256:
        return FileState(file, "ok")
    if found == EARLIER_SHA256.get(file.name):
        return FileState(file, "changed", f"the earlier release, Zenodo record {EARLIER_RECORD}")
    if not content or (file.size is not None and len(content) < file.size):
        whole = f" of {file.size}" if file.size is not None else ""
        return FileState(file, "truncated", f"{len(content)}{whole} bytes")
    if hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest() == file.sha256:
        return FileState(file, "changed", "line ends became CRLF (Windows)")
    return FileState(file, "changed", f"SHA-256 {found[:8]}, not {file.sha256[:8]}")
