"""Files that are whole or absent: written under a temporary name, flushed to the disk, renamed."""

import os
import sys
import tempfile
from pathlib import Path

from charrnn.errors import RunError

__all__ = ["sync", "write_atomically"]


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
