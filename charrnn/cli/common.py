"""What every command does with an error: one line on stderr and the documented exit status."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from charrnn import console
from charrnn.console import give_up
from charrnn.errors import CharRNNError, first_line

__all__ = ["EXIT_CLOSED_PIPE", "EXIT_INTERRUPTED", "EXIT_USER_ERROR", "exit_status", "give_up", "importing", "tell"]

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_CLOSED_PIPE = 141


def exit_status(command: str, body: Callable[[], int | None]) -> int:
    """Run `body` and return its exit status: 0, 2 (the user can mend it), 130 (interrupted), 141 (stdout closed)."""
    _open_what_is_closed()
    try:
        return body() or 0
    except CharRNNError as error:
        # In a launch of several processes all meet the same error: one of them says it.
        if os.environ.get("RANK", "0") == "0":
            _tell_error(command, str(error))
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        tell(f"{command}: interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        give_up(sys.stdout)  # the reader has gone (`| head`)
        return EXIT_CLOSED_PIPE
    except MemoryError as error:
        _tell_error(command, f"out of memory ({first_line(error)}): free some, or ask for less")
        return EXIT_USER_ERROR
    except OSError as error:
        if error.filename is None:
            raise
        # A place that nobody thought of: what the system says of a file is the user's to mend, as a rule.
        _tell_error(command, f"{error.filename}: {error.strerror}")
        return EXIT_USER_ERROR


def tell(line: str) -> None:
    """Write a line to standard error, if that can be."""
    console.tell(line, sys.stderr)


def _tell_error(command: str, message: str) -> None:
    tell(f"{command}: error: {' '.join(message.splitlines())}")  # a file's name may have line ends


def _open_what_is_closed() -> None:
    """Take the numbers of closed standard streams: a file of ours that got one would get what a library prints."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
    if sys.stderr is None:  # not every library looks first
        sys.stderr = os.fdopen(2, "w")


@contextmanager
def importing(command: str) -> Iterator[None]:
    """While it lasts, Ctrl-C ends the process at once: nothing has been written yet, and nothing is held.

    A KeyboardInterrupt would get lost in the import of some extension modules, or come out as an ImportError.
    """

    def end(number: int, frame: FrameType | None) -> NoReturn:
        tell(f"{command}: interrupted")
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
