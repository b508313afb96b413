"""What every command does at its ends: its own status, and one line for what the user can mend."""

import subprocess
import sys

import numpy as np
import pytest

from charrnn.cli import common
from charrnn.cli.common import EXIT_USER_ERROR, exit_status
from charrnn.errors import ConfigError
from tests.test_hub_round_trip import installed_by
from tests.test_imports import ONLY


@pytest.mark.parametrize("redirections", [">/dev/full", ">&-", ">&- 2>&-", "<&- >/dev/full 2>/dev/full"])
def test_a_command_ends_with_its_own_status(redirections: str) -> None:
    """And what it opens never gets the number of a standard stream: a library would print into it."""
    body = """
import os, sys
from charrnn.cli.common import exit_status
from charrnn.console import tell
def body():
    tell('out', sys.stdout)
    tell('err', sys.stderr)
    sys.stderr.write('as tqdm does')
    return 7 if os.open('.', os.O_RDONLY) > 2 else 1
sys.exit(exit_status('x', body))
"""
    command = ["sh", "-c", f'"$@" {redirections}', "sh", sys.executable, "-c", body]
    assert subprocess.run(command, timeout=60, check=False, stderr=subprocess.DEVNULL).returncode == 7


def test_what_the_system_says_of_a_file_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def body() -> int:
        return len(open("gone\nfor ever").read())  # noqa: PTH123

    assert exit_status("charrnn", body) == 2
    assert capsys.readouterr().err == "charrnn: error: gone for ever: No such file or directory\n"


def test_memory_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status("charrnn", lambda: len(np.zeros(2**58))) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("charrnn: error: out of memory (Unable to allocate 2.00 EiB ")
    assert line.endswith("): free some, or ask for less")


def test_an_error_that_names_no_file_is_ours() -> None:
    def body() -> int:
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        exit_status("charrnn", body)


SAYS = "import charrnn\nfrom charrnn.cli.common import exit_status\nsys.exit(exit_status('x', lambda: {}))"


@pytest.mark.parametrize(
    ("code", "missing"),
    [
        ("from charrnn.cli.train import main\nsys.argv[1:] = ['alphabet']\nmain()", "tyro"),
        ("from charrnn.cli.export import main\nsys.argv[1:] = ['runs/novel']\nmain()", "tyro"),
        (SAYS.format("charrnn.train('alphabet')"), "tqdm"),
        (SAYS.format("charrnn.CharRNN"), "safetensors"),
    ],
)
def test_without_the_training_side_one_line_says_what_to_install(code: str, missing: str) -> None:
    command = [sys.executable, "-c", ONLY.format(allowed={"charrnn", *installed_by("numpy", "onnxruntime")}) + code]
    result = subprocess.run(command, timeout=60, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    message = f": error: {missing} is not installed here, and this needs it: pip install 'charrnn[train]'\n"
    assert result.stderr.endswith(message)


@pytest.mark.parametrize(("rank", "waits"), [("", 0), ("0", 0), ("1", 1), ("12", 1)])
def test_of_several_processes_the_first_says_what_all_have_met(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rank: str, waits: int
) -> None:
    """The others give it the time to, until the launcher ends them; what nobody else met, they say themselves."""
    slept: list[float] = []
    monkeypatch.setattr(common.time, "sleep", slept.append)
    if rank:
        monkeypatch.setenv("RANK", rank)

    def fail() -> None:
        raise ConfigError("what is wrong: mend it")

    assert exit_status("charrnn-train", fail) == EXIT_USER_ERROR
    assert slept == [common.FIRST_SPEAKS_SECONDS] * waits
    assert capsys.readouterr().err == "charrnn-train: error: what is wrong: mend it\n"
