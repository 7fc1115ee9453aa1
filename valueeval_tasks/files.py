"""Writing files so that they are there whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: a process that is killed leaves its temporary file there
    fcntl = None  # type: ignore[assignment]

_TOKEN = "[0-9a-f]{16}"  # noqa: S105 (part of a file name)
_OLD = 7 * 24 * 3600.0  # seconds


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes ``path`` when the block ends without an error.

    It is on disk by then. After an error what was written is removed, and ``path`` is as it was.
    What a killed process left there while it wrote to ``path`` is removed by the next that does. A
    symbolic link stays one: the file that it points to is replaced. What exists and is no regular
    file (a device, a pipe) cannot be replaced and is written to directly.

    Yields:
        The path of an empty file to write to.

    Raises:
        OSError: It cannot be written or renamed.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    target = Path(os.path.realpath(path))
    # Short, so that a name as long as the file system allows can still be written.
    beginning = f".{target.name[:40]}."
    _remove_left_overs(target.parent, beginning)
    temporary = target.with_name(f"{beginning}{secrets.token_hex(8)}.tmp")
    try:
        # The lock is held until the file has its name: one that nobody holds is a left-over.
        with _locked_file(temporary) if fcntl else nullcontext():
            yield temporary
            with temporary.open("r+b") as stream:  # Windows refuses to sync what is only read
                os.fsync(stream.fileno())
            temporary.replace(target)
    finally:
        with suppress(OSError):  # renamed already, or never made
            temporary.unlink()


@contextmanager
def _locked_file(path: Path) -> Iterator[None]:
    """Make a new file that is locked, where the file system has locks, until the block ends."""
    while True:
        with path.open("x+b") as stream:
            with suppress(OSError):  # no locks: `_remove_left_overs` goes by the file's age there
                fcntl.flock(stream, fcntl.LOCK_EX)
            # Before the lock was there, another process could take the file for a left-over.
            if path.exists():
                yield
                return


def _remove_left_overs(folder: Path, beginning: str) -> None:
    """Remove temporary files that no process, on whatever machine, is writing to any more."""
    if not fcntl:
        return
    pattern = re.compile(re.escape(beginning) + _TOKEN + r"\.tmp")
    with suppress(OSError):  # a folder that may not be listed
        for entry in list(os.scandir(folder)):
            if not pattern.fullmatch(entry.name) or not entry.is_file(follow_symlinks=False):
                continue
            # A lock over NFS needs a file that is open for writing.
            with suppress(OSError), Path(entry.path).open("r+b") as stream:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue  # being written
                except OSError:  # a file system without locks: Lustre unless mounted with flock
                    if time.time() - os.fstat(stream.fileno()).st_mtime < _OLD:
                        continue
                os.unlink(entry.path)
