"""Write files whole or not at all, with errors for people.

A file is written under a temporary name, forced to the disk, then renamed.
"""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from valueeval.tasks import files
from valueeval.tasks.errors import ValueEvalError


def save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write tensors under a temporary name, to the disk, then renames."""
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})


def write_json(content: Any, path: Path) -> None:
    """Write JSON under a temporary name, to the disk, then renames."""
    write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", path)


def write_text(text: str, path: Path) -> None:
    """Write text under a temporary name, to the disk, then renames."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Do as `valueeval.tasks.files.replacing`, with errors for people."""
    with writing(path.parent), files.replacing(path) as temporary:
        yield temporary


@contextmanager
def writing(folder: Path, partial: Path | None = None) -> Iterator[None]:
    """Turn a failure to write into a folder into an error for people.

    Args:
        folder: The folder that the error names.
        partial: A file or folder that must not stay behind half-written.
    """
    try:
        yield
    except Exception as error:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        if isinstance(error, (OSError, SafetensorError)):
            raise ValueEvalError(
                f"cannot write to {folder}: {error}; {_cure(error)}. --resume continues an "
                "interrupted run"
            ) from error
        raise


def _cure(error: Exception) -> str:
    """Return what a person can do about a failure to write."""
    number = error.errno if isinstance(error, OSError) else None
    if match := re.search(r"\(os error (\d+)\)", str(error)):  # in safetensors' messages
        number = int(match[1])
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "free space there, or choose another --output"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "choose an --output where you may write"
    if number == errno.ENOENT:
        return "this folder, or one above it, does not exist (any more)"
    return "choose another --output"
