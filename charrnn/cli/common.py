"""What every command does with an error: one line on stderr and the documented exit status."""

import os
import sys
from collections.abc import Callable

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
            print(f"{command}: error: {error}", file=sys.stderr, flush=True)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print(f"{command}: interrupted", file=sys.stderr, flush=True)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (`| head`): silence the interpreter's own flush at exit as well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_CLOSED_PIPE
