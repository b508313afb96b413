"""Flags of the training side: made by tyro from a dataclass, its boxed messages brought to one line."""

import contextlib
import io
from typing import Any, TypeVar

from charrnn.errors import ConfigError

__all__ = ["parse_flags"]

T = TypeVar("T")


def parse_flags(kind: type[T], flags: list[str], *, prog: str, description: str, default: T | None = None) -> T:
    """The `kind` that `flags` describe, starting from `default`. Raises ConfigError; `--help` prints and exits."""
    import tyro

    output = io.StringIO()
    settings: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            return tyro.cli(
                kind,
                args=flags,
                prog=prog,
                description=description,
                config=(tyro.conf.FlagCreatePairsOff,),
                **settings,
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            print(output.getvalue(), end="")
            raise
        raise ConfigError(f"{_one_line(output.getvalue())} (--help lists the flags)") from None


def _one_line(boxed: str) -> str:
    """tyro's message without its frame, its title and its pointer to the help."""
    lines = [line.strip("│╭╮╰╯─ \n") for line in boxed.splitlines()]
    kept = [line for line in lines[1:] if line and not line.startswith("For full helptext")]
    return " ".join(kept).replace("Perhaps you meant:", "- perhaps you meant")
