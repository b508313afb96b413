"""What charrnn-train makes of texts as people have them, told in its summary."""

import gzip
import os
from pathlib import Path

from tests.cli.test_train import Command, command
from tests.conftest import command_line, finish

__all__ = ["command"]  # a fixture

SMALL = "--model.hidden-size 8 --batch.size 2 --batch.length 8 --threads 1 --log.wandb disabled --log.sample-length 0"


def test_a_directory_with_a_run_in_it_is_trained_on_and_resumed(command: Command, tmp_path: Path) -> None:
    """Compressed files, rare characters, NULs, marks, and a name that is not UTF-8, in two commands."""
    (tmp_path / "novel.txt").write_text("\ufeffSome text.\n" * 900 + "\0" * 90, encoding="utf-8")
    (tmp_path / os.fsdecode(b"caf\xe9.gz")).write_bytes(gzip.compress("Más text.ß\n".encode() * 2, mtime=0))
    run = tmp_path / "runs" / "a"
    words = [tmp_path, "--run-dir", run, *SMALL.split(), "--text.min-count", 3]

    status, stdout, stderr = command(*words, "--max-steps", 3)
    assert (status, stderr) == (0, "")
    lines = stdout.splitlines()
    assert lines[0].startswith(f"text      {tmp_path} (2 files): {900 * 12 + 90 + 22:,} characters, ")
    assert (
        lines[1] == "rare      8 characters of 4 kinds became U+FFFD (--text.min-count 3): 'M' 2, 's' 2, 'ß' 2, 'á' 2"
    )
    assert lines[3].startswith("note      the text has U+FEFF (byte order mark) 900 times: --text.encoding utf-8-sig")
    assert lines[2].startswith("note      the text has U+0000 (NUL) 90 times: ")

    status, stdout, stderr = command(*words, "--max-steps", 4)
    assert (status, stderr) == (0, "")
    assert f"text      {tmp_path} (2 files, 1 run directory passed over): " in stdout
    assert "found prepared" in stdout
    assert "resumed at step 3; max_steps 3 -> 4" in stdout

    sample = finish(
        run,
        command_line("-m", "charrnn.cli.sample", run, "--prompt", "été", "--length", "1", "--seed", "1"),
    )
    assert (sample.returncode, sample.stdout[:3], sample.stderr) == (0, "\ufffdt\ufffd", "")
