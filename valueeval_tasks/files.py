"""Writing files so that they are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes ``path`` when the block ends without an error.

    It is on disk by then. After an error what was written is removed, and ``path`` is as it was.
    A symbolic link stays one: the file that it points to is replaced. What exists and is no regular
    file (a device, a pipe) cannot be replaced and is written to directly.

    Yields:
        The path to write to.

    Raises:
        OSError: It cannot be written or renamed.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    target = Path(os.path.realpath(path))
    # Short, so that a name as long as the file system allows can still be written.
    temporary = target.with_name(f".{target.name[:40]}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(target)
    finally:
        with suppress(OSError):  # renamed already, or never made
            temporary.unlink()
