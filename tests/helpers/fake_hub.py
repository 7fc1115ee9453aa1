"""A Hugging Face hub of one's own: a local server with the few endpoints that adapters need.

Files ending in .safetensors go the way of large files, as on the real hub; everything is in memory.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

TOKEN = "hf_not_to_be_seen_anywhere"  # noqa: S105
LARGE = ".safetensors"
EMPTY: Mapping[str, bytes] = {}


@dataclass
class Repo:
    """A model: its commits by hash, and its branches and tags."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], ref: str = "main") -> str:
        """Makes a commit that holds just these files."""
        number = f"{len(self.commits)}".encode()
        sha = hashlib.sha1(number, usedforsecurity=False).hexdigest()
        self.commits[sha] = dict(files)
        self.refs[ref] = sha
        return sha

    @property
    def files(self) -> dict[str, bytes]:
        """Return the files of the main branch."""
        return self.commits[self.refs["main"]]


@dataclass
class FakeHub:
    """The server's models, the requests that it got, and its failures.

    Attributes:
        url: Where it listens.
        repos: Models by name.
        asked: Method and path of every request.
        authorization: What requests said about who asks.
        cut: Bytes after which every answer with a file breaks off; None: none does.
        cuts: How many answers more are to break off.
        writers: Organisations that the token may write to.
    """

    url: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    authorization: set[str | None] = field(default_factory=set)
    large: dict[str, bytes] = field(default_factory=dict)
    cut: int | None = None
    cuts: int = 0
    writers: tuple[str, ...] = ("org",)

    def add(
        self, name: str, folder: Path, more: Mapping[str, bytes] = EMPTY, ref: str = "main"
    ) -> str:
        """A commit that holds the files of a folder, and more; returns its hash."""
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        return self.repos.setdefault(name, Repo()).commit({**files, **more}, ref)


@contextmanager
def running() -> Iterator[FakeHub]:
    """A server on a free port of this machine."""
    from huggingface_hub.utils import close_session

    hub = FakeHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield hub
        finally:
            server.shutdown()
            close_session()  # its open connections would be served on


