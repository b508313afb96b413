"""Compressed parts of a corpus, known by their first bytes, read as the text inside: gzip, bzip2, xz and zstd.

All of it streams, block by block: what a small file unpacks to is never held.
"""

import bz2
import gzip
import io
import itertools
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

from charrnn.errors import CorpusError, first_line

__all__ = ["is_packed", "unpacked"]

_BLOCK_BYTES = 64 << 10
_MAX_XZ_BYTES = 1 << 30
"""Memory that an xz file may ask for; `xz -9` asks for 65 MB."""


def is_packed(blocks: Iterator[bytes]) -> bool:
    """Whether `unpacked` would unpack these blocks of a file."""
    return _opener(next(blocks, b"")) is not None


def unpacked(blocks: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Yield what the consecutive `blocks` of the file `name` unpack to, all members of it; themselves if not packed.

    Raises CorpusError if the file is cut short or damaged.
    """
    head = next(blocks, b"")
    blocks = itertools.chain([head], blocks)
    opener = _opener(head)
    return blocks if opener is None else _checked(opener(io.BufferedReader(_Blocks(blocks), _BLOCK_BYTES)), name)


def _opener(head: bytes) -> Callable[[IO[bytes]], Iterator[bytes]] | None:
    return next((opener for signature, opener in _OPENERS if re.match(signature, head)), None)


def _checked(blocks: Iterator[bytes], name: str) -> Iterator[bytes]:
    try:
        yield from blocks
    except (OSError, EOFError, ValueError, MemoryError, zlib.error, lzma.LZMAError) as error:
        raise CorpusError(
            f"{name}: cannot be unpacked ({first_line(error)}): it is cut short or damaged, get it anew"
        ) from error


class _Blocks(io.RawIOBase):
    """Blocks of bytes as a file."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._rest = block
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def _gzip(file: IO[bytes]) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file) as inside:
        while block := inside.read(_BLOCK_BYTES):
            yield block


def _zstd(file: IO[bytes]) -> Iterator[bytes]:
    # The standard library has no zstd before Python 3.14, and pyarrow is there for the stream of ids.
    import pyarrow as pa

    with pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd") as inside:
        while block := inside.read(_BLOCK_BYTES):
            yield block


def _bzip2(file: IO[bytes]) -> Iterator[bytes]:
    return _members(file, bz2.BZ2Decompressor)


def _xz(file: IO[bytes]) -> Iterator[bytes]:
    return _members(file, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_XZ_BYTES))


def _members(file: IO[bytes], new: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]) -> Iterator[bytes]:
    """Unpack one member after another. The library's own files take a damaged second member for the end."""
    packed = file.read(_BLOCK_BYTES)
    while packed:
        unpacker = new()
        while not unpacker.eof:
            yield unpacker.decompress(packed, _BLOCK_BYTES)
            packed = b""
            if unpacker.needs_input and not unpacker.eof and not (packed := file.read(_BLOCK_BYTES)):
                raise EOFError("its end is missing")
        packed = unpacker.unused_data.lstrip(b"\0")  # padding
        while not packed and (block := file.read(_BLOCK_BYTES)):
            packed = block.lstrip(b"\0")


_OPENERS: list[tuple[bytes, Callable[[IO[bytes]], Iterator[bytes]]]] = [
    (rb"\x1f\x8b\x08", _gzip),
    (rb"BZh[1-9](1AY&SY|\x17rE8P\x90)", _bzip2),  # these are pi and its square root: no text begins so
    (rb"\xfd7zXZ\0", _xz),
    (rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", _zstd),  # a frame, or one to skip, as pzstd begins
]
"""Regular expressions for a file's first bytes."""
