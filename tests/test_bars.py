"""Who sees a progress bar: a terminal does, a log does not. Notebooks: `interactive/test_kernel.py`."""

import os
import pty
import subprocess
import sys
import termios
from contextlib import suppress

import pytest

SHOWS = """
from charrnn.bars import bar
with bar(total=3, desc="reading", disable={disable}) as shown:
    shown.update(3)
print("done")
"""


def on_a_terminal(code: str) -> str:
    """What a terminal gets on stderr."""
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 80))
    subprocess.run([sys.executable, "-c", code], stderr=end, stdout=subprocess.DEVNULL, check=True, timeout=60)
    os.close(end)
    seen = b""
    with suppress(OSError):  # the end of what was written
        while block := os.read(terminal, 4096):
            seen += block
    os.close(terminal)
    return seen.decode()


def test_a_terminal_sees_it() -> None:
    seen = on_a_terminal(SHOWS.format(disable=None))
    assert "reading" in seen
    assert "3/3" in seen


@pytest.mark.parametrize("disable", [None, True])
def test_a_log_does_not(disable: bool | None) -> None:
    command = [sys.executable, "-c", SHOWS.format(disable=disable)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert (result.stdout, result.stderr) == ("done\n", "")


def test_what_is_switched_off_is_switched_off_on_a_terminal() -> None:
    assert on_a_terminal(SHOWS.format(disable=True)) == ""
