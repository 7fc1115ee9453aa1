"""Adapters on the Hugging Face hub: ``org/name`` or ``org/name@revision`` in place of a folder.

A folder of that name on this machine takes precedence. Downloads are kept in huggingface_hub's
cache and follow its settings (``HF_HOME``, ``HF_TOKEN``, ``HF_HUB_OFFLINE``, ``HF_ENDPOINT``).
Only safetensors, JSON and the tokenizer's text files are fetched: no pickles, no code.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from valueeval.adapters.directory.base import HUB_FILES
from valueeval.adapters.directory.errors import ManifestError
from valueeval.adapters.directory.hub_errors import reason
from valueeval.adapters.directory.manifest_file import CARD_FILE, MANIFEST_FILE
from valueeval.tasks.errors import ValueEvalError

PEFT_CONFIG = "adapter_config.json"
PEFT_WEIGHTS = "adapter_model.safetensors"
_FILES = [*HUB_FILES, "*.jsonl"]
_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>.+))?")


class HubId(NamedTuple):
    """A model on the hub, with a branch, tag or commit; None is the main branch."""

    repo: str
    revision: str | None

    def __str__(self) -> str:
        return self.repo if self.revision is None else f"{self.repo}@{self.revision}"


def hub_id(name: str) -> HubId | None:
    """Return the hub model that a name can stand for; None if no model can have the name."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    found = _ID.fullmatch(name)
    if found is None:
        return None
    try:
        validate_repo_id(found["repo"])
    except HFValidationError:
        return None
    return HubId(found["repo"], found["revision"])


def local_folder(name: str, revision: str | None = None) -> Path:
    """Return the folder of an adapter, fetched from the hub if no folder has its name.

    Args:
        name: A path, ``org/name``, or ``org/name@revision``.
        revision: The revision of ``org/name`` alone; None is the main branch.

    Returns:
        The folder; the path itself if nothing is there and the name cannot be one on the hub.

    Raises:
        ValueEvalError: The adapter is neither here nor on the hub, or cannot be fetched.
    """
    path = Path(name).expanduser()
    named = hub_id(name)
    if named is None or path.exists() or _unfinished(path).is_dir():
        return path
    return _fetch(named if named.revision else HubId(named.repo, revision), name)


def _fetch(named: HubId, asked: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        # Look first, so that a large model that is no adapter is not fetched.
        marks = snapshot_download(
            named.repo, revision=named.revision, allow_patterns=[MANIFEST_FILE, PEFT_CONFIG]
        )
        if not any((Path(marks) / name).is_file() for name in (MANIFEST_FILE, PEFT_CONFIG)):
            raise ManifestError(
                f"{asked}: this model on the hub is no adapter: it has neither {MANIFEST_FILE} "
                f"nor {PEFT_CONFIG}"
            )
        # The same commit, whatever has been pushed since.
        return Path(
            snapshot_download(
                named.repo,
                revision=Path(marks).name,
                allow_patterns=_FILES,
                ignore_patterns=["*/*", CARD_FILE],
            )
        )
    except ManifestError:
        raise
    except Exception as error:  # errors of the library, and of the transports below it
        raise ValueEvalError(
            f"{asked}: no such adapter directory here, and {reason(error)}"
        ) from error


def _unfinished(path: Path) -> Path:
    """Return the folder of an unfinished training, whose adapter is not meant to be on the hub."""
    return path.with_name(path.name + ".training")
