"""Bytes to characters, exactly: newlines, tabs, CR and BOM stay, and an error says where it is."""

import codecs
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from charrnn.errors import ConfigError, CorpusError

__all__ = ["ErrorPolicy", "Remedy", "check_encoding", "decode_blocks", "marked_encoding"]

ErrorPolicy = Literal["strict", "replace", "ignore"]
"""What becomes of bytes that are not of the encoding: an error, U+FFFD, or nothing."""
Remedy = Callable[[str], str]
"""What to do about bytes that are not text, given the encoding that they seem to have, "" if nothing tells."""

# What a file says of itself in its first bytes: the encoding with which it is text, or what else it is.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like the next
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_PACKED = (
    (b"\x1f\x8b", "gzip-compressed"),
    (b"BZh", "bzip2-compressed"),
    (b"\xfd7zXZ\0", "xz-compressed"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed"),
    (b"\x04\x22\x4d\x18", "lz4-compressed"),
    (b"PK\x03\x04", "a zip archive (as are docx, odt and epub)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a rar archive"),
)
_NO_TEXT = (
    (b"%PDF-", "a PDF"),
    (b"\xd0\xcf\x11\xe0", "an old Microsoft Office document"),
    (b"PAR1", "a Parquet file (hub: reads the directory that holds it)"),
    (b"ARROW1", "an Arrow file (hub: reads the directory that holds it)"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x7fELF", "a program"),
)
_SURROGATE = re.compile("[\ud800-\udfff]")


def check_encoding(encoding: str) -> None:
    """Raise ConfigError unless `encoding` names a text encoding that Python knows."""
    try:
        b"a".decode(encoding)  # empty bytes would be decoded without looking the name up
    except UnicodeError:
        return  # known, and not for this byte alone
    except (LookupError, ValueError) as error:
        raise ConfigError(f"--text.encoding {encoding!r} is no text encoding that Python knows; try utf-8") from error


def _training_remedy(encoding: str) -> str:
    if encoding:
        return f"give --text.encoding {encoding}"
    return (
        "name the right encoding with --text.encoding, "
        "or pass over such bytes with --text.encoding-errors replace (or ignore)"
    )


def decode_blocks(
    blocks: Iterable[bytes],
    *,
    name: str,
    encoding: str = "utf-8",
    errors: ErrorPolicy = "strict",
    remedy: Remedy = _training_remedy,
) -> Iterator[str]:
    """Yield the text of `blocks`, which are the consecutive pieces of the file `name`, cut anywhere.

    Only the encoding "utf-8-sig" strips a byte order mark that is UTF-8's.
    Raises CorpusError with the file and the byte offset of what is not `encoding`, or with what its first bytes say
    that it is; with the character's position for a lone surrogate, which some encodings can spell; ConfigError for an
    unknown encoding.
    """
    check_encoding(encoding)
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    # The decoders of these two let no surrogate through, so nothing need be looked for.
    whole = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
    head, fed, position = b"", 0, 0
    try:
        for block in blocks:
            head = head or block
            fed += len(block)
            text = decoder.decode(block)
            yield text if whole else _without_surrogates(text, name, encoding, errors, position)
            position += len(text)
        text = decoder.decode(b"", final=True)
        yield text if whole else _without_surrogates(text, name, encoding, errors, position)
    except UnicodeDecodeError as error:
        # `error.object` is what was still undecoded and the block: it ends where feeding ended.
        offset = fed - len(error.object) + error.start
        what = f"byte 0x{error.object[error.start]:02X} at offset {offset} is not {encoding} ({error.reason})"
        raise _undecodable(name, encoding, head, what, remedy) from error
    except UnicodeError as error:  # UTF-16 without a byte order mark, for one
        what = f"not {encoding} within the first {fed} bytes ({error})"
        raise _undecodable(name, encoding, head, what, remedy) from error


def marked_encoding(head: bytes) -> str:
    """Return the encoding whose byte order mark a file begins with, "" for none."""
    return next((encoding for mark, encoding in _MARKS if head.startswith(mark)), "")


def _without_surrogates(text: str, name: str, encoding: str, errors: ErrorPolicy, position: int) -> str:
    found = _SURROGATE.search(text)
    if found is None:
        return text
    if errors != "strict":
        return _SURROGATE.sub("\ufffd" if errors == "replace" else "", text)
    raise CorpusError(
        f"{name}: the character at position {position + found.start()} is U+{ord(found[0]):04X}, half of a surrogate "
        f"pair, as {encoding} spells it, and no character; correct it there, or pass over such with "
        "--text.encoding-errors replace (or ignore)"
    )


def _undecodable(name: str, encoding: str, head: bytes, what: str, remedy: Remedy) -> CorpusError:
    """The error that says what the file is, where its first bytes `head` tell, and `what` is wrong where not."""
    if (other := marked_encoding(head)) and not _same(encoding, other):
        return CorpusError(f"{name}: is {_spelled(other)} by its first bytes, not {encoding}; {remedy(other)}")
    for signature, kind in _PACKED:
        if head.startswith(signature):
            return CorpusError(f"{name}: is {kind} by its first bytes; unpack it and name the text that is inside")
    for signature, kind in _NO_TEXT:
        if head.startswith(signature):
            return CorpusError(f"{name}: is {kind} by its first bytes, and no text; save its text as a text file")
    if (other := _wide(head)) not in ("", codecs.lookup(encoding).name):
        return CorpusError(f"{name}: {what}; it looks like {_spelled(other)}: {remedy(other)}")
    return CorpusError(f"{name}: {what}; {remedy('')}")


def _same(encoding: str, other: str) -> bool:
    """Whether they are one encoding, but for its mark and its order of bytes: utf-16 and utf-16-le."""
    first, second = (codecs.lookup(name).name.split("-")[:2] for name in (encoding, other))
    return first == second


def _spelled(encoding: str) -> str:
    return encoding.upper().removesuffix("-SIG")


def _wide(head: bytes) -> str:
    """The encoding that NULs tell of: in UTF-16 without a mark one is half of each space and each line feed."""
    for parity, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        nuls, others = head[parity::2].count(0), head[1 - parity :: 2].count(0)
        if nuls > len(head) // 20 and not others:
            return encoding
    return ""
