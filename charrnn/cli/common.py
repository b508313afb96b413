"""What every command does with an error: one line on stderr and the documented exit status."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, TextIO

from charrnn.errors import CharRNNError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_CLOSED_PIPE = 141


def exit_status(command: str, body: Callable[[], int | None]) -> int:
    """Run `body` and return its exit status: 0, 2 (the user can mend it), 130 (interrupted), 141 (stdout closed)."""
    try:
        return body() or 0
    except CharRNNError as error:
        # In a launch of several processes all meet the same error: one of them says it.
        if os.environ.get("RANK", "0") == "0":
            line = " ".join(str(error).splitlines())  # a file's name may have line ends
            tell(f"{command}: error: {line}")
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        tell(f"{command}: interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        give_up(sys.stdout)  # the reader has gone (`| head`)
        return EXIT_CLOSED_PIPE


def tell(line: str) -> None:
    """Write a line to standard error, if that can be: what was asked for does not depend on it."""
    if sys.stderr is None:  # print would take standard output instead
        return
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        give_up(sys.stderr)


def give_up(stream: TextIO) -> None:
    """Let what `stream` still holds go nowhere: the interpreter's flush at exit would fail, and change the status."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


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
