"""Flags of the training side: made by tyro from a dataclass, its boxed messages brought to one line."""

import contextlib
import io
import itertools
import sys
from typing import Any, TypeVar

from charrnn.console import tell
from charrnn.errors import ConfigError

__all__ = ["parse_flags"]

T = TypeVar("T")


def parse_flags(kind: type[T], flags: list[str], *, prog: str, description: str, default: T | None = None) -> T:
    """The `kind` that `flags` describe, starting from `default`. Raises ConfigError; `--help` prints and exits."""
    import tyro

    for flag in flags:
        if "\0" in flag:  # no command line has one, a caller's list may
            raise ConfigError(f"{flag!r} has a NUL character: give it without")
    output = io.StringIO()
    settings: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            parsed: T = tyro.cli(
                kind,
                args=flags,
                prog=prog,
                description=description,
                config=(tyro.conf.FlagCreatePairsOff,),
                **settings,
            )
            return parsed
    except SystemExit as stop:
        if stop.code in (0, None):
            tell(output.getvalue(), sys.stdout, end="")
            raise
        raise ConfigError(f"{_one_line(output.getvalue())} (--help lists the flags)") from None


def _one_line(boxed: str) -> str:
    """The problem in tyro's message, and the flag it thinks was meant; without frame, title and help texts.

    The message is a title, then sections between rules; without a terminal the frame is made of -, + and |.
    """
    lines = [line.strip("│| \n") for line in boxed.splitlines()][1:]
    sections = [list(group) for rule, group in itertools.groupby(lines, lambda line: set(line) <= _FRAME) if not rule]
    meant = [line.split()[0] for section in sections if section[0] == "Perhaps you meant:" for line in section[1:]]
    return " ".join(sections[0]) + (f"; did you mean {meant[0]}?" if meant else "")


_FRAME = set("╭╮╰╯─-+ ")
