"""A prepared text: a cache entry, which is a directory that gets its name when it is complete.

It holds `ids.arrow` and `prepared.json`, which describes it and has a checksum of both.
"""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from charrnn.files import cache_dir as default_cache_dir
from charrnn.files import sync
from charrnn.text.encoded import EncodedStream
from charrnn.text.normaliser import Normaliser
from charrnn.text.vocabulary import Vocabulary

__all__ = ["IDS", "PreparedText", "find_prepared", "is_whole", "open_prepared", "write_manifest"]

IDS = "ids.arrow"
_MANIFEST = "prepared.json"
_CHECKSUM = "crc32"


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedText:
    """A text that is ready for training."""

    stream: EncodedStream
    vocabulary: Vocabulary
    normaliser: Normaliser
    dropped: dict[str, int]
    """Characters that the normaliser removed or replaced, with counts, the most frequent first."""
    rare: dict[str, int]
    """Characters that became U+FFFD because there are fewer of them than was asked for; as `dropped`."""
    suspects: dict[str, int]
    """NUL characters and byte order marks that are part of the text, with counts."""
    sha256: str
    """Of the bytes of the corpus, those of compressed files unpacked."""
    description: str
    """What the user named, in one line."""
    path: Path
    """The cache entry."""
    fresh: bool
    """Whether it was made now, not found."""
    seconds: float
    """What it took, reading or making."""

    @classmethod
    def open(cls, path: Path, *, description: str) -> Self:
        """Open the cache entry `path`, which is there and whole."""
        manifest = json.loads((path / _MANIFEST).read_bytes())
        return cls(
            stream=EncodedStream.open(path / IDS),
            vocabulary=Vocabulary.from_dict(manifest["vocabulary"]),
            normaliser=Normaliser.from_list(manifest["normaliser"]),
            dropped=manifest["dropped"],
            rare=manifest["rare"],
            suspects=manifest["suspects"],
            sha256=manifest["sha256"],
            description=description,
            path=path,
            fresh=False,
            seconds=0.0,
        )


def open_prepared(path: Path, *, description: str) -> PreparedText | None:
    """The text that was prepared as the cache entry `path`, by whatever process; None if it is not there or whole."""
    return PreparedText.open(path, description=description) if is_whole(path) else None


def find_prepared(
    sha256: str, vocabulary: Vocabulary, normaliser: Normaliser, *, length: int, cache_dir: Path | None = None
) -> PreparedText | None:
    """The text that was prepared from a corpus of this `sha256`, if the cache has it still; the corpus is not read."""
    expected = (sha256, length, vocabulary.to_dict(), normaliser.to_list())
    for path in sorted(((cache_dir or default_cache_dir()) / "prepared").glob("*")):
        manifest = _read_manifest(path)
        if tuple(manifest.get(key) for key in ("sha256", "length", "vocabulary", "normaliser")) == expected:
            found = open_prepared(path, description=sha256)
            if found is not None:
                return found
    return None


def write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Complete the cache entry `path`, whose ids are there, with its manifest; flushed to the disk."""
    manifest = manifest | {_CHECKSUM: _checksum(manifest, path / IDS)}
    (path / _MANIFEST).write_text(json.dumps(manifest))
    sync(path / _MANIFEST)
    sync(path)


def is_whole(path: Path) -> bool:
    """Whether the cache entry `path` is there with the bytes that it was made with. Its name says that it was complete.

    All of it is read, at more than 1 GB/s: a flipped bit in it would be another text, or an id beyond the vocabulary in
    the middle of training. An entry of charrnn 0.1.0 has no checksum, and is made anew.
    """
    manifest = _read_manifest(path)
    try:
        return bool(manifest.pop(_CHECKSUM, None) == _checksum(manifest, path / IDS))
    except OSError:
        return False


def _read_manifest(path: Path) -> dict[str, Any]:
    """What the manifest of the cache entry `path` says; nothing if it is not there or cannot be read."""
    try:
        manifest = json.loads((path / _MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _checksum(manifest: dict[str, Any], ids: Path) -> int:
    """The CRC-32 of the manifest without its checksum, and of the ids. Raises OSError if they cannot be read."""
    checksum = zlib.crc32(json.dumps(manifest).encode())
    with ids.open("rb") as file:
        while block := file.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return checksum
