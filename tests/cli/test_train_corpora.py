"""What charrnn-train makes of texts as people have them, told in its summary."""

import gzip
import os
from pathlib import Path

from tests.conftest import command_line, finish

SMALL = "--model.hidden-size 8 --batch.size 2 --batch.length 8 --threads 1 --log.wandb disabled --log.sample-length 0"


def test_a_directory_with_a_run_in_it_is_trained_on_and_resumed(tmp_path: Path) -> None:
    """Compressed files, rare characters, NULs, marks, and a name that is not UTF-8, in two commands."""
    (tmp_path / "novel.txt").write_text("\ufeffSome text.\n" * 900 + "\0" * 90, encoding="utf-8")
    (tmp_path / os.fsdecode(b"caf\xe9.gz")).write_bytes(gzip.compress("Más text.ß\n".encode() * 2, mtime=0))
    command = command_line("-m", "charrnn.cli.train", tmp_path, "--run-dir", tmp_path / "runs" / "a", *SMALL.split())
    command += ["--text.min-count", "3"]

    first = finish(tmp_path / "runs" / "a", [*command, "--max-steps", "3"])
    assert (first.returncode, first.stderr) == (0, "")
    lines = first.stdout.splitlines()
    assert lines[0].startswith(f"text      {tmp_path} (2 files): {900 * 12 + 90 + 22:,} characters, ")
    assert (
        lines[1] == "rare      8 characters of 4 kinds became U+FFFD (--text.min-count 3): 'M' 2, 's' 2, 'ß' 2, 'á' 2"
    )
    assert lines[3].startswith("note      the text has U+FEFF (byte order mark) 900 times: --text.encoding utf-8-sig")
    assert lines[2].startswith("note      the text has U+0000 (NUL) 90 times: ")

    second = finish(first.run, [*command, "--max-steps", "4"])
    assert (second.returncode, second.stderr) == (0, "")
    assert f"text      {tmp_path} (2 files, 1 run directory passed over): " in second.stdout
    assert "found prepared" in second.stdout
    assert "resumed at step 3; max_steps 3 -> 4" in second.stdout

    sample = finish(
        first.run,
        command_line("-m", "charrnn.cli.sample", first.run, "--prompt", "été", "--length", "1", "--seed", "1"),
    )
    assert (sample.returncode, sample.stdout[:3], sample.stderr) == (0, "\ufffdt\ufffd", "")
