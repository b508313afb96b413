"""The cache directory: how things are put into it so that only complete ones are ever found."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from charrnn.errors import CorpusError
from charrnn.files import sync

__all__ = ["publish", "using", "workspace"]

_PREFIX = ".unfinished-"
_ABANDONED_SECONDS = 24 * 3600.0  # an assumption: no download or preparation goes a day without touching its directory


@contextmanager
def using(directory: Path) -> Iterator[None]:
    """Turn an OSError inside (disk full, no permission, not a directory) into a CorpusError with the remedy."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = "make room or set CHARRNN_CACHE to a directory that can be written"
        raise CorpusError(f"the cache {directory} cannot be used: {reason}; {remedy}") from error


@contextmanager
def workspace(directory: Path) -> Iterator[Path]:
    """Make a new directory in `directory` to work in, and remove it afterwards.

    A killed process leaves its own behind; those that are a day old are removed here too.
    """
    with using(directory):
        directory.mkdir(parents=True, exist_ok=True)
        _sweep(directory)
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=directory))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _sweep(directory: Path) -> None:
    oldest = time.time() - _ABANDONED_SECONDS
    for path in directory.glob(f"{_PREFIX}*"):
        with suppress(FileNotFoundError):  # its owner, or another sweeper, may be removing it
            if path.lstat().st_mtime < oldest:
                shutil.rmtree(path, ignore_errors=True)


def publish(source: Path, target: Path) -> None:
    """Give the finished file or directory `source` its final name, durably.

    If `target` is a directory that another process published first, that one stays.
    """
    try:
        source.rename(target)
    except OSError:
        if not target.is_dir():
            raise
    sync(target.parent)
