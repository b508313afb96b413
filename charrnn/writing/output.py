"""What charrnn-sample writes: text on standard output as UTF-8, messages on standard error."""

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from charrnn.console import give_up, tell, visible
from charrnn.errors import CharRNNError

__all__ = ["COMMAND", "Write", "say", "say_why_slow", "standard_output"]

COMMAND = "charrnn-sample"
Write = Callable[[str], object]
"""A function that writes a piece of text."""


@contextmanager
def standard_output() -> Iterator[Write]:
    """Yields what writes text to standard output: as UTF-8 and with bare newlines, whatever the locale.

    A terminal gets each text at once, and symbols in the place of control characters, which it would obey. At the end
    of the `with` block everything is written. Raises CharRNNError where that fails, as on a full disk.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="strict", newline="\n")
    try:
        yield _show if sys.stdout.isatty() else sys.stdout.write
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        give_up(sys.stdout)
        raise CharRNNError(
            f"the text cannot be written ({error.strerror}): free space there, or write elsewhere"
        ) from error


def _show(text: str) -> None:
    sys.stdout.write(visible(text))
    sys.stdout.flush()


def say(message: str) -> None:
    """Tell the user something that is not the text."""
    tell(f"{COMMAND}: {' '.join(message.splitlines())}", sys.stderr)


def say_why_slow(why: str) -> None:
    """why: of `OnnxModel.why_single_steps`."""
    if why:
        say(f"slower than could be, a call of onnxruntime for each character: no Scan of this file's graph: {why}")
