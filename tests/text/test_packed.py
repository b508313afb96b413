import bz2
import gzip
import lzma
import random
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from charrnn.errors import CorpusError
from charrnn.text.packed import is_packed, unpacked

NOISE = random.Random(0).randbytes(100_000)
TEXT = b"Some text.\r\n\xef\xbb\xbf\tAnd more.\n" * 2000 + NOISE  # several blocks, packed too


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(data)
    return sink.getvalue().to_pybytes()


Pack = Callable[[bytes], bytes]
FORMATS: list[Pack] = [gzip.compress, bz2.compress, lzma.compress, zstd]
EVERY_FORMAT = pytest.mark.parametrize("pack", FORMATS, ids=["gz", "bz2", "xz", "zst"])


def blocks(data: bytes, size: int = 65_536) -> Iterator[bytes]:
    return iter([data[start : start + size] for start in range(0, len(data), size)])


def unpack(data: bytes, size: int = 65_536) -> bytes:
    return b"".join(unpacked(blocks(data, size), "novel.txt"))


@EVERY_FORMAT
def test_what_was_packed_comes_out(pack: Pack) -> None:
    assert is_packed(blocks(pack(TEXT)))
    assert unpack(pack(TEXT)) == unpack(pack(TEXT), 37) == TEXT
    assert unpack(pack(b"")) == b""


@EVERY_FORMAT
def test_several_members_are_one_text(pack: Pack) -> None:
    """As `cat a.gz b.gz` and parallel packers make them."""
    assert unpack(pack(TEXT) + pack(b"") + pack(b"end")) == TEXT + b"end"


@EVERY_FORMAT
@pytest.mark.parametrize("left", [12, 0.5, -1])
def test_what_is_cut_short_is_one_line(pack: Pack, left: float) -> None:
    data = pack(TEXT)
    data = data[: int(len(data) * left) if left == 0.5 else int(left)]
    with pytest.raises(
        CorpusError, match=r"^novel\.txt: cannot be unpacked \(.+\): it is cut short or damaged, get it"
    ):
        unpack(data)
    with pytest.raises(CorpusError, match=r"^novel\.txt: cannot be unpacked"):
        unpack(pack(TEXT) + data)  # the members before it are no reason to be silent


@EVERY_FORMAT
def test_what_is_damaged_is_one_line(pack: Pack) -> None:
    data = bytearray(pack(TEXT))
    start = 6 if pack is zstd else 20  # a zstd file need not have a checksum: where it is damaged matters
    data[start : start + 20] = bytes(byte ^ 0xFF for byte in data[start : start + 20])
    with pytest.raises(CorpusError, match=r"^novel\.txt: cannot be unpacked"):
        unpack(bytes(data))
    with pytest.raises(CorpusError, match=r"^novel\.txt: cannot be unpacked"):
        unpack(pack(TEXT) + b"something else")


@pytest.mark.parametrize("pack", FORMATS[:3], ids=["gz", "bz2", "xz"])
def test_padding_is_no_damage(pack: Pack) -> None:
    """As tapes and `xz` itself add it."""
    assert unpack(pack(TEXT) + bytes(512)) == TEXT
    assert unpack(pack(TEXT) + bytes(200_000) + pack(b"end")) == TEXT + b"end"


@pytest.mark.parametrize("data", [b"", b"\x1f", b"\x1f\x8b", b"BZh", b"BZhang San said", b"text", TEXT])
def test_everything_else_stays_as_it_is(data: bytes) -> None:
    assert not is_packed(blocks(data))
    assert unpack(data) == data


def test_an_error_of_the_source_stays_what_it_is() -> None:
    def broken(data: bytes) -> Iterator[bytes]:
        yield data[:1000]
        raise CorpusError("novel.txt: cannot be read: Input/output error")

    for pack in FORMATS:
        with pytest.raises(CorpusError, match=r"^novel\.txt: cannot be read: Input/output error$"):
            list(unpacked(broken(pack(TEXT)), "novel.txt"))


def test_a_small_file_that_unpacks_to_much_takes_no_memory(tmp_path: Path) -> None:
    """40 MB of zeros are at most 42 KB packed."""
    for number, pack in enumerate(FORMATS):
        (tmp_path / str(number)).write_bytes(pack(bytes(10_000_000)) * 4)
        assert (tmp_path / str(number)).stat().st_size < 42_000
    code = (
        "import pathlib, re, sys, pyarrow, bz2, lzma\n"
        "from charrnn.text.packed import unpacked\n"
        "def peak():\n"
        "    return int(re.findall(r'VmHWM:\\s*(\\d+) kB', pathlib.Path('/proc/self/status').read_text())[0])\n"
        "for path in sys.argv[1:]:\n"
        "    data = pathlib.Path(path).read_bytes()\n"
        "    before = peak()\n"
        "    blocks = iter([data[at : at + 65536] for at in range(0, len(data), 65536)])\n"
        "    size = sum(map(len, unpacked(blocks, path)))\n"
        "    print(size, peak() - before)\n"
    )
    paths = [str(tmp_path / str(number)) for number in range(len(FORMATS))]
    output = subprocess.run([sys.executable, "-W", "error", "-c", code, *paths], capture_output=True, check=True).stdout
    found = [list(map(int, line.split())) for line in output.splitlines()]
    assert [size for size, _ in found] == [40_000_000] * 4
    assert max(growth for _, growth in found) < 20_000


def test_an_xz_file_cannot_ask_for_all_memory() -> None:
    """Its header names how much its unpacker has to hold: here 3 GB, for four letters."""
    data = bytearray(lzma.compress(b"text"))
    assert data[12:17] == b"\x02\x00\x21\x01\x16"  # the block's header: its size, flags, LZMA2 with 8 MiB
    data[16] = 39
    data[20:24] = zlib.crc32(data[12:20]).to_bytes(4, "little")
    assert lzma.decompress(data) == b"text"
    with pytest.raises(CorpusError, match=r"^novel\.txt: cannot be unpacked \(Memory usage limit exceeded\)"):
        unpack(bytes(data))
