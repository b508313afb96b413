"""Parts of a corpus: sources of bytes that can be read several times, from files and from what is spooled into one."""

import codecs
import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from charrnn.errors import CorpusError
from charrnn.text.cache import using
from charrnn.text.packed import unpacked

__all__ = [
    "Part",
    "file_part",
    "files_below",
    "is_run_directory",
    "looks_binary",
    "printable",
    "read_blocks",
    "spooled_part",
]

_BLOCK_BYTES = 64 << 10  # measured: twice as fast as 256 KiB and more, whose tables of code points leave the L2 cache
_SNIFFED_BYTES = 8 << 10
# Of both, what is written for ever: config.json's first key, and how W&B calls what it puts into its directory.
_OUR_CONFIG = re.compile(rb'^\s*\{\s*"charrnn"\s*:')
_WANDB_RUN = re.compile(r"(offline-)?run-\d{8}_\d{6}-")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One source of a corpus."""

    name: str
    """For messages: the path, the address, or the word that the user wrote."""
    blocks: Callable[[], Iterator[bytes]]
    """Start reading from the beginning, as it is stored: it may be compressed. One reader at a time."""
    size_bytes: int | None
    """For progress; None when it is not known beforehand."""
    encoding: str | None = None
    """The encoding that the source is known to have; None where it is the user's to say."""


def file_part(path: Path, *, name: str | None = None, encoding: str | None = None) -> Part:
    """Return the part that is the regular file `path`. Raises CorpusError if it cannot be looked at."""
    name = name or printable(str(path))
    try:
        size_bytes = path.stat().st_size
    except OSError as error:
        _unreadable(name, error)
    return Part(name=name, blocks=lambda: _file_blocks(path, name), size_bytes=size_bytes, encoding=encoding)


def spooled_part(source: IO[bytes], *, name: str, directory: Path, until: ExitStack) -> Part:
    """Copy a source that can be read only once into a nameless file in `directory`, which `until` removes.

    Raises CorpusError if the source cannot be read or the directory cannot be written.
    """
    with using(directory):
        directory.mkdir(parents=True, exist_ok=True)
        spool = until.enter_context(tempfile.TemporaryFile(dir=directory))  # noqa: SIM115 (the stack closes it)
        size_bytes = sum(spool.write(block) for block in read_blocks(source, name))
        spool.flush()

    def blocks() -> Iterator[bytes]:
        spool.seek(0)
        return read_blocks(spool, name)

    return Part(name=name, blocks=blocks, size_bytes=size_bytes)


def read_blocks(file: IO[bytes], name: str) -> Iterator[bytes]:
    """Yield the rest of `file` in blocks. Raises CorpusError if it cannot be read."""
    try:
        while block := file.read(_BLOCK_BYTES):
            yield block
    except OSError as error:
        _unreadable(name, error)


def files_below(root: Path, *, without: Collection[str] = ("__pycache__",)) -> tuple[list[Path], list[Path]]:
    """Return the regular files below `root`, sorted by relative path, and the run directories that were passed over.

    Hidden entries are passed over, and so are directories called as one of `without`. Links to files are followed,
    links to directories are not. Raises CorpusError if a directory cannot be listed.
    """
    found: list[Path] = []
    runs: list[Path] = []
    for directory, subdirectories, names in os.walk(root, onerror=lambda error: _unreadable(error.filename, error)):
        if is_run_directory(Path(directory)):
            runs.append(Path(directory))
            subdirectories.clear()
            continue
        subdirectories[:] = [name for name in subdirectories if not name.startswith(".") and name not in without]
        found += [Path(directory, name) for name in names if not name.startswith(".")]
    return sorted(filter(Path.is_file, found), key=lambda path: path.relative_to(root).as_posix()), runs


def is_run_directory(path: Path) -> bool:
    """Whether a training run wrote what is in `path`: it has a config.json of ours, or is where W&B keeps its runs.

    Raises OSError if it cannot be looked into.
    """
    config = path / "config.json"
    if config.is_file():
        with config.open("rb") as file:
            return _OUR_CONFIG.match(file.read(_SNIFFED_BYTES)) is not None
    return path.name == "wandb" and any(_WANDB_RUN.match(entry.name) for entry in path.iterdir())


def looks_binary(path: Path, encoding: str = "utf-8") -> bool:
    """Whether a NUL character stands in the first 8 KiB, unpacked. In UTF-16 and UTF-32 most NUL bytes are none.

    Raises CorpusError if the file cannot be read.
    """
    name = printable(str(path))
    head = next(unpacked(_file_blocks(path, name), name), b"")[:_SNIFFED_BYTES]
    wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
    return "\0" in head.decode(encoding, "ignore") if wide else b"\0" in head


def printable(path: str) -> str:
    """Return `path` as it can be printed and stored: bytes that are not UTF-8 as \\xe9 and the like."""
    path = re.sub("[\udc80-\udcff]", lambda escaped: f"\\x{ord(escaped[0]) - 0xDC00:02x}", path)
    return path.encode("utf-8", "backslashreplace").decode()


def _file_blocks(path: Path, name: str) -> Iterator[bytes]:
    try:
        file = path.open("rb")
    except OSError as error:
        _unreadable(name, error)
    with file:
        yield from read_blocks(file, name)


def _unreadable(name: str, error: OSError) -> NoReturn:
    raise CorpusError(f"{printable(name)}: cannot be read: {error.strerror or error}") from error
