import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import VocabularyError
from charrnn.text.vocabulary import Vocabulary

GOLDEN = Path(__file__).parent.parent / "golden" / "vocabulary.json"
TEXT = 'a\n\t"\\é\u2028日𝄞z '


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_text_survives_encoding(text: str) -> None:
    vocabulary = Vocabulary.of(text)
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text
    assert [vocabulary.characters[id] for id in ids] == list(text)
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary


@pytest.mark.parametrize(
    ("size", "dtype"), [(1, np.uint8), (256, np.uint8), (257, np.uint16), (65536, np.uint16), (65537, np.uint32)]
)
def test_ids_have_the_narrowest_type(size: int, dtype: type) -> None:
    characters = "".join(map(chr, range(0x10000, 0x10000 + size)))
    vocabulary = Vocabulary(characters)
    assert vocabulary.dtype == dtype
    ids = vocabulary.encode(characters)
    assert ids.dtype == dtype
    assert ids.tolist() == list(range(size))


def test_vocabularies_are_values() -> None:
    assert Vocabulary.of("cab") == Vocabulary("abc")
    assert hash(Vocabulary.of("cab")) == hash(Vocabulary("abc"))
    assert Vocabulary("abc") != Vocabulary("abd")
    with pytest.raises(AttributeError):
        Vocabulary("abc").characters = "x"  # type: ignore[misc]


def test_unknown_characters_are_named_once_with_the_first_position() -> None:
    expected = (
        "the vocabulary lacks 'é' (U+00E9), '\\n' (U+000A), '😀' (U+1F600), first at position 2: "
        "remove or normalise such characters, or choose to skip unknown ones"
    )
    with pytest.raises(VocabularyError, match=f"^{re.escape(expected)}$"):
        Vocabulary("abc").encode("abé\na😀é")


def test_many_unknown_characters_stay_one_line() -> None:
    with pytest.raises(VocabularyError, match=r"'\\x13' \(U\+0013\), and 30 more, first at position 107:") as error:
        Vocabulary("a").encode("aaaaaaa" + "".join(map(chr, range(50))), position=100)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("unknown", ["0", "b", "z", "\U0010ffff", "\ud800"])
def test_unknown_characters_can_be_skipped(unknown: str) -> None:
    vocabulary = Vocabulary("acy")
    assert vocabulary.decode(vocabulary.encode(f"a{unknown}yc{unknown}", skip_unknown=True)) == "ayc"
    with pytest.raises(VocabularyError, match=re.escape(f"U+{ord(unknown):04X}")):
        vocabulary.encode(unknown)


@pytest.mark.parametrize("ids", [[0, 3], [-1], np.array([255], dtype=np.uint8), 3])
def test_ids_out_of_range_are_refused(ids: object) -> None:
    with pytest.raises(VocabularyError, match="is no character of a vocabulary of 3"):
        Vocabulary("abc").decode(ids)  # type: ignore[arg-type]


def test_nothing_is_encoded_and_decoded() -> None:
    assert Vocabulary("abc").encode("").tolist() == []
    assert Vocabulary("abc").decode([]) == ""


@pytest.mark.parametrize(
    ("characters", "message"),
    [
        ("", "at least one character"),
        ("ba", "sorted"),
        ("aab", "distinct"),
        ("a\ud800", "lone surrogate"),
    ],
)
def test_what_is_no_vocabulary_is_refused(characters: str, message: str) -> None:
    with pytest.raises(VocabularyError, match=message):
        Vocabulary(characters)
    data = {"format": "charrnn.vocabulary", "version": 1, "characters": characters}
    with pytest.raises(VocabularyError, match=message):
        Vocabulary.from_json(json.dumps(data))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("null", 'lacks "format"'),
        ('["a"]', 'lacks "format"'),
        ('{"a": 0, "b": 1}', 'lacks "format"'),
        ('{"format": "charrnn.checkpoint", "version": 1, "characters": "ab"}', 'lacks "format"'),
        ('{"format": "charrnn.vocabulary", "characters": "ab"}', "version must be"),
        ('{"format": "charrnn.vocabulary", "version": true, "characters": "ab"}', "version must be"),
        ('{"format": "charrnn.vocabulary", "version": 2, "characters": "ab"}', "has version 2 .* update charrnn"),
        ('{"format": "charrnn.vocabulary", "version": 1}', "must be a string, not NoneType"),
        ('{"format": "charrnn.vocabulary", "version": 1, "characters": ["a"]}', "must be a string, not list"),
    ],
)
def test_foreign_files_are_refused(text: str, message: str) -> None:
    with pytest.raises(VocabularyError, match=message):
        Vocabulary.from_json(text)


def test_the_file_is_the_same_for_ever() -> None:
    assert Vocabulary.of(TEXT).to_json().encode() == GOLDEN.read_bytes()
    assert Vocabulary.from_json(GOLDEN.read_text()) == Vocabulary.of(TEXT)
