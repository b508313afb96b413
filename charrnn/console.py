"""What is told to the user: as much of it as can be shown, and never a reason to end what is being done."""

import os
import signal
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, TextIO

__all__ = ["EXIT_INTERRUPTED", "give_up", "importing", "tell", "told_bytes", "visible"]

EXIT_INTERRUPTED = 130
_UNSEEN = "Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"
"""Categories of what a terminal would obey, or not show."""
_SEEN_AS = {c: chr(0x2400 + ord(c)) for c in map(chr, range(32))} | {"\x7f": "\u2421", "\t": "    ", "\n": "\n"}
_SEEN_AS |= {joiner: joiner for joiner in "\u200c\u200d"}  # unseen, they shape the letters and emoji beside them


def visible(text: str) -> str:
    """`text` with what would move the cursor or do worse replaced: a model may write any character of its corpus.

    Line ends stay. Control characters are shown as their pictures (␛ is escape); what has none, as U+FFFD.
    """
    if text.isprintable():
        return text
    return "".join(_SEEN_AS.get(c) or ("\ufffd" if unicodedata.category(c) in _UNSEEN else c) for c in text)


def tell(text: str, stream: TextIO | None, end: str = "\n") -> None:
    """Write `text` to `stream`, standard output or error, if that can be: what was asked for does not depend on it.

    A terminal gets what is visible of it, others the exact text; what the stream's encoding lacks is escaped. A stream
    that is full, or whose reader has gone, gets nothing more.
    """
    if stream is None or stream.closed:  # for None, print would take standard output
        return
    try:
        text = (visible(text) if stream.isatty() else text) + end
        try:
            stream.write(text)
        except UnicodeEncodeError:
            encoding = stream.encoding
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except OSError as error:
        give_up(stream)
        if stream is sys.stdout and not isinstance(error, BrokenPipeError):
            tell(f"standard output cannot be written ({error.strerror}): the work goes on without it", sys.stderr)


def told_bytes(size_bytes: int) -> str:
    """A number of bytes, as a message has it."""
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.0f} KB"


def give_up(stream: TextIO) -> None:
    """Let what `stream` still holds go nowhere: the interpreter's flush at exit would fail, and change the status."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@contextmanager
def importing(command: str) -> Iterator[None]:
    """While it lasts, Ctrl-C ends the process at once: nothing has been written yet, and nothing is held.

    A KeyboardInterrupt would get lost in the import of some extension modules, or come out as an ImportError.
    """

    def end(number: int, frame: FrameType | None) -> NoReturn:
        tell(f"{command}: interrupted", sys.stderr)
        os._exit(EXIT_INTERRUPTED)

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # ignored, as in the background, or in somebody else's hands
        return
    try:
        signal.signal(signal.SIGINT, end)
    except ValueError:  # not the main thread, which alone gets signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
