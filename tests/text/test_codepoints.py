import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from charrnn.text.codepoints import NUM_CODE_POINTS, code_points, text_of


@given(st.text(st.characters(codec=None)))
def test_text_and_code_points_are_the_same(text: str) -> None:
    codes = code_points(text)
    assert codes.dtype == np.uint32
    assert codes.tolist() == [ord(character) for character in text]
    assert text_of(codes) == text
    assert text_of(codes.astype(np.int64)) == text


def test_the_number_of_code_points() -> None:
    assert code_points(chr(sys.maxunicode)).max() == NUM_CODE_POINTS - 1
