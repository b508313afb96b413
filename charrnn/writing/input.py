"""What charrnn-sample reads: a prompt, or a text to score, as UTF-8 from the command line, a file or standard input."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.errors import ConfigError, CorpusError, VocabularyError, reason
from charrnn.text.decoding import decode_blocks
from charrnn.writing.options import Options

if TYPE_CHECKING:
    import numpy.typing as npt

    from charrnn.runtime import OnnxModel

__all__ = ["decoded", "encode_prompt", "from_command_line", "read_blocks", "read_prompt", "source_name"]

_BLOCK_BYTES = 64 << 10
_MAX_PROMPT_BYTES = 64 << 20
"""A prompt is held in memory. What is longer is a mistake, such as a device that never ends."""


def read_prompt(options: Options) -> str:
    """The prompt that `options` name, not yet normalised. Raises CorpusError, ConfigError."""
    if options.prompt_file is None:
        return from_command_line(options.prompt, "--prompt")
    source = source_name(options.prompt_file, "prompt file")
    return "".join(decoded(_bounded(read_blocks(options.prompt_file, source), source), source))


def from_command_line(text: str, flag: str) -> str:
    """The value `text` of `flag`, unchanged.

    Raises CorpusError where it was not UTF-8: Python passes on such bytes of an argument as lone surrogates.
    """
    try:
        return "".join(decoded([text.encode("utf-8", "surrogateescape")], flag))
    except UnicodeEncodeError as error:  # from Python, or from Windows, where arguments are no bytes
        raise CorpusError(
            f"{flag} has {text[error.start]!r} at position {error.start}, half of a character: leave it out"
        ) from error


def source_name(path: str, kind: str) -> str:
    """What messages call the file `path`; - is standard input."""
    return "standard input" if path == "-" else f"{kind} {path}"


def read_blocks(path: str, source: str) -> Iterator[bytes]:
    """The bytes of the file `path`, or of standard input for -, a block at a time. Raises CorpusError, ConfigError."""
    if path == "-" and sys.stdin is None:
        raise ConfigError("- reads standard input, which is closed: send the text there, or name a file")
    try:
        with nullcontext(sys.stdin.buffer) if path == "-" else Path(path).open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                yield block
    except (OSError, ValueError) as error:
        raise CorpusError(f"{source} cannot be read ({reason(error)}): name a UTF-8 text file, or -") from error


def _bounded(blocks: Iterable[bytes], source: str) -> Iterator[bytes]:
    size_bytes = 0
    for block in blocks:
        size_bytes += len(block)
        if size_bytes > _MAX_PROMPT_BYTES:
            raise CorpusError(f"{source} has more than {_MAX_PROMPT_BYTES:,} bytes: a prompt is at most that long")
        yield block


def decoded(blocks: Iterable[bytes], source: str) -> Iterator[str]:
    """The text of `blocks`, which may be cut within a character.

    Raises CorpusError with the offset of what is not UTF-8.
    """
    return decode_blocks(blocks, name=source, remedy=_conversion)


def _conversion(encoding: str) -> str:
    return f"convert it, for example with `iconv {f'-f {encoding} ' if encoding else ''}-t UTF-8`"


def encode_prompt(model: "OnnxModel", prompt: str, *, skip_unknown: bool) -> tuple["npt.NDArray[Any]", list[str]]:
    """The ids [T] of `prompt`, and the characters that `skip_unknown` left out, sorted. Raises VocabularyError."""
    from charrnn.runtime import encode_prompt as encode

    try:
        ids = encode(model, prompt, skip_unknown=skip_unknown)
    except VocabularyError as error:
        raise VocabularyError(f"prompt: {error} (--skip-unknown)") from error
    return ids, sorted(set(model.normaliser(prompt)) - set(model.vocabulary.characters))
