"""What is told reaches whom it can, and fails nobody: real full disks, broken pipes, terminals."""

import os
import pty
import sys
from pathlib import Path

import pytest

from charrnn.console import tell, visible

HOSTILE = "a\x1b[31mred\x07 caf\udce9 戦争\u202e\n"


def test_a_terminal_gets_no_control_characters_and_a_file_the_text(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    with open(slave, "w", encoding="utf-8") as terminal, (tmp_path / "file").open("w", encoding="utf-8") as file:  # noqa: PTH123
        assert terminal.isatty()
        tell(HOSTILE, terminal, end="")
        tell(HOSTILE.replace("\udce9", "é"), file, end="")
    shown = os.read(master, 4096).decode().replace("\r\n", "\n")
    os.close(master)
    assert shown == visible(HOSTILE) == "a␛[31mred␇ caf\ufffd 戦争\ufffd\n"
    assert (tmp_path / "file").read_text(encoding="utf-8") == HOSTILE.replace("\udce9", "é")


@pytest.mark.parametrize(
    ("encoding", "told"),
    [
        ("ascii", "caf\\udce9 \\u6226\\u4e89 \\xe9"),
        ("latin-1", "caf\\udce9 \\u6226\\u4e89 é"),
        ("utf-8", "caf\\udce9 戦争 é"),
    ],
)
def test_what_an_encoding_lacks_is_escaped(tmp_path: Path, encoding: str, told: str) -> None:
    with (tmp_path / "file").open("w", encoding=encoding) as file:
        tell("caf\udce9 戦争 é", file)
    assert (tmp_path / "file").read_text(encoding=encoding) == f"{told}\n"


def test_a_name_that_is_not_utf8_is_itself_where_python_lets_bytes_through(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w", encoding="utf-8", errors="surrogateescape") as file:
        tell("caf\udce9", file)
    assert (tmp_path / "file").read_bytes() == b"caf\xe9\n"


def test_a_full_disk_is_told_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", full)
        for _ in range(3):
            tell("anything", sys.stdout)
        full.write("and what others print")
    message = "standard output cannot be written (No space left on device): the work goes on without it\n"
    assert capsys.readouterr().err == message


def test_whoever_has_gone_is_told_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as pipe:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", pipe)
        tell("anything", sys.stdout)
        tell("more", sys.stdout)
    tell("closed by now", sys.stdout)
    tell("never was open", None)
    assert capsys.readouterr() == ("", "")
