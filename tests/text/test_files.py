import io
from contextlib import ExitStack
from pathlib import Path

import pytest

from charrnn.errors import CorpusError
from charrnn.text.files import file_part, files_below, looks_binary, read_blocks, spooled_part

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
    found = [path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path)]
    assert found == ["B", "a.txt", "a/b/c.txt", "a/z.txt", "b.txt", "link.txt"]
    assert [path.name for path in files_below(tmp_path, without={"a"})] == ["B", "a.txt", "b.txt", "link.txt"]


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