def use(monkeypatch: pytest.MonkeyPatch, url: str, cache: Path, token: str | None = TOKEN) -> None:
    """Makes huggingface_hub, imported long ago, take this for the hub, and an empty cache."""
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import close_session

    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    for name, value in {
        "ENDPOINT": url,
        "HUGGINGFACE_CO_URL_TEMPLATE": template,
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_CACHE": str(cache),
        "HF_TOKEN_PATH": str(cache / "token"),
        "HF_STORED_TOKENS_PATH": str(cache / "stored_tokens"),
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(file_download.time, "sleep", lambda seconds: None)
    if token is None:
        monkeypatch.delenv("HF_TOKEN", raising=False)
    else:
        monkeypatch.setenv("HF_TOKEN", token)
    close_session()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        """Nothing on stderr."""

    def do_GET(self) -> None:
        self._route("GET")

    def do_HEAD(self) -> None:
        self._route("HEAD")

    def do_POST(self) -> None:
        self._route("POST")

    def do_PUT(self) -> None:
        self._route("PUT")

    def _route(self, method: str) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(size)
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{method} {path}")
        self.hub.authorization.add(self.headers.get("Authorization"))
        routes = [
            ("POST", r"/api/repos/create", self._create),
            ("POST", r"/api/validate-yaml", lambda: self._json({"errors": [], "warnings": []})),
            ("POST", r"/api/models/([^/]+/[^/]+)/preupload/main", self._preupload),
            ("POST", r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", self._batch),
            ("PUT", r"/large/(\w+)", self._put),
            ("POST", r"/api/models/([^/]+/[^/]+)/commit/main", self._commit),
            ("GET", r"/api/models/([^/]+/[^/]+)/tree/(.+)", self._tree),
            ("GET", r"/api/models/([^/]+/[^/]+)/revision/(.+)", self._info),
            ("GET", r"/api/models/([^/]+/[^/]+)", self._info),
            ("GET", r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._file),
            ("HEAD", r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._file),
        ]
        for known, pattern, answer in routes:
            if known == method and (found := re.fullmatch(pattern, path)):
                answer(*found.groups())
                return
        self._error(404, "NotFound")

    # ------------------------------------------------------------------------------- answers

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, content: object) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code})

    def _allowed(self) -> bool:
        """Return True if the request comes with the right token."""
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _found(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Commit and files; None, and an error sent, if there are none (to be seen)."""
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and not self._allowed()):
            # As the hub does: who may not see a model is not told that it is there.
            self._error(404 if self._allowed() else 401, "RepoNotFound")
            return None
        if repo.gated:
            self._error(403, "GatedRepo")
            return None
        sha = repo.refs.get(revision, revision)
        if sha not in repo.commits:
            self._error(404, "RevisionNotFound")
            return None
        return sha, repo.commits[sha]

    # ------------------------------------------------------------------------------- reading

    def _info(self, name: str, revision: str = "main") -> None:
        if found := self._found(name, revision):
            self._json({"id": name, "sha": found[0], "siblings": [], "private": False, "tags": []})

    def _tree(self, name: str, revision: str) -> None:
        revision, _, folder = revision.partition("/")
        if folder and self._found(name, revision):
            self._error(404, "EntryNotFound")  # files lie side by side
        elif found := self._found(name, revision):
            self._json([_entry(path, content) for path, content in found[1].items()])

    def _file(self, name: str, revision: str, path: str) -> None:
        if not (found := self._found(name, revision)):
            return
        if path not in found[1]:
            self._error(404, "EntryNotFound")
            return
        content = found[1][path]
        etag = hashlib.sha256(content).hexdigest()
        headers = {"X-Repo-Commit": found[0], "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        start = int((self.headers.get("Range") or "bytes=0-")[6:].partition("-")[0])
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        rest = content[start:]
        if self.command == "GET" and self.hub.cut is not None and self.hub.cuts:
            self.hub.cuts -= 1
            self.close_connection = True
            self.send_response(206 if start else 200)
            for header, value in {**headers, "Content-Length": str(len(rest))}.items():
                self.send_header(header, value)
            self.end_headers()
            self.wfile.write(rest[: self.hub.cut])
            return
        self._send(206 if start else 200, rest, headers)

    # ------------------------------------------------------------------------------- writing

    def _create(self) -> None:
        wanted = json.loads(self.body)
        name = f"{wanted['organization']}/{wanted['name']}"
        if not self._allowed():
            self._error(401, "")
        elif wanted["organization"] not in self.hub.writers:
            self._error(403, "")
        elif name in self.hub.repos:
            self._send(409, json.dumps({"url": f"{self.hub.url}/{name}"}).encode(), {})
        else:
            private = wanted.get("visibility") == "private" or wanted.get("private", False)
            repo = self.hub.repos[name] = Repo(private=private)
            repo.commit({".gitattributes": b"*.safetensors filter=lfs"})
            self._json({"url": f"{self.hub.url}/{name}"})

    def _preupload(self, name: str) -> None:
        files = json.loads(self.body)["files"]
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
            }
            for file in files
        ]
        self._json({"files": modes})

    def _batch(self, name: str) -> None:
        objects = [
            {**wanted, "actions": {"upload": {"href": f"{self.hub.url}/large/{wanted['oid']}"}}}
            for wanted in json.loads(self.body)["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects})

    def _put(self, oid: str) -> None:
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.hub.large[oid] = self.body
        self._json({})

    def _commit(self, name: str) -> None:
        repo = self.hub.repos[name]
        files = dict(repo.files)
        for line in self.body.decode().splitlines():
            operation = json.loads(line)
            key, value = operation["key"], operation["value"]
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
        sha = repo.commit(files)
        self._json({"commitUrl": f"{self.hub.url}/{name}/commit/{sha}", "commitOid": sha})


def _entry(path: str, content: bytes) -> dict[str, Any]:
    header = f"blob {len(content)}\0".encode()
    oid = hashlib.sha1(header + content, usedforsecurity=False).hexdigest()
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": oid}
    if path.endswith(LARGE):
        sha256 = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 130}
    return entry
