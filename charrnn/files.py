"""Files that are whole or absent: written under a temporary name, flushed to the disk, renamed. Where the cache is."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from charrnn.errors import ConfigError, RunError

__all__ = ["cache_dir", "looking_at", "sync", "write_atomically"]


def cache_dir() -> Path:
    """Return $CHARRNN_CACHE, else charrnn under $XDG_CACHE_HOME, else ~/.cache/charrnn.

    Raises ConfigError where none of them is: no HOME, and a user whom the system does not know.
    """
    if own := os.environ.get("CHARRNN_CACHE"):
        return Path(own)
    if caches := os.environ.get("XDG_CACHE_HOME"):
        return Path(caches) / "charrnn"
    try:
        return Path.home() / ".cache" / "charrnn"
    except RuntimeError as error:
        raise ConfigError("there is no home directory for the cache: set CHARRNN_CACHE to a directory") from error


@contextmanager
def looking_at(path: Path) -> Iterator[None]:
    """Turn the system's refusal to say what `path` is (too long a name, no permission above it) into a RunError."""
    if "\0" in str(path):
        raise RunError(f"{str(path)!r}: a path has no NUL character: name another path")
    try:
        yield
    except OSError as error:
        raise RunError(f"{path}: cannot be looked at ({error.strerror}): name another path") from error


def write_atomically(path: Path, content: bytes | str) -> None:
    """Give `path` its content in one step: a reader sees the old file or the new one, after a crash as well.

    Raises RunError where the disk is full or the directory cannot be written; nothing is left behind then.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        temporary = None
        sync(path.parent)
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written ({error.strerror}): free space there or choose another place"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file's content, or a directory's entries, to the disk: a rename is there only after this."""
    directory = path.is_dir()
    if directory and sys.platform == "win32":
        return  # it opens no directory, and needs a file to be open for writing
    descriptor = os.open(path, os.O_RDONLY if directory else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
