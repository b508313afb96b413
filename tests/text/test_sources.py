import gzip
import io
import json
import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from charrnn.errors import CorpusError
from charrnn.text.sources import (
    file_part,
    files_below,
    is_run_directory,
    looks_binary,
    printable,
    read_blocks,
    spooled_part,
)

LONG = bytes(range(256)) * 1000  # several blocks


def test_a_file_is_read_exactly_and_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(LONG)
    part = file_part(tmp_path / "a")
    assert b"".join(part.blocks()) == b"".join(part.blocks()) == LONG
    assert len(list(part.blocks())) > 1
    assert (part.name, part.size_bytes, part.encoding) == (str(tmp_path / "a"), len(LONG), None)


def test_a_file_that_vanishes_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    part = file_part(tmp_path / "a", name="novel")
    (tmp_path / "a").unlink()
    with pytest.raises(CorpusError, match=r"^novel: cannot be read: No such file or directory$"):
        list(part.blocks())
    with pytest.raises(CorpusError, match=r"^novel: cannot be read: No such file or directory$"):
        file_part(tmp_path / "a", name="novel")
    with pytest.raises(CorpusError, match=r"/a: cannot be read: No such file or directory$"):
        looks_binary(tmp_path / "a")


def test_what_cannot_be_read_is_an_error() -> None:
    with open("/proc/self/mem", "rb") as file, pytest.raises(CorpusError, match=r"^mem: cannot be read: "):  # noqa: PTH123
        list(read_blocks(file, "mem"))


def test_a_spool_can_be_read_again_and_leaves_nothing(tmp_path: Path) -> None:
    for _ in range(2):  # the directory is there the second time
        with ExitStack() as until:
            part = spooled_part(io.BytesIO(LONG), name="standard input", directory=tmp_path / "new", until=until)
            assert b"".join(part.blocks()) == b"".join(part.blocks()) == LONG
            assert part.size_bytes == len(LONG)
        assert list((tmp_path / "new").iterdir()) == []


def test_files_come_sorted_by_relative_path(tmp_path: Path) -> None:
    for name in ["b.txt", "a/z.txt", "a/b/c.txt", "a.txt", ".hidden", ".git/config", "a/__pycache__/x.pyc", "B"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link.txt").symlink_to("B")
    (tmp_path / "dead.txt").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to(".")
    found = [path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path)[0]]
    assert found == ["B", "a.txt", "a/b/c.txt", "a/z.txt", "b.txt", "link.txt"]
    assert [path.name for path in files_below(tmp_path, without={"a"})[0]] == ["B", "a.txt", "b.txt", "link.txt"]


def test_a_directory_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="nowhere: cannot be read: No such file or directory"):
        files_below(tmp_path / "nowhere")


@pytest.mark.parametrize(("content", "binary"), [(b"", False), (b"a\xff", False), (b"a\0", True)])
def test_a_nul_byte_early_on_means_binary(tmp_path: Path, content: bytes, binary: bool) -> None:
    (tmp_path / "a").write_bytes(content)
    assert looks_binary(tmp_path / "a") == binary
    (tmp_path / "a").write_bytes(b"x" * (8192 - len(content)) + content)
    assert looks_binary(tmp_path / "a") == binary
    (tmp_path / "a").write_bytes(b"x" * 8192 + content)
    assert not looks_binary(tmp_path / "a")


def test_what_is_binary_is_seen_through_compression(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(gzip.compress(b"text " * 99_999, mtime=0))
    (tmp_path / "tar").write_bytes(gzip.compress(b"name" + bytes(500) + b"text"))
    assert b"\0" in (tmp_path / "text").read_bytes()[:8192]
    assert not looks_binary(tmp_path / "text")
    assert looks_binary(tmp_path / "tar")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf_32_be", "U32"])
def test_a_wide_encoding_is_not_binary_for_its_nul_bytes(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "text").write_text("wide text", encoding=encoding)
    (tmp_path / "image").write_bytes(b"\x89PNG" + bytes(60))
    assert looks_binary(tmp_path / "text")
    assert not looks_binary(tmp_path / "text", encoding)
    assert looks_binary(tmp_path / "image", encoding)


@pytest.mark.parametrize(
    ("content", "run"),
    [
        (json.dumps({"charrnn": "0.1.0", "id": "a"}, indent=1), True),
        ('{"charrnn":"9","config":{"trunca', True),
        (json.dumps({"model_type": "gpt2", "about": '{"charrnn": 1}'}), False),
        ("[]", False),
        ("", False),
    ],
)
def test_a_run_directory_has_our_config(tmp_path: Path, content: str, run: bool) -> None:
    assert not is_run_directory(tmp_path)
    (tmp_path / "config.json").write_text(content)
    assert is_run_directory(tmp_path) == run


def test_where_wandb_keeps_its_runs_is_a_run_directory(tmp_path: Path) -> None:
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "run-of-the-mill.txt").touch()
    assert not is_run_directory(tmp_path / "wandb")
    (tmp_path / "wandb" / "offline-run-20250130_235959-abc").mkdir()
    assert is_run_directory(tmp_path / "wandb")
    assert not is_run_directory(tmp_path)


def test_run_directories_are_passed_over_with_all_that_is_in_them(tmp_path: Path) -> None:
    for name in ["runs/a/config.json", "runs/a/deep/samples.txt", "a/config.json", "b/config.json", "runs/notes.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"charrnn": "0.1.0"}' if "a/" in name else "{}")
    files, runs = files_below(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in files] == ["b/config.json", "runs/notes.txt"]
    assert sorted(runs) == [tmp_path / "a", tmp_path / "runs/a"]
    assert files_below(tmp_path / "runs/a") == ([], [tmp_path / "runs/a"])


def test_a_name_that_is_not_utf_8_can_be_printed(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \xc3\xa9")
    (tmp_path / name).write_bytes(b"text")
    part = file_part(tmp_path / name)
    assert part.name == f"{tmp_path}/caf\\xe9 é"
    assert b"".join(part.blocks()) == b"text"
    assert printable("\ud800") == "\\ud800"
    assert printable("é\n") == "é\n"
