"""A Hub on loopback: as much of its HTTP as huggingface_hub's client asks for, kept in memory, with faults on demand.

Repositories with commits, private and gated ones; tokens; small files inside commits and large ones by LFS, behind a
redirect as on the Hub. `Fault` spoils answers.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.hub_state import LFS, TOKEN, Fault, LoopbackHub, Repository, git_hash, oid_of

__all__ = ["TOKEN", "Fault", "LoopbackHub", "Repository", "hub", "loopback_hub", "offline"]


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"
    timeout = 20

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.body = self._read()
        self.path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, self.path, {k.title(): v for k, v in self.headers.items()}))
        fault = next((f for f in self.hub.faults if f.times and f.method == self.command and f.part in self.path), None)
        if fault:
            fault.times -= 1
        if fault and fault.status:
            return self._send(fault.status, b'{"error": "as the test wants it"}')
        if fault and fault.cut == -1:
            self.close_connection = True
            return None
        self.fault = fault
        for method, pattern, act in _ROUTES:
            match = re.fullmatch(pattern, self.path)
            if match and self.command in method.split():
                return act(self, *match.groups())
        return self._send(404, b"{}")

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        fault = getattr(self, "fault", None)
        if fault and fault.change:
            body = fault.change(body)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault and fault.cut is not None:
            self.wfile.write(body[: fault.cut])
            self.close_connection = True
            return
        self.wfile.write(body)

    def _json(self, value: Any, status: int = 200, **headers: str) -> None:
        self._send(status, json.dumps(value).encode(), **headers)

    @property
    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _repository(self, name: str, *, write: bool = False) -> Repository | None:
        """The repository, if this client may see it; else None, and the answer is sent."""
        repository = self.hub.repositories.get(name)
        if self._token not in ("", TOKEN):
            self._json({"error": "Invalid"}, 401, X_Error_Message="Invalid credentials in Authorization header")
        elif repository is None or (repository.private and self._token != TOKEN):
            status = 404 if self._token else 401
            self._json({"error": "Repository not found"}, status, X_Error_Code="RepoNotFound")
        elif repository.gated:
            self._json({"error": "gated"}, 403, X_Error_Code="GatedRepo")
        elif write and not name.startswith("owner/"):
            self._json({"error": "forbidden"}, 403)
        else:
            return repository
        return None

    def _commit_of(self, repository: Repository, revision: str) -> str | None:
        commit = repository.resolved(revision)
        if commit is None:
            self._json({"error": "no such revision"}, 404, X_Error_Code="RevisionNotFound")
        return commit

    def create(self) -> None:
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        if self._token != TOKEN:
            self._json({"error": "Invalid"}, 401, X_Error_Message="Invalid credentials in Authorization header")
        elif asked["organization"] != "owner":
            self._json({"error": "You don't have the rights"}, 403)
        elif name in self.hub.repositories:
            self._json({"error": "exists", "url": f"{self.hub.address}/{name}"}, 409)
        else:
            private = asked.get("visibility") == "private" or asked.get("private", False)
            self.hub.repositories[name] = Repository(private=private)
            self.hub.add(name, {".gitattributes": b"*.onnx filter=lfs\n"})
            self._json({"url": f"{self.hub.address}/{name}"})

    def info(self, name: str, revision: str | None = None) -> None:
        repository = self._repository(name)
        commit = repository and self._commit_of(repository, revision or "main")
        if repository and commit:
            siblings = [{"rfilename": path} for path in repository.commits[commit]]
            self._json({"id": name, "sha": commit, "private": repository.private, "siblings": siblings, "tags": []})

    def tree(self, name: str, revision: str) -> None:
        repository = self._repository(name)
        commit = repository and self._commit_of(repository, revision)
        if repository and commit:
            self._json([_entry(path, data) for path, data in repository.commits[commit].items()])

    def resolve(self, name: str, revision: str, path: str) -> None:
        repository = self._repository(name)
        commit = repository and self._commit_of(repository, revision)
        if not repository or not commit:
            return None
        data = repository.commits[commit].get(path)
        if data is None:
            return self._json({}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        if not path.endswith(LFS):
            return self._ranged(data, X_Repo_Commit=commit, ETag=f'"{git_hash(data)}"')
        sha256 = hashlib.sha256(data).hexdigest()
        self.hub.blobs[sha256] = data
        linked = {"X_Linked_ETag": f'"{sha256}"', "X_Linked_Size": str(len(data))}
        return self._send(302, b"", Location=f"{self.hub.elsewhere}/cdn/{sha256}", X_Repo_Commit=commit, **linked)

    def blob(self, sha256: str) -> None:
        self._ranged(self.hub.blobs[sha256], ETag=f'"{sha256}"')

    def _ranged(self, data: bytes, **headers: str) -> None:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not match:
            return self._send(200, data, **headers)
        start = int(match[1])
        return self._send(206, data[start:], Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}", **headers)

    def validate_yaml(self) -> None:
        self._json({"errors": [], "warnings": []})

    def preupload(self, name: str, _: str) -> None:
        repository = self._repository(name, write=True)
        if repository:
            now = repository.files
            files = [
                {
                    "path": path,
                    "uploadMode": "lfs" if path.endswith(LFS) else "regular",
                    "shouldIgnore": False,
                    "oid": oid_of(path, now[path]) if path in now else None,
                }
                for path in (each["path"] for each in json.loads(self.body)["files"])
            ]
            self._json({"files": files})

    def lfs_batch(self, name: str) -> None:
        if self._repository(name, write=True):
            objects = json.loads(self.body)["objects"]
            for each in objects:
                if each["oid"] not in self.hub.blobs:
                    each["actions"] = {"upload": {"href": f"{self.hub.elsewhere}/lfs/{each['oid']}"}}
            self._json({"transfer": "basic", "objects": objects})

    def upload(self, sha256: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != sha256:
            return self._json({"error": "checksum"}, 400)
        self.hub.blobs[sha256] = self.body
        return self._send(200, b"")

    def commit(self, name: str, _: str) -> None:
        repository = self._repository(name, write=True)
        if not repository:
            return
        files = dict(repository.files)
        for line in map(json.loads, self.body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        oid = repository.commit(files)
        self._json({"commitUrl": f"{self.hub.address}/{name}/commit/{oid}", "commitOid": oid, "pullRequestUrl": None})


_NAME = r"([^/]+/[^/]+)"
_ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("POST", "/api/repos/create", _Handler.create),
    ("GET", f"/api/models/{_NAME}", _Handler.info),
    ("GET", f"/api/models/{_NAME}/revision/(.+)", _Handler.info),
    ("GET", f"/api/models/{_NAME}/tree/(.+)", _Handler.tree),
    ("POST", "/api/validate-yaml", _Handler.validate_yaml),
    ("POST", f"/api/models/{_NAME}/preupload/(.+)", _Handler.preupload),
    ("POST", rf"/{_NAME}\.git/info/lfs/objects/batch", _Handler.lfs_batch),
    ("PUT", "/lfs/([0-9a-f]{64})", _Handler.upload),
    ("POST", f"/api/models/{_NAME}/commit/(.+)", _Handler.commit),
    ("HEAD GET", f"/{_NAME}/resolve/([^/]+)/(.+)", _Handler.resolve),
    ("HEAD GET", "/cdn/([0-9a-f]{64})", _Handler.blob),
]


def _entry(path: str, data: bytes) -> dict[str, Any]:
    entry = {"type": "file", "path": path, "size": len(data), "oid": git_hash(data)}
    if path.endswith(LFS):
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return entry


@contextmanager
def loopback_hub() -> Iterator[LoopbackHub]:
    """A Hub that answers at `address` while the `with` block lasts."""
    hub = LoopbackHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.address, hub.elsewhere = (f"http://{host}:{server.server_address[1]}" for host in ("127.0.0.1", "localhost"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    """A Hub of this test's own, which huggingface_hub in this process and in those that it starts takes for the Hub.

    Nobody is logged in; its cache is `tmp_path / "hf"`.
    """
    from huggingface_hub import constants

    home = tmp_path / "hf"
    with loopback_hub() as server:
        settings = {"ENDPOINT": server.address, "HOME": str(home), "HUB_OFFLINE": "0", "HUB_DISABLE_XET": "1"}
        for name, value in settings.items():
            monkeypatch.setenv(f"HF_{name}", value)
        # What it read of them when it was imported.
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        yield server


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and from then on this process and those that it starts do without a network."""
    from huggingface_hub import constants

    def cut_off() -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    return cut_off
