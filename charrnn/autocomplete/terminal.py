"""The terminal of the editor: keys are read one by one, and in the end it is as it was before, whatever happens."""

import codecs
import os
import re
import select
import signal
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

__all__ = ["Keyboard", "draw", "drawable", "size"]

_OWN_SCREEN, _SCREEN_BEFORE = "\x1b[?1049h", "\x1b[?1049l"
# An escape sequence (of arrows, function keys, Alt with a key), or a character.
_KEY = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO.|\x1b[^\[O]|[^\x1b]", re.DOTALL)
_LONGEST_SEQUENCE = 32


def size(descriptor: int) -> tuple[int, int]:
    """Columns and rows of the terminal; 80 and 24 where it does not tell."""
    columns, rows = os.get_terminal_size(descriptor)
    return columns or 80, rows or 24


@contextmanager
def drawable(keyboard: int, screen: int) -> Iterator[None]:
    """Within the `with` block `keyboard` gives each key at once and without echo, and `screen` is an empty one.

    Afterwards both are as before. Ctrl-C still raises KeyboardInterrupt. SIGTERM and SIGHUP end the process, after the
    terminal has been restored.
    """
    before = termios.tcgetattr(keyboard)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        for number in handlers:
            signal.signal(number, _end)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, _unbuffered(keyboard, before))
        draw(screen, _OWN_SCREEN)
        yield
    finally:
        interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C does not get in between
        try:
            draw(screen, _SCREEN_BEFORE)
        finally:
            termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
            for number, handler in {**handlers, signal.SIGINT: interrupt}.items():
                signal.signal(number, handler)


def _unbuffered(keyboard: int, before: list) -> list:  # type: ignore[type-arg]  # as termios has it: numbers, and a list of bytes
    iflag, oflag, cflag, lflag, *speeds, special = before
    iflag &= ~termios.IXON  # Ctrl-S would freeze the screen
    lflag &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
    special = list(special)
    special[termios.VMIN], special[termios.VTIME] = 1, 0
    # Ctrl-Z and Ctrl-\ would leave a shell with this screen.
    special[termios.VSUSP] = special[termios.VQUIT] = bytes([os.fpathconf(keyboard, "PC_VDISABLE") & 0xFF])
    return [iflag, oflag, cflag, lflag, *speeds, special]


def _end(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def draw(screen: int, text: str) -> None:
    """Write all of `text` to the terminal `screen`."""
    data = text.encode("utf-8", "replace")
    while data:
        data = data[os.write(screen, data) :]


class Keyboard:
    """The keys that are pressed, as text: a character, or the escape sequence that another key sends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""

    def read(self) -> list[str]:
        """Wait for keys; empty where the terminal is gone."""
        keys: list[str] = []
        while not keys:
            data = os.read(self._descriptor, 4096)
            if not data:
                return []
            self._pending += self._decoder.decode(data)
            end = 0
            for match in _KEY.finditer(self._pending):
                keys.append(match.group())
                end = match.end()
            self._pending = self._pending[end:]  # a sequence whose end is still to come
            if len(self._pending) > _LONGEST_SEQUENCE:
                self._pending = ""
        return keys

    def has_more(self) -> bool:
        """Whether `read` would return at once, as while text is being pasted."""
        return bool(select.select([self._descriptor], [], [], 0)[0])
