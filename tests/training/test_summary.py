"""The lines that a user wants to paste: whatever the paths and the prompt are, a shell reads them as they are."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from charrnn.runs.directory import RunDirectory
from charrnn.training.summary import closing


def pasted(line: str) -> list[str]:
    """The words that bash gives charrnn-sample."""
    assert line.isprintable(), "nothing that a terminal would obey"
    script = f'charrnn-sample() {{ printf "%s\\0" "$@"; }}\n{line}'
    output = subprocess.run(["bash", "-c", os.fsencode(script)], capture_output=True, timeout=60, check=True).stdout
    return os.fsdecode(output).split("\0")[:-1]


@pytest.mark.parametrize(
    "name",
    ["run", "two words", "it's", "$(reboot)", "caf\udce9", "\x1b[31m'\\red", "two\nlines", "größe", "戦争", "-x"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_next_lines_can_be_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, encoding: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    Path(name).mkdir()
    (Path(name) / "model.onnx").touch()
    text = closing(RunDirectory(Path(name)), 1, None, f"{name}\t!")
    first, second = text.splitlines()[-2:]
    first.encode(encoding)
    path, *rest = pasted(first)
    assert (Path(path), rest) == (Path(name), ["--length", "500"])
    assert not path.startswith("-")
    path, *rest = pasted(second)
    option = ["--prompt=-x\t!"] if name == "-x" else ["--prompt", f"{name}\t!"]
    assert (Path(path), rest) == (Path(name), [*option, "--temperature", "0.5"])


def test_a_prompt_ends_where_a_shell_would_end_it(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    assert pasted(closing(RunDirectory(tmp_path), 1, None, "ab\0cd").splitlines()[-1])[1:3] == ["--prompt", "ab"]
    assert "samples" not in closing(RunDirectory(tmp_path), 1, None, ""), "there are none"
