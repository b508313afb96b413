"""Each property of a text, on texts that can be read: under each character stands its value."""

import numpy as np
import pytest

from charrnn.units.properties import PROPERTIES, values_of

# A bar stands for the end of a line, a tilde for a carriage return.
SMALL = [
    ("in double quotes", 'a "bc" d "e', "00111000011"),
    ("in double quotes", "“a” «b» c", "110011000"),
    ("in double quotes", '"a|b" c', "1111000"),
    ("in double quotes", '"a||b "c"', "110000110"),
    ("in double quotes", '"a~|~|b', "1110000"),
    ("in single quotes", "a 'b c' d", "001111000"),
    ("in single quotes", "don't 'can't' its' x", "00000011111100000000"),
    ("in single quotes", "‘a’ 'b|c' ' d", "1100111100111"),
    ("in single quotes", "f('a', '')", "0011000100"),
    ("in single quotes", "'a||b 'c'", "110000110"),
    ("in triple quotes", 'a """b "c" ||d""" e', "0011111111111100000"),
    ("in triple quotes", "'''a''' b '''c", "11110000001111"),
    ("in a comment (#)", "a # b|c #|#", "00111000101"),
    ("position in the line", "ab|c||", "120100"),
    ("indentation of the line", "  a|b|    c|", "222200444444"),
    ("indentation of the line", "\ta|  \tb", "4444444"),
    ("depth of brackets", "a(b[c]{d})e", "01122122100"),
    ("depth of brackets", ")(|(||a(b|", "0112220111"),
    ("depth of brackets", "((~|~|a)(b", "1222220011"),
    ("position in the word", "ab c_1-d", "12012301"),
    ("in a word of capitals", "AB Cd EFG_2 H É ÉA", "110000111110000011"),
    ("in a number", "a1.25,3. 4x", "01111110010"),
    ("white space", "a  b|\tc", "0110110"),
    ("after a sentence", "a. B? ”C e.g f.” |G…", "00100100000000001100"),
]


@pytest.mark.parametrize(("name", "text", "expected"), SMALL)
def test_values(name: str, text: str, expected: str) -> None:
    values = PROPERTIES[name](text.replace("|", "\n").replace("~", "\r"))
    assert values.dtype == np.float32
    assert "".join(str(int(value)) for value in values) == expected


def test_every_property_is_tried() -> None:
    assert {name for name, _, _ in SMALL} == PROPERTIES.keys()


def test_what_is_the_same_all_along_is_left_out() -> None:
    assert values_of("ab ab").keys() == {"position in the line", "position in the word", "white space"}
    assert values_of("aaa").keys() == {"position in the line", "position in the word"}
    assert values_of("") == values_of("\n") == {}


@pytest.mark.parametrize(
    "piece", ['"', "'", "a'", '"""', "'''", "((", "\n", " ", "\t\n", "#", "1.", ".”", "\r\n", "\x00\ud800"]
)
def test_any_text_has_a_value_for_each_character_in_little_time(piece: str) -> None:
    """What is opened 200,000 times and never closed, too: a pattern that looked ahead each time would take hours."""
    text = piece * 200_000
    assert all(len(values) == len(text) for values in values_of(text).values())
    assert all(of(text).shape == (len(text),) for of in PROPERTIES.values())
