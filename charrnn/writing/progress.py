"""How far a long work is: one line of the terminal, which is gone when the work is done."""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

__all__ = ["with_progress"]

Item = TypeVar("Item")


def with_progress(items: Iterable[Item], line_of: Callable[[Item], str], *, quiet: bool) -> Iterable[Item]:
    """Pass `items` on, and after each show its line, unless `quiet` or where standard error is no terminal."""
    terminal = sys.stderr is not None and sys.stderr.isatty() and not quiet
    return _with_lines(items, line_of) if terminal else items


def _with_lines(items: Iterable[Item], line_of: Callable[[Item], str]) -> Iterator[Item]:
    longest = 0
    try:
        for item in items:
            line = line_of(item)
            longest = max(longest, len(line))
            print(f"\r{line}", end="", file=sys.stderr, flush=True)
            yield item
    finally:  # what comes next, an error too, stands alone on its line
        if longest:
            print(f"\r{' ' * longest}\r", end="", file=sys.stderr, flush=True)
