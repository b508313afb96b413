"""What every command does with an error: one line on stderr and the documented exit status."""

import os
import sys
import time
from collections.abc import Callable

from charrnn.console import EXIT_INTERRUPTED, give_up, tell
from charrnn.errors import CharRNNError, first_line, not_installed

__all__ = ["EXIT_CLOSED_PIPE", "EXIT_USER_ERROR", "exit_status"]

EXIT_USER_ERROR = 2
EXIT_CLOSED_PIPE = 141
FIRST_SPEAKS_SECONDS = 10.0
"""In a launch of several processes all meet the same error, and the first of them says it: the launcher ends the others
as soon as that one has. Did another one end before, the launcher would end the first unheard. What only another one
met, it says itself after this time."""


def exit_status(command: str, body: Callable[[], int | None]) -> int:
    """Run `body` and return its exit status: 0, 2 (the user can mend it), 130 (interrupted), 141 (stdout closed)."""
    _open_what_is_closed()
    try:
        return body() or 0
    except CharRNNError as error:
        if os.environ.get("RANK", "0") != "0":
            time.sleep(FIRST_SPEAKS_SECONDS)
        _tell_error(command, str(error))
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        tell(f"{command}: interrupted", sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        give_up(sys.stdout)  # the reader has gone (`| head`)
        return EXIT_CLOSED_PIPE
    except ModuleNotFoundError as error:
        missing = not_installed(error, "" if command == "charrnn-sample" else "train")
        if missing is None:
            raise
        _tell_error(command, str(missing))
        return EXIT_USER_ERROR
    except MemoryError as error:
        _tell_error(command, f"out of memory ({first_line(error)}): free some, or ask for less")
        return EXIT_USER_ERROR
    except OSError as error:
        if error.filename is None:
            raise
        # A place that nobody thought of: what the system says of a file is the user's to mend, as a rule.
        _tell_error(command, f"{error.filename}: {error.strerror}")
        return EXIT_USER_ERROR


def _tell_error(command: str, message: str) -> None:
    tell(f"{command}: error: {' '.join(message.splitlines())}", sys.stderr)  # a file's name may have line ends


def _open_what_is_closed() -> None:
    """Take the numbers of closed standard streams: a file of ours that got one would get what a library prints."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
    if sys.stderr is None:  # not every library looks first
        sys.stderr = os.fdopen(2, "w")
