"""Downloading the published files into the cache: verified, resumable, atomic, safe in parallel.

A file is downloaded as ``NAME.part`` and renamed only if its SHA-256 is the published one, so that
a file with its final name is complete and correct. An interrupted download is resumed where it
stopped.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests
from filelock import FileLock, Timeout
from urllib3 import BaseHTTPResponse, Retry
from urllib3.exceptions import MaxRetryError, ReadTimeoutError

from valueeval.tasks.data.dataset import cache_dir
from valueeval.tasks.data.official import OFFICIAL_FILES, ZENODO_FILES, OfficialFile
from valueeval.tasks.errors import ValueEvalError

#: Called after each chunk: the file, bytes received, bytes in total (``None`` if unknown).
Progress = Callable[[OfficialFile, int, "int | None"], None]

_CHUNK_BYTES = 4096  # small: a chunk that was received in part is lost when the connection breaks
_RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_TRANSIENT = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
)


@dataclass(frozen=True)
class Fetched:
    """The result of `fetch`.

    Attributes:
        folder: The folder of the files.
        downloaded: Names of the downloaded files.
        kept: Names of the files that were already there, complete and correct.
    """

    folder: Path
    downloaded: tuple[str, ...]
    kept: tuple[str, ...]


class _RefusedError(ValueEvalError):
    """The server does not provide this file, but may provide the others."""


def fetch(
    cache: str | Path | None = None,
    url: str = ZENODO_FILES,
    *,
    progress: Progress = lambda file, done, total: None,
    note: Callable[[str], None] = lambda text: None,
    retries: int = 5,
    timeout: float = 30.0,
    backoff: float = 1.0,
) -> Fetched:
    """Download every distributed file that is not complete and correct in the cache already.

    If the server refuses a file or sends other content, the other files are still fetched; if the
    server cannot be reached, fetching stops.

    Args:
        cache: Folder of the cache; ``None`` means where `cache_dir` finds it.
        url: Address of the folder of the files: the Zenodo record, or a mirror of it.
        progress: Callback for the bytes received of each file.
        note: Callback for messages about waiting for another fetch and about retries.
        retries: Number of consecutive failures of a request that are retried.
        timeout: Seconds without a response, or without a byte, after which a request fails.
        backoff: Seconds before the second retry; doubled each time.

    Raises:
        ValueEvalError: A file could not be downloaded or written; complete files are kept.
    """
    folder = cache_dir(cache)
    downloaded, kept, problems = [], [], []
    with _writing_to(folder), _locked(folder, note), requests.Session() as session:
        source = _Source(session, url.rstrip("/"), progress, note, retries, timeout, backoff)
        for file in OFFICIAL_FILES:
            if not file.distributed:
                continue
            if _sha256(folder / file.name) == file.sha256:
                kept.append(file.name)
                continue
            try:
                _fetch_file(source, file, folder)
                downloaded.append(file.name)
            except _RefusedError as refused:
                problems.append(str(refused))
    if problems:
        there = len(downloaded) + len(kept)
        raise ValueEvalError("\n".join([*problems, f"The other {there} files are in {folder}."]))
    return Fetched(folder, tuple(downloaded), tuple(kept))


@contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    """Create the folder; name it and the reason if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except requests.RequestException:
        raise  # an OSError by inheritance only
    except OSError as error:
        raise ValueEvalError(
            f"Cannot write to {folder} ({error.strerror or error}). Choose another folder with "
            "--cache or VALUEEVAL_CACHE."
        ) from error


@contextmanager
def _locked(folder: Path, note: Callable[[str], None]) -> Iterator[None]:
    """Keep other fetches out of the folder; remove the lock file at the end."""
    path = folder / ".fetch.lock"
    lock = FileLock(path)
    while True:
        # Held open, the file keeps its inode number for itself, so that the comparison is exact.
        with path.open("a") as opened:
            try:
                lock.acquire(blocking=False)
            except Timeout:
                note("Another fetch is running; waiting for it to end.")
                lock.acquire()
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(opened.fileno()), path.stat()):
                    break
        lock.release()  # of a file that the fetch before has removed: it keeps nobody out
    try:
        yield
    finally:
        with suppress(OSError):  # where a locked file cannot be removed, FileLock does it
            path.unlink()
        lock.release()


