"""A small look-alike of the hub on loopback, for the real clients: huggingface_hub, transformers and datasets.

A folder tree is served; a client process finds it through ``HF_ENDPOINT`` (read when huggingface_hub is imported: one
process a case):

    ROOT/models/google-bert/bert-base-cased/…                 revision "main" of a repository
    ROOT/datasets/lhoestq/conll2003@refs%2Fconvert%2Fparquet/…  another revision

The commit of a revision is a hash of its files. Large files (by their ending) are answered with a redirect to another
origin, as the hub's storage is. Pushes are accepted: plain files inside the commit, large ones by the LFS protocol.

Faults: ``hub.faults.append(Fault("GET .*model.safetensors", status=503, times=2))``; first match wins.
``hub.requests`` lists ``"METHOD /path"`` of all requests, ``hub.tokens_seen`` what was sent as authorisation.

Not here: Xet, pull requests, spaces, git.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

_LARGE = {".safetensors", ".bin", ".parquet", ".onnx"}
_API = re.compile(
    r"/api/(models|datasets)/([^/]+/[^/]+?|[^/]+?)(?:/(revision|tree|paths-info|refs|preupload|commit)(?:/(.*))?)?"
)
_RESOLVE = re.compile(r"/(?:(datasets)/)?([^/]+(?:/[^/]+)?)/resolve/([^/]+)/(.+)")
_BATCH = re.compile(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch")


@dataclass
class Fault:
    """What goes wrong with requests whose ``"METHOD /path"`` matches."""

    match: str
    times: int = 1
    status: int | None = None
    cut: float | None = None
    """Send this share of the body, then reset the connection."""
    corrupt: bool = False
    """Send the last byte wrong."""
    delay: float = 0.0


@dataclass
class Hub:
    """The state of a server; a test reads and changes it."""

    root: Path
    tokens: dict[str, str] = field(default_factory=dict)
    """Token -> user name."""
    gated: set[str] = field(default_factory=set)
    refused_cards: str | None = None
    """What is wrong with every card that is to be validated."""
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    tokens_seen: set[str] = field(default_factory=set)
    port: int = 0

    @property
    def url(self) -> str:
        """For ``HF_ENDPOINT``."""
        return f"http://127.0.0.1:{self.port}"

    def folder(self, kind: str, repo: str, revision: str = "main") -> Path:
        """Where a revision lies."""
        suffix = "" if revision == "main" else "@" + quote(revision, safe="")
        return self.root / kind / (repo + suffix)

    def commit(self, folder: Path) -> str:
        """The commit id of a revision: a hash of the repository's name and its files, by whatever branch they go."""
        digest = hashlib.sha1(str(folder.relative_to(self.root)).partition("@")[0].encode())
        for path in _files(folder):
            digest.update(f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
        return digest.hexdigest()

    def find(self, kind: str, repo: str, revision: str) -> tuple[str, Path] | None:
        """Commit and folder of a branch or commit."""
        known = self.folder(kind, repo, revision)
        if known.is_dir():
            return self.commit(known), known
        main = self.folder(kind, repo)
        for folder in [main, *main.parent.glob(f"{main.name}@*")]:
            if folder.is_dir() and self.commit(folder) == revision:
                return revision, folder
        return None

    def take_fault(self, line: str) -> Fault | None:
        """The fault of a request, used up."""
        for fault in self.faults:
            if fault.times != 0 and re.search(fault.match, line):
                fault.times -= 1
                return fault
        return None


class _RefusedError(Exception):
    def __init__(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **headers}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _entry(path: Path, folder: Path) -> dict[str, Any]:
    if path.is_dir():
        return {"type": "directory", "path": path.relative_to(folder).as_posix(), "oid": "0" * 40, "size": 0}
    content = path.read_bytes()
    entry: dict[str, Any] = {"type": "file", "path": path.relative_to(folder).as_posix(), "size": len(content)}
    if path.suffix in _LARGE:
        sha = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": sha, "size": len(content), "pointerSize": 130}
        content = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize {len(content)}\n".encode()
    return entry | {"oid": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length) if length else self._chunks()
        self.url = urlsplit(self.path)
        self.query = {name: values[-1] for name, values in parse_qs(self.url.query).items()}
        line = f"{self.command} {self.path}"
        self.hub.requests.append(line)
        self.hub.tokens_seen.add(self.headers.get("Authorization", ""))
        self.fault = self.hub.take_fault(line)
        with contextlib.suppress(ConnectionError):
            if self.fault:
                time.sleep(self.fault.delay)
                if self.fault.status:
                    self._send(b"injected fault", self.fault.status)
                    return
            try:
                self._route(self.url.path)
            except _RefusedError as refusal:
                self._send({"error": refusal.message}, refusal.status, refusal.headers)

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def _chunks(self) -> bytes:
        body = b""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        return body

    def _send(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        self.send_response(status)
        lines = {"Content-Type": kind, "Content-Length": str(len(body)), "X-Request-Id": "loopback"}
        for name, value in (lines | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.fault and self.fault.corrupt:
            body = body[:-1] + bytes([body[-1] ^ 255])
        if self.fault and self.fault.cut is not None:
            self.wfile.write(body[: int(len(body) * self.fault.cut)])
            self.wfile.flush()
            time.sleep(0.2)  # let the client take what was sent
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            os.close(self.connection.detach())  # at once: close() would wait for the files that read from it
            raise ConnectionResetError
        self.wfile.write(body)

    # ------------------------------------------------------------------ who asks for what

    def _user(self) -> str | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            raise _RefusedError(401, "Invalid credentials in Authorization header")
        return self.hub.tokens.get(token)

    def _check_write(self, repo: str) -> None:
        user = self._user()
        if user != repo.split("/")[0]:
            raise _RefusedError(403 if user else 401, f"You don't have the rights to write to {repo}")

    def _revision(self, kind: str, repo: str, revision: str) -> tuple[str, Path]:
        main = self.hub.folder(kind, repo)
        if not main.is_dir() and not list(main.parent.glob(f"{main.name}@*")):
            # Who is not logged in is not told whether a repository is missing or private.
            raise _RefusedError(404 if self._user() else 401, "Repository not found", "RepoNotFound")
        found = self.hub.find(kind, repo, revision)
        if found is None:
            raise _RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return found

    def _route(self, path: str) -> None:
        if path == "/":
            return self._send("a hub")
        if path == "/api/whoami-v2":
            if (user := self._user()) is None:
                raise _RefusedError(401, "Invalid username or password.")
            return self._send({"type": "user", "name": user, "orgs": []})
        if path == "/api/validate-yaml":
            if self.hub.refused_cards:
                return self._send(self.hub.refused_cards.encode(), 400)
            return self._send({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self._create(json.loads(self.body))
        if path.startswith("/_storage/"):
            assert "Authorization" not in self.headers, "the token was sent to the storage"
            return self._send((self.hub.root / unquote(path.removeprefix("/_storage/"))).read_bytes())
        if path.startswith("/_lfs/"):
            assert hashlib.sha256(self.body).hexdigest() == path.rsplit("/", 1)[1]
            (self.hub.root / ".lfs").mkdir(exist_ok=True)
            (self.hub.root / ".lfs" / path.rsplit("/", 1)[1]).write_bytes(self.body)
            return self._send({})
        if match := _RESOLVE.fullmatch(path):
            return self._resolve(match[1] or "models", match[2], unquote(match[3]), unquote(match[4]))
        if match := _BATCH.fullmatch(path):
            return self._lfs_batch(match[1])
        if match := _API.fullmatch(path):
            return self._api(match[1], match[2], match[3] or "revision", unquote(match[4] or "main"))
        raise _RefusedError(404, "Not Found")

    # ------------------------------------------------------------------ reading

    def _api(self, kind: str, repo: str, verb: str, rest: str) -> None:
        if verb in ("preupload", "commit"):
            return self._preupload(kind, repo) if verb == "preupload" else self._commit(kind, repo)
        if verb == "tree":
            revision = next(name for name in (rest, *self._prefixes(rest)) if self.hub.find(kind, repo, name))
            folder = self._revision(kind, repo, revision)[1]
            inside = rest.removeprefix(revision).strip("/")
            top = folder / inside
            if not top.is_dir():
                raise _RefusedError(404, f"{inside} does not exist", "EntryNotFound")
            recursive = self.query.get("recursive", "").lower() in ("true", "1")
            return self._send([_entry(path, folder) for path in sorted(top.rglob("*") if recursive else top.iterdir())])
        if verb == "refs":
            sha = self._revision(kind, repo, "main")[0]
            refs = [{"name": "main", "ref": "refs/heads/main", "targetCommit": sha}]
            return self._send({"branches": refs, "converts": [], "tags": []})
        sha, folder = self._revision(kind, repo, rest)
        if verb == "paths-info":
            asked = parse_qs(self.body.decode()).get("paths", [])
            if "json" in self.headers.get("Content-Type", ""):
                asked = json.loads(self.body)["paths"]
            return self._send([_entry(folder / name, folder) for name in asked if (folder / name).is_file()])
        siblings = [{"rfilename": path.relative_to(folder).as_posix()} for path in _files(folder)]
        gated = "manual" if repo in self.hub.gated else False
        common = {"id": repo, "sha": sha, "private": False, "gated": gated, "tags": [], "siblings": siblings}
        return self._send(common | {"lastModified": "2026-01-01T00:00:00.000Z", "downloads": 0, "likes": 0})

    @staticmethod
    def _prefixes(path: str) -> list[str]:
        parts = path.split("/")
        return ["/".join(parts[:end]) for end in range(len(parts), 0, -1)]

    def _resolve(self, kind: str, repo: str, revision: str, name: str) -> None:
        sha, folder = self._revision(kind, repo, revision)
        if repo in self.hub.gated and self._user() != repo.split("/")[0]:
            raise _RefusedError(401, f"Access to {repo} is restricted", "GatedRepo")
        path = folder / name
        headers = {"X-Repo-Commit": sha}
        if not path.is_file():
            raise _RefusedError(404, "Entry not found", "EntryNotFound", **headers)
        entry = _entry(path, folder)
        if "lfs" not in entry:
            return self._send(path.read_bytes(), headers=headers | {"ETag": f'"{entry["oid"]}"'})
        linked = {"X-Linked-Etag": f'"{entry["lfs"]["oid"]}"', "X-Linked-Size": str(entry["size"])}
        place = f"http://localhost:{self.hub.port}/_storage/{quote(str(path.relative_to(self.hub.root)))}"
        return self._send(b"", 302, headers | linked | {"Location": place})

    # ------------------------------------------------------------------ writing

    def _create(self, wanted: dict[str, Any]) -> None:
        repo = f"{wanted.get('organization') or self._user()}/{wanted['name']}"
        self._check_write(repo)
        folder = self.hub.folder("models", repo)
        known = folder.is_dir()
        folder.mkdir(parents=True, exist_ok=True)
        self._send({"url": f"{self.hub.url}/{repo}", "name": repo, "id": repo}, 409 if known else 200)

    def _preupload(self, kind: str, repo: str) -> None:
        self._check_write(repo)
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if Path(file["path"]).suffix in _LARGE else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for file in json.loads(self.body)["files"]
        ]
        self._send({"files": files})

    def _lfs_batch(self, repo: str) -> None:
        self._check_write(repo)
        objects = [
            {**wanted, "actions": {"upload": {"href": f"{self.hub.url}/_lfs/{wanted['oid']}"}}}
            for wanted in json.loads(self.body)["objects"]
        ]
        self._send({"transfer": "basic", "objects": objects})

    def _commit(self, kind: str, repo: str) -> None:
        self._check_write(repo)
        folder = self.hub.folder(kind, repo)
        for line in self.body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "header":
                continue
            target = folder / value["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            if operation["key"] == "file":
                target.write_bytes(base64.b64decode(value["content"]))
            elif operation["key"] == "lfsFile":
                target.write_bytes((self.hub.root / ".lfs" / value["oid"]).read_bytes())
            else:
                raise _RefusedError(400, f"{operation['key']} is not implemented")
        sha = self.hub.commit(folder)
        self._send({"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/{repo}/commit/{sha}"})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


@contextlib.contextmanager
def serve(root: Path) -> Iterator[Hub]:
    """Serve a folder tree on a free port of loopback until the block ends."""
    hub = Hub(root)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
