"""Downloads: fetched once, checked by SHA-256, kept in the cache under their checksum."""

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from charrnn.errors import CorpusError
from charrnn.files import sync
from charrnn.text.cache import publish, using, workspace
from charrnn.text.progress import progress_bar

__all__ = ["Download", "fetch"]

_BLOCK_BYTES = 64 << 10
_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file at a public address, and what it must be."""

    address: str
    sha256: str
    """64 hexadecimal digits, lower case."""
    encoding: str | None = None
    """The encoding that the file is known to have; None where it is the user's to say."""
    line_end: bytes = b"\n"
    """The one byte that ends a line there; it is read as a newline."""


def fetch(
    download: Download, *, cache_dir: Path, progress: bool = True, timeout_seconds: float = _TIMEOUT_SECONDS
) -> Path:
    """Return the path of the downloaded file, from the cache if it is there.

    The file takes its name only when it is complete and has the checksum. `timeout_seconds` is the longest silence.
    Raises CorpusError if it cannot be fetched, is not what its checksum says, or cannot be stored.
    """
    directory = cache_dir / "downloads"
    path = directory / download.sha256
    with using(directory):
        if path.is_file() and _sha256(path) == download.sha256:
            return path
    with workspace(directory) as unfinished, using(directory):
        body = unfinished / "body"
        _store(_blocks(download, progress=progress, timeout_seconds=timeout_seconds), body, download)
        publish(body, path)
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _store(blocks: Iterator[bytes], path: Path, download: Download) -> None:
    """Write `blocks` to `path`. Raises CorpusError if they are not what the checksum says."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for block in blocks:
            digest.update(block)
            file.write(block)
    sync(path)
    if digest.hexdigest() != download.sha256:
        raise CorpusError(
            f"{download.address}: its SHA-256 is {digest.hexdigest()}, not {download.sha256} as asked for: "
            "it was altered on the way, or the file at this address has changed; nothing was kept"
        )


def _blocks(download: Download, *, progress: bool, timeout_seconds: float) -> Iterator[bytes]:
    """Yield the body. Raises CorpusError if the server cannot be reached, refuses, falls silent or breaks off."""
    address = download.address
    try:
        with urllib.request.urlopen(address, timeout=timeout_seconds) as response:
            total: int | None = response.length
            with progress_bar("downloading", total, progress=progress) as bar:
                while block := response.read(_BLOCK_BYTES):
                    bar.update(len(block))
                    yield block
            if response.length:
                raise CorpusError(
                    f"{address}: the connection broke off {response.length} bytes before the end{_REMEDY}"
                )
    except urllib.error.HTTPError as error:
        error.close()
        raise CorpusError(f"{address}: the server answers {error.code} ({error.reason}); check the address") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise CorpusError(f"{address}: cannot be fetched: {reason}{_REMEDY}") from error


_REMEDY = "; try again, or fetch it by other means and name the file instead"
