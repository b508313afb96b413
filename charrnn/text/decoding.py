"""Bytes to characters, exactly: newlines, tabs, CR and BOM stay, and an error says where it is."""

import codecs
from collections.abc import Iterable, Iterator
from typing import Literal

from charrnn.errors import ConfigError, CorpusError

__all__ = ["ErrorPolicy", "check_encoding", "decode_blocks"]

ErrorPolicy = Literal["strict", "replace", "ignore"]
"""What becomes of bytes that are not of the encoding: an error, U+FFFD, or nothing."""


def check_encoding(encoding: str) -> None:
    """Raise ConfigError unless `encoding` names a text encoding that Python knows."""
    try:
        b"a".decode(encoding)  # empty bytes would be decoded without looking the name up
    except UnicodeError:
        return  # known, and not for this byte alone
    except (LookupError, ValueError) as error:
        raise ConfigError(f"--text.encoding {encoding!r} is no text encoding that Python knows; try utf-8") from error


def decode_blocks(blocks: Iterable[bytes], *, name: str, encoding: str, errors: ErrorPolicy) -> Iterator[str]:
    """Yield the text of `blocks`, which are the consecutive pieces of the file `name`, cut anywhere.

    Only the encoding "utf-8-sig" strips a byte order mark that is UTF-8's.
    Raises CorpusError with the file and the byte offset of what is not `encoding`, ConfigError for an unknown encoding.
    """
    check_encoding(encoding)
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    fed = 0
    try:
        for block in blocks:
            fed += len(block)
            yield decoder.decode(block)
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        # `error.object` is what was still undecoded and the block: it ends where feeding ended.
        offset = fed - len(error.object) + error.start
        what = f"byte 0x{error.object[error.start]:02X} at offset {offset} is not {encoding} ({error.reason})"
        raise CorpusError(f"{name}: {what}{_REMEDY}") from error
    except UnicodeError as error:  # UTF-16 without a byte order mark, for one
        raise CorpusError(f"{name}: not {encoding} within the first {fed} bytes ({error}){_REMEDY}") from error


_REMEDY = (
    "; name the right encoding with --text.encoding, "
    "or pass over such bytes with --text.encoding-errors replace (or ignore)"
)
