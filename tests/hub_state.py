"""What a Hub on loopback holds: repositories with their commits, and the faults that a test wants."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["LFS", "TOKEN", "Fault", "Files", "LoopbackHub", "Repository", "git_hash", "oid_of"]

TOKEN = "hf_of_owner"
"""Of the user `owner`."""
LFS = (".onnx", ".safetensors", ".png")
"""Ends of the names of what is kept as large files."""
Files = dict[str, bytes]


@dataclass
class Repository:
    """Its commits, the newest last; `main` is that one."""

    private: bool = False
    gated: bool = False
    commits: dict[str, Files] = field(default_factory=dict)

    def commit(self, files: Files) -> str:
        """Add a commit that holds `files`; returns its name."""
        oid = hashlib.sha1(repr((len(self.commits), sorted(files.items()))).encode()).hexdigest()
        self.commits[oid] = files
        return oid

    @property
    def newest(self) -> str:
        return next(reversed(self.commits))

    @property
    def files(self) -> Files:
        """What `main` holds."""
        return self.commits[self.newest] if self.commits else {}

    def resolved(self, revision: str) -> str | None:
        """The commit that a branch or a commit's name means."""
        if revision == "main":
            return self.newest
        return revision if revision in self.commits else None


@dataclass
class Fault:
    """What goes wrong with requests of `method` whose path has `part`, the first `times` of them."""

    method: str
    part: str
    status: int = 0
    """Answered instead; 0: the answer begins as it should."""
    cut: int | None = None
    """Bytes of the body after which the connection is cut; -1: before anything is answered."""
    change: Callable[[bytes], bytes] | None = None
    """What is made of the body."""
    times: int = 1_000


class LoopbackHub:
    """The state of the server, for tests to fill, to spoil and to look at."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        """Method, path and headers (User-Agent, ...) of every request so far."""
        self.blobs: dict[str, bytes] = {}
        """Large files by SHA-256."""
        self.address = ""
        self.elsewhere = ""
        """The same server by another name: where large files are, which must not get a token."""

    def add(self, name: str, files: Files, **kind: bool) -> str:
        """Put a commit into a repository, which is made where it is not there; returns the commit's name."""
        return self.repositories.setdefault(name, Repository(**kind)).commit(files)

    def paths(self, method: str = "") -> list[str]:
        return [path for asked, path, _ in self.requests if method in ("", asked)]


def git_hash(data: bytes) -> str:
    """The name that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def oid_of(path: str, data: bytes) -> str:
    """The name that the Hub gives to it."""
    return hashlib.sha256(data).hexdigest() if path.endswith(LFS) else git_hash(data)
