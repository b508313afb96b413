import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import ConfigError, CorpusError
from charrnn.text.decoding import ErrorPolicy, decode_blocks

ENCODINGS = ["utf-8", "utf-16", "utf-16-le", "utf-32", "shift_jis", "gb18030", "utf-7"]


def decode(*blocks: bytes, encoding: str = "utf-8", errors: ErrorPolicy = "strict") -> str:
    return "".join(decode_blocks(blocks, name="novel.txt", encoding=encoding, errors=errors))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(ends)]


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(text=st.text(st.sampled_from("ab\r\n\té日本\ufeff")), places=st.lists(st.integers(0, 99), max_size=5))
def test_text_is_read_exactly(encoding: str, text: str, places: list[int]) -> None:
    if encoding == "shift_jis":
        text = text.replace("é", "e").replace("\ufeff", "")
    assert decode(*cut(text.encode(encoding), places), encoding=encoding) == text


def test_newlines_tabs_and_marks_stay() -> None:
    assert decode(b"\xef\xbb\xbfa\r", b"\nb\rc\td\x00\x0b\x0c\x1c") == "\ufeffa\r\nb\rc\td\x00\x0b\x0c\x1c"


def test_only_utf_8_sig_strips_the_mark() -> None:
    assert decode(b"\xef", b"\xbb\xbfa\xef\xbb\xbf", encoding="utf-8-sig") == "a\ufeff"


@given(
    before=st.text(st.sampled_from("aé日𝄞"), max_size=9),
    wrong=st.sampled_from([b"\xff", b"\xe9 ", b"\xf0\x9d\x84 ", b"\xc0\x80", b"\xed\xa0\x80"]),
    places=st.lists(st.integers(0, 99), max_size=5),
)
def test_an_error_names_file_offset_byte_and_remedy(before: str, wrong: bytes, places: list[int]) -> None:
    offset = len(before.encode())
    expected = f"novel.txt: byte 0x{wrong[0]:02X} at offset {offset} is not utf-8 ("
    with pytest.raises(CorpusError, match=re.escape(expected)) as error:
        decode(*cut(before.encode() + wrong + b"after", places))
    assert "--text.encoding," in str(error.value)
    assert "--text.encoding-errors" in str(error.value)


@pytest.mark.parametrize(
    ("encoding", "data", "offset"),
    [
        ("utf-8", "aé𝄞".encode()[:-1], 3),
        ("utf-8-sig", b"\xef\xbb\xbfab\xe9", 5),
        ("utf-16-le", b"a\0b\0c", 4),
        ("utf-16", b"\xff\xfea\0b", 4),
        ("shift_jis", b"ab\x93\xfa\x93", 4),
        ("ascii", b"abc\xe9", 3),
    ],
)
def test_a_truncated_last_character_is_found(encoding: str, data: bytes, offset: int) -> None:
    for size in range(1, len(data) + 1):
        blocks = [data[start : start + size] for start in range(0, len(data), size)]
        with pytest.raises(CorpusError, match=f"byte 0x{data[offset]:02X} at offset {offset} is not {encoding}"):
            decode(*blocks, encoding=encoding)


def test_utf_16_without_a_mark_is_an_error_of_the_corpus() -> None:
    with pytest.raises(CorpusError, match=r"novel\.txt: not utf-16 within the first 4 bytes"):
        decode(b"a\0b\0", encoding="utf-16")


def test_errors_can_be_passed_over() -> None:
    assert decode(b"a\xffb\xe9", errors="replace") == "a\ufffdb\ufffd"
    assert decode(b"a\xffb\xe9", errors="ignore") == "ab"


@pytest.mark.parametrize("encoding", ["utf-9", "zlib", "rot13", "a\0b", ""])
def test_unknown_encodings_are_refused(encoding: str) -> None:
    with pytest.raises(ConfigError, match="is no text encoding that Python knows; try utf-8"):
        decode(b"a", encoding=encoding)
