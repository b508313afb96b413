"""What a run tells while a progress bar may be on the screen: above the bar."""

import sys
from typing import TextIO

from tqdm import tqdm

from charrnn.console import tell

__all__ = ["say", "warn"]


def say(text: str) -> None:
    """Tell on stdout what is going on."""
    _above_the_bar(text, sys.stdout)


def warn(line: str, *, speaker: str = "charrnn-train") -> None:
    """Tell on stderr what the user should know but need not act on."""
    _above_the_bar(f"{speaker}: {line}", sys.stderr)


def _above_the_bar(text: str, stream: TextIO) -> None:
    with tqdm.external_write_mode(file=stream):
        tell(text, stream)
