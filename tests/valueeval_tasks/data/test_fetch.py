"""`valueeval data fetch` against a server that cuts, stalls, refuses and sends wrong bytes."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from filelock import FileLock

from valueeval.tasks.commands import data as cli_data
from valueeval.tasks.data import fetch, official
from valueeval.tasks.data.dataset import find_data_dir
from valueeval.tasks.data.fetch import Fetched
from valueeval.tasks.data.official import OfficialFile
from valueeval.tasks.errors import ValueEvalError

NAME = "arguments-test.tsv"
CONTENT = {
    NAME: bytes(range(256)) * 1000,
    "labels-test.tsv": b"labels",
    "value-categories.json": b"{}",
}


@dataclass(frozen=True)
class Move:
    """How the server answers one request.

    Attributes:
        status: Another status than 200 or 206.
        cut: Close the connection after so many bytes of the body.
        stall: Go silent after so many bytes of the body.
        body: Another content than the file's.
        ranges: Whether a Range header is heeded.
        retry_after: Value of a Retry-After header.
    """

    status: int | None = None
    cut: int | None = None
    stall: int | None = None
    body: bytes | None = None
    ranges: bool = True
    retry_after: str | None = None


@dataclass
class Site:
    """A server's address, what it does, and what it was asked.

    Attributes:
        moves: For each file, the answers to its first requests; then it is served plainly.
        ranges: For each file, the Range header of each request (empty: none).
    """

    url: str = ""
    moves: dict[str, list[Move]] = field(default_factory=dict)
    ranges: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    closing: threading.Event = field(default_factory=threading.Event)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answers one request by the next move for its file."""
        name = urlsplit(request.path).path.rpartition("/")[2]
        wanted = request.headers.get("Range", "")
        self.ranges[name].append(wanted)
        pending = self.moves.get(name, [])
        move = pending.pop(0) if pending else Move()
        content = CONTENT.get(name) if move.body is None else move.body
        if content is None or move.status is not None:
            request.send_response(move.status or 404)
            if move.retry_after:
                request.send_header("Retry-After", move.retry_after)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and move.ranges else 0
        if wanted and move.ranges and start >= len(content):
            request.send_error(416)
            return
        request.send_response(206 if wanted and move.ranges else 200)
        if wanted and move.ranges:
            last = len(content) - 1
            request.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
        body = content[start:]
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        stop = move.cut if move.stall is None else move.stall
        request.wfile.write(body[:stop])
        if move.stall is not None:
            request.wfile.flush()
            self.closing.wait(20)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.answer(self)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site.url = f"http://127.0.0.1:{server.server_address[1]}/record/files"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    site.closing.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def three_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Three published files, one that is not distributed, and no proxy in between."""
    files = [
        OfficialFile(name, hashlib.sha256(content).hexdigest(), len(content))
        for name, content in CONTENT.items()
    ]
    nyt = OfficialFile("arguments-test-nyt.tsv", "0" * 64, None, distributed=False)
    monkeypatch.setattr(fetch, "OFFICIAL_FILES", (*files, nyt))
    monkeypatch.setattr(official, "OFFICIAL_FILES", (*files, nyt))
    monkeypatch.setenv("VALUEEVAL_CACHE", str(tmp_path))
    monkeypatch.delenv("VALUEEVAL_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "touche23-valueeval"


def run(site: Site, **options: Any) -> Fetched:
    return fetch.fetch(url=site.url, **({"backoff": 0.0, "timeout": 5.0} | options))


def names(folder: Path) -> set[str]:
    """Everything in the folder."""
    return {path.name for path in folder.iterdir()}


def assert_whole(folder: Path) -> None:
    assert {name: (folder / name).read_bytes() for name in names(folder)} == CONTENT


def test_all_files_are_fetched_once(site: Site, folder: Path) -> None:
    assert run(site) == Fetched(folder, tuple(CONTENT), ())
    assert_whole(folder)
    assert run(site) == Fetched(folder, (), tuple(CONTENT))
    assert site.ranges == {name: [""] for name in CONTENT}
    assert find_data_dir() == folder


def test_only_what_is_wrong_is_fetched_again(site: Site, folder: Path) -> None:
    run(site)
    (folder / NAME).write_bytes(CONTENT[NAME][:-1])
    assert run(site).downloaded == (NAME,)
    assert_whole(folder)


def test_a_cut_connection_is_resumed(site: Site, folder: Path) -> None:
    site.moves[NAME] = [Move(cut=98_304), Move(cut=49_152)]
    run(site)
    assert_whole(folder)
    assert site.ranges[NAME] == ["", "bytes=98304-", "bytes=147456-"]


def test_progress_keeps_patience(site: Site, folder: Path) -> None:
    """More cuts than retries, but each request brings something."""
    site.moves[NAME] = [Move(cut=28_672) for _ in range(8)]
    run(site, retries=1)
    assert_whole(folder)


def test_a_later_run_goes_on_where_an_earlier_one_stopped(site: Site, folder: Path) -> None:
    site.moves[NAME] = [Move(cut=98_304), Move(cut=0), Move(cut=0)]
    with pytest.raises(ValueEvalError, match="resumes where it stopped"):
        run(site, retries=1)
    assert names(folder) == {f"{NAME}.part"}
    assert (folder / f"{NAME}.part").read_bytes() == CONTENT[NAME][:98_304]
    run(site)
    assert_whole(folder)
    assert site.ranges[NAME][-1] == "bytes=98304-"


def test_a_server_that_ignores_ranges_starts_anew(site: Site, folder: Path) -> None:
    site.moves[NAME] = [Move(cut=98_304), Move(ranges=False)]
    run(site)
    assert_whole(folder)


def test_a_server_that_always_cuts_is_given_up(site: Site, folder: Path) -> None:
    site.moves[NAME] = [Move(cut=98_304, ranges=False) for _ in range(50)]
    with pytest.raises(ValueEvalError, match=f"(?s){NAME} could not be fetched.*connection broke"):
        run(site, retries=2)
    assert len(site.ranges[NAME]) == 3  # the first brings something, two retries do not
    assert names(folder) == {f"{NAME}.part"}


def test_wrong_bytes_are_not_kept(site: Site, folder: Path) -> None:
    site.moves[NAME] = [Move(body=b"<html>please log in</html>")]
    with pytest.raises(ValueEvalError, match=f"{NAME} .* is not the published file"):
        run(site)
    assert names(folder) == set(CONTENT) - {NAME}  # the others are fetched nevertheless


def test_what_is_there_stays_when_a_fetch_fails(site: Site, folder: Path) -> None:
    folder.mkdir()
    (folder / NAME).write_bytes(b"mine")
    site.moves[NAME] = [Move(body=b"wrong")]
    with pytest.raises(ValueEvalError):
        run(site)
    assert (folder / NAME).read_bytes() == b"mine"


@pytest.mark.parametrize(
    "left",
    [b"\xff" * 1000, b"\xff" * len(CONTENT[NAME]), b"\xff" * (len(CONTENT[NAME]) + 1)],
    ids=["shorter", "as long", "longer"],
)
@pytest.mark.parametrize("ranges", [True, False])
def test_a_spoilt_part_is_thrown_away(site: Site, folder: Path, left: bytes, ranges: bool) -> None:
    folder.mkdir()
    (folder / f"{NAME}.part").write_bytes(left)
    site.moves[NAME] = [Move(ranges=ranges), Move(ranges=ranges)]
    run(site)
    assert_whole(folder)


def test_a_whole_part_needs_no_network(site: Site, folder: Path) -> None:
    folder.mkdir()
    (folder / f"{NAME}.part").write_bytes(CONTENT[NAME])
    run(site)
    assert_whole(folder)
    assert NAME not in site.ranges


def test_range_not_satisfiable_with_no_range(site: Site) -> None:
    site.moves[NAME] = [Move(status=416) for _ in range(9)]
    with pytest.raises(ValueEvalError, match="416"):
        run(site, retries=2)
    assert len(site.ranges[NAME]) == 3


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refused_file_is_not_asked_for_again(site: Site, folder: Path, status: int) -> None:
    site.moves[NAME] = [Move(status=status)]
    with pytest.raises(ValueEvalError, match=f"{NAME}: {site.url} answers {status}"):
        run(site)
    assert len(site.ranges[NAME]) == 1
    assert names(folder) == set(CONTENT) - {NAME}


def test_every_refused_file_is_named(site: Site, folder: Path) -> None:
    refused = (NAME, "value-categories.json")
    site.moves = {name: [Move(status=404)] for name in refused}
    with pytest.raises(ValueEvalError) as caught:
        run(site)
    *lines, last = str(caught.value).split("\n")
    assert [line.partition(":")[0] for line in lines] == list(refused)
    assert last == f"The other 1 files are in {folder}."


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(site: Site, folder: Path, status: int) -> None:
    site.moves[NAME] = [Move(status=status), Move(status=status)]
    run(site)
    assert_whole(folder)


def test_retry_after_is_heeded(site: Site, folder: Path) -> None:
    site.moves[NAME] = [Move(status=429, retry_after="1")]
    start = time.monotonic()
    run(site)
    assert time.monotonic() - start >= 1
    assert_whole(folder)


@pytest.mark.parametrize("sent", [0, 98_304])
def test_a_stalled_server_is_asked_again(site: Site, folder: Path, sent: int) -> None:
    site.moves[NAME] = [Move(stall=sent)]
    run(site, timeout=0.2)
    assert_whole(folder)
    assert site.ranges[NAME][1] == (f"bytes={sent}-" if sent else "")


def test_a_server_that_only_stalls_is_given_up(site: Site) -> None:
    site.moves[NAME] = [Move(stall=0) for _ in range(9)]
    with pytest.raises(ValueEvalError, match="no data received in time"):
        run(site, timeout=0.1, retries=1)


def test_an_unreachable_server_is_told_in_two_lines(tmp_path: Path) -> None:
    with pytest.raises(ValueEvalError) as caught:
        fetch.fetch(url="http://127.0.0.1:9", retries=1, backoff=0.0)
    assert f"{NAME} could not be fetched" in str(caught.value)
    assert "the server could not be reached" in str(caught.value)
    assert str(caught.value).count("\n") == 1
    assert "HTTPConnectionPool" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "zenodo", "ftp://host/files", "http://", "http://[::1"])
def test_a_useless_address_is_refused(url: str) -> None:
    with pytest.raises(ValueEvalError, match="cannot be used"):
        fetch.fetch(url=url)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written(site: Site, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(ValueEvalError, match="Cannot write to"):
        run(site, cache=tmp_path / "locked")


def test_a_cache_that_is_a_file(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueEvalError, match="Cannot write to"):
        run(site, cache=tmp_path / "file")


def test_retries_are_told(site: Site) -> None:
    site.moves[NAME] = [Move(cut=98_304), Move(status=503)]
    notes: list[str] = []
    run(site, note=notes.append)
    assert notes == [
        f"{NAME}: the connection broke; retrying",
        f"{NAME}: 503 Service Unavailable; retrying",
    ]


def test_progress_is_told(site: Site) -> None:
    site.moves[NAME] = [Move(cut=98_304)]
    told: list[tuple[int, int | None]] = []

    def progress(file: OfficialFile, done: int, total: int | None) -> None:
        if file.name == NAME:
            told.append((done, total))

    run(site, progress=progress)
    assert told == sorted(told)
    assert told[-1] == (256_000, 256_000)


def test_a_second_fetch_waits_for_the_first(site: Site, folder: Path) -> None:
    waiting = threading.Event()

    def note(text: str) -> None:
        assert "Another fetch is running" in text
        waiting.set()

    folder.mkdir()
    with FileLock(folder / ".fetch.lock"):
        second = threading.Thread(target=run, args=(site,), kwargs={"note": note})
        second.start()
        assert waiting.wait(10)
        assert not site.ranges
    second.join()
    assert_whole(folder)


def test_a_fetch_that_fails_leaves_no_lock_behind(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ValueEvalError, match="could not be fetched"):
        fetch.fetch(folder.parent, "http://127.0.0.1:1/files", retries=0)
    assert names(folder) == set()


def test_parallel_fetches_share_the_work(site: Site, folder: Path) -> None:
    site.moves[NAME] = [Move(cut=8192) for _ in range(5)]
    threads = [threading.Thread(target=run, args=(site,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_whole(folder)
    assert len(site.ranges[NAME]) == 6
    assert len(site.ranges["labels-test.tsv"]) == 1


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_fetch_leaves_no_data_set(site: Site, folder: Path) -> None:
    site.moves[NAME] = [Move(stall=98_304)]
    digest = hashlib.sha256(CONTENT[NAME]).hexdigest()
    code = (
        "from valueeval.tasks.data import fetch, official\n"
        f"fetch.OFFICIAL_FILES = (official.OfficialFile({NAME!r}, {digest!r}, None),)\n"
        f"fetch.fetch({str(folder.parent)!r}, {site.url!r})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    part = folder / f"{NAME}.part"
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert names(folder) == {part.name, ".fetch.lock"}
    with pytest.raises(ValueEvalError, match="No data found"):
        find_data_dir()
    run(site)
    assert_whole(folder)
    assert site.ranges[NAME][1].startswith("bytes=")


# The command


def test_command(
    site: Site, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli_data.main(["fetch", "--url", site.url]) == 0
    shown = capsys.readouterr()
    assert f"3 files downloaded, 0 already in place: {folder}\n" in shown.out
    assert "arguments-test-nyt.tsv (80 of 9324 arguments) is not distributed" in shown.out
    assert "export" not in shown.out  # the cache is looked in anyway
    assert NAME in shown.err
    monkeypatch.setenv("VALUEEVAL_DATA", "/elsewhere")
    cli_data.main(["fetch", "--url", site.url])
    shown = capsys.readouterr()
    assert "0 files downloaded, 3 already in place" in shown.out
    assert "VALUEEVAL_DATA is set and takes precedence over the cache" in shown.out


def test_command_with_another_cache(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own"
    assert cli_data.main(["fetch", "--url", site.url, "--cache", str(own)]) == 0
    folder = own / "touche23-valueeval"
    assert_whole(folder)
    assert f"export VALUEEVAL_DATA={folder}" in capsys.readouterr().out


def test_command_that_fails_leaves_the_error_to_be_printed(site: Site) -> None:
    site.moves[NAME] = [Move(status=404)]
    with pytest.raises(ValueEvalError, match="404"):
        cli_data.main(["fetch", "--url", site.url])
