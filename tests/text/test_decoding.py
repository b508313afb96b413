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


@pytest.mark.parametrize(
    ("data", "encoding", "problem"),
    [
        ("text".encode("utf-16"), "utf-8", "is UTF-16 by its first bytes, not utf-8; give --text.encoding utf-16"),
        (b"\xfe\xff\0t\0e", "utf-8", "is UTF-16 by its first bytes, not utf-8; give --text.encoding utf-16"),
        (b"\xff\xfe\0\0t\0\0\0", "utf-8", "is UTF-32 by its first bytes, not utf-8; give --text.encoding utf-32"),
        (b"\0\0\xfe\xfft", "utf-8", "is UTF-32 by its first bytes, not utf-8; give --text.encoding utf-32"),
        (b"\xef\xbb\xbftext", "ascii", "is UTF-8 by its first bytes, not ascii; give --text.encoding utf-8-sig"),
        ("é, b c".encode("utf-16-le"), "utf-8", "it looks like UTF-16-LE: give --text.encoding utf-16-le"),
        ("Это был дуб. " * 9, "utf-16-be", ""),
        (b"\x1f\x8b\x08\0\0\0\xff", "utf-8", "is gzip-compressed by its first bytes; unpack it"),
        (b"BZh91AY&SY\xff", "utf-8", "is bzip2-compressed by its first bytes; unpack it"),
        (b"\xfd7zXZ\0", "utf-8", "is xz-compressed by its first bytes; unpack it"),
        (b"\x28\xb5\x2f\xfd", "utf-8", "is zstd-compressed by its first bytes; unpack it"),
        (
            b"PK\x03\x04\xff",
            "utf-8",
            "is a zip archive (as are docx, odt and epub) by its first bytes; unpack it and name",
        ),
        (b"%PDF-1.7\n%\xe2\xe3", "utf-8", "is a PDF by its first bytes, and no text; save its text as a text file"),
        (b"\x89PNG\r\n", "utf-8", "is a PNG image by its first bytes, and no text"),
    ],
)
def test_what_a_file_is_is_told_from_its_first_bytes(data: bytes | str, encoding: str, problem: str) -> None:
    if isinstance(data, str):  # without a mark, and without a NUL at its beginning
        data, encoding, problem = (
            data.encode(encoding),
            "utf-8",
            f"it looks like UTF-16-BE: give --text.encoding {encoding}",
        )
        data += b"\xff"
    for blocks in ([data], [b"", data, b"more" * 999]):
        with pytest.raises(CorpusError, match=rf"^novel\.txt: .*{re.escape(problem)}") as error:
            decode(*blocks, encoding=encoding)
        assert "--text.encoding-errors" not in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "UTF16", "utf-8", "utf_8_sig"])
def test_the_encoding_that_was_asked_for_is_no_hint(encoding: str) -> None:
    mark = b"\xff\xfe" if "16" in encoding else b"\xef\xbb\xbf"
    wrong = b"\0\xd8a\0" if "16" in encoding else b"\xff"
    with pytest.raises(
        CorpusError, match=rf"is not {encoding} \(.*\); name the right encoding with --text.encoding, or"
    ):
        decode(mark + wrong, encoding=encoding)


def test_the_caller_says_what_to_do() -> None:
    def remedy(encoding: str) -> str:
        return f"do something about {encoding or 'it'}"

    for data, end in [(b"\xff", "(invalid start byte); do something about it"), (b"\xff\xfe", "about utf-16")]:
        with pytest.raises(CorpusError, match=f"{re.escape(end)}$"):
            list(decode_blocks([data], name="novel.txt", remedy=remedy))


SURROGATES = [
    ("utf-7", b"ab+2AA-c", "U+D800"),
    ("raw_unicode_escape", rb"ab\udfffc", "U+DFFF"),
    ("unicode_escape", rb"ab\ud83d\ude00c", "U+D83D"),
]


@pytest.mark.parametrize(("encoding", "data", "named"), SURROGATES)
def test_a_lone_surrogate_is_an_error_that_names_file_and_position(encoding: str, data: bytes, named: str) -> None:
    for blocks in ([data], [b"12345", data]):
        position = len(b"".join(blocks[:-1])) + 2
        expected = (
            f"novel.txt: the character at position {position} is {named}, half of a surrogate pair, as {encoding}"
        )
        with pytest.raises(CorpusError, match=f"^{re.escape(expected)}"):
            decode(*blocks, encoding=encoding)


@pytest.mark.parametrize(("encoding", "data", "named"), SURROGATES)
def test_lone_surrogates_can_be_passed_over(encoding: str, data: bytes, named: str) -> None:
    assert decode(data, encoding=encoding, errors="ignore") == "abc"
    assert set(decode(data, encoding=encoding, errors="replace")) == set("ab\ufffdc")


@given(text=st.text(st.sampled_from("a+é𝄞\U0010ffff")), places=st.lists(st.integers(0, 99), max_size=5))
def test_pairs_that_are_cut_are_no_lone_surrogates(text: str, places: list[int]) -> None:
    for encoding in ("utf-7", "utf-16", "raw_unicode_escape"):
        data = text.encode(encoding)
        assert decode(*cut(data, places), encoding=encoding) == text
