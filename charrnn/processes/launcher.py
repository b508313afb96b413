"""The process that started this one: `accelerate launch`, or none of it."""

import os

import psutil

__all__ = ["launcher_pid", "requested_processes"]


def launcher_pid() -> int:
    """The process that launched this one, where that is `accelerate launch`; otherwise 0."""
    parent, words = _launcher()
    return parent if words else 0


def requested_processes() -> int:
    """What `--num_processes` of the launcher above us says, 1 where none is.

    `accelerate launch --cpu --num_processes 2` starts one process and tells it nothing (accelerate issue 2741): the
    launcher's own command line is the only trace of the wish.
    """
    words = _launcher()[1]
    for index, word in enumerate(words):
        name, _, value = word.partition("=")
        if name.replace("-", "_") == "__num_processes":
            value = value or (words[index + 1] if index + 1 < len(words) else "")
            return int(value) if value.isdecimal() else 1
    return 1


def _launcher() -> tuple[int, list[str]]:
    """The parent process and its command line; no words where it is not accelerate's launcher."""
    try:
        parent = psutil.Process().parent()
        words = parent.cmdline() if parent is not None else []
    except psutil.Error:  # it has just ended, or is another user's: accelerate's launcher is ours, and waits for us
        words = []
    if any(word.endswith(("accelerate", "accelerate-launch", "accelerate.commands.launch")) for word in words[:4]):
        return os.getppid(), words
    return os.getppid(), []