def _sha256(path: Path) -> str | None:
    """Return the hex digest of a file's content; ``None`` if there is no such file."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


@dataclass(frozen=True)
class _Source:
    """The server of the files; its attributes are the arguments of `fetch`."""

    session: requests.Session
    url: str
    progress: Progress
    note: Callable[[str], None]
    retries: int
    timeout: float
    backoff: float

    def download(self, file: OfficialFile, part: Path) -> None:
        """Append to ``part`` until the server has sent the last byte, across broken connections."""
        retry, reached = self._patience(), _size(part)
        while (trouble := self._try(file, part)) is not None:
            if _size(part) > reached:  # progress: start counting failures anew
                retry, reached = self._patience(), _size(part)
            try:
                retry = retry.increment("GET", self.url)
            except MaxRetryError as error:
                raise ValueEvalError(
                    f"{file.name} could not be fetched from {self.url}: {trouble.cause}.\n"
                    "Check the network and run the same command again: it resumes where it stopped."
                ) from error
            self.note(f"{file.name}: {trouble.cause}; retrying")
            retry.sleep(trouble.response)

    def _patience(self) -> Retry:
        return Retry(total=self.retries, backoff_factor=self.backoff / 2, backoff_max=60)

    def _try(self, file: OfficialFile, part: Path) -> _Trouble | None:
        """Request once what ``part`` lacks; return ``None`` if all of it was received."""
        try:
            with self._request(file, _size(part)) as response:
                answer = f"{response.status_code} {response.reason}"
                if response.status_code == 416:
                    # Nothing follows this part, yet it is not the file: start from scratch.
                    part.unlink(missing_ok=True)
                    return _Trouble(answer)
                if response.status_code in _RETRIED_STATUSES:
                    return _Trouble(answer, response.raw)
                if not response.ok:
                    raise _RefusedError(
                        f"{file.name}: {self.url} answers {answer}. Check the address, or try "
                        "again later."
                    )
                self._save(response, file, part)
        except _TRANSIENT as error:
            return _Trouble(_reason(error))
        return None

    def _request(self, file: OfficialFile, start: int) -> requests.Response:
        # Unencoded, so that positions are those of the file.
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        try:
            return self.session.get(
                f"{self.url}/{file.name}",
                params={"download": "1"},
                headers=headers,
                stream=True,
                timeout=self.timeout,
            )
        except _TRANSIENT:
            raise
        except (requests.RequestException, ValueError) as error:
            raise ValueEvalError(
                f"{self.url} cannot be used ({error}). Give an address as https://host/folder."
            ) from error

    def _save(self, response: requests.Response, file: OfficialFile, part: Path) -> None:
        """Append the body to ``part``, or replace it if the server sends the whole file."""
        start = _size(part)
        if response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            mode = "ab"
        else:
            start, mode = 0, "wb"
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else file.size
        with part.open(mode) as output:
            for chunk in response.iter_content(_CHUNK_BYTES):
                output.write(chunk)
                self.progress(file, output.tell(), total)
            output.flush()
            os.fsync(output.fileno())


@dataclass(frozen=True)
class _Trouble:
    """The cause of an incomplete request, and the response, which may say when to retry."""

    cause: str
    response: BaseHTTPResponse | None = None


def _fetch_file(source: _Source, file: OfficialFile, folder: Path) -> None:
    part = folder / f"{file.name}.part"
    left_over = found = _sha256(part)
    if found != file.sha256:
        source.download(file, part)
        found = _sha256(part)
    if found != file.sha256 and left_over is not None:
        # The part that an earlier run left may be wrong: once more, from the first byte.
        part.unlink()
        source.download(file, part)
        found = _sha256(part)
    if found != file.sha256:
        part.unlink()
        raise _RefusedError(
            f"{file.name} from {source.url} is not the published file: its SHA-256 is {found}, "
            f"expected {file.sha256}. Nothing was kept. Does a proxy or mirror alter it?"
        )
    os.replace(part, folder / file.name)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _reason(error: requests.RequestException) -> str:
    """Return the cause of a connection error without the library's nested class names."""
    # requests wraps urllib3's errors; a stall within the body is raised as a ConnectionError.
    stalled = any(isinstance(inner, ReadTimeoutError) for inner in error.args)
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate is not trusted"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy could not be reached"
    if isinstance(error, requests.ConnectTimeout):
        return "the connection timed out"
    if stalled or isinstance(error, requests.Timeout):
        return "no data received in time"
    if any(isinstance(inner, MaxRetryError) for inner in error.args):
        return "the server could not be reached"
    return "the connection broke"
