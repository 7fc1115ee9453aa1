"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name to write to; it becomes ``path`` when the block ends well, on disk by then.

    Otherwise what was written is removed, and ``path`` is as it was.

    Raises:
        OSError: It cannot be written or renamed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        with suppress(OSError):  # renamed already, or never made
            temporary.unlink()
