"""Text on a terminal: nothing is lost, no line is too long, nothing moves the cursor."""

import unicodedata

import pytest
import wcwidth
from hypothesis import given
from hypothesis import strategies as st

from charrnn.writing.screen_text import cells, side_by_side, visible, wrap

TEXTS = st.text() | st.text(st.sampled_from("ab \n漢é\u0301\t\x1b"), max_size=60)


@given(TEXTS, st.integers(2, 30))
def test_wrapping_loses_nothing_and_fits(text: str, width: int) -> None:
    shown = visible(text)
    lines = wrap(shown, width)
    assert "".join(lines) == shown.replace("\n", "")
    assert all(cells(line) <= width for line in lines)


@given(TEXTS)
def test_visible_text_has_nothing_that_a_terminal_obeys(text: str) -> None:
    shown = visible(text)
    assert not {unicodedata.category(c) for c in set(shown) - set("\n\u200c\u200d")} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert shown.count("\n") == text.count("\n")


def test_what_stands_for_control_characters() -> None:
    assert visible("a\x1b[2J\x00\r\x7f\x9b\u202e\tb\n") == "a␛[2J␀␍␡\ufffd\ufffd    b\n"
    assert visible("نمی\u200cشود क्\u200dष 👩\u200d💻") == "نمی\u200cشود क्\u200dष 👩\u200d💻", "joiners shape letters"


def test_lines_are_broken_after_spaces_where_that_is_possible() -> None:
    assert wrap("the countess and\n\nprincesses 漢漢", 8) == ["the ", "countess", " and", "", "princess", "es 漢漢"]
    assert wrap("", 5) == [""]


def test_side_by_side() -> None:
    assert side_by_side(["left", "right"], ["ab 漢\n\nc", "longer than\tthat"], 15) == (
        "left   │ right\n────── │ ──────\nab 漢  │ longer\n       │  than\nc      │\n       │ that\n"
    )


# Widths, against the library that terminals are tested with


# Wide, or a mark, since Unicode 16, of 2024; a Python's tables, and a terminal's, may be older.
CHANGED = {*range(0x2630, 0x2638), *range(0x268A, 0x2690), *range(0x4DC0, 0x4E00)}
CHANGED |= {*range(0x1D300, 0x1D357), *range(0x1D360, 0x1D377), 0x1171E}
CHARACTERS = [
    character
    for character in map(chr, sorted(set(range(0x110000)) - CHANGED))
    if visible(character) == character != "\n"
]


def test_every_character_is_as_wide_as_terminals_have_it() -> None:
    assert len(CHARACTERS) > 140_000
    assert [c for c in CHARACTERS if cells(c) != wcwidth.wcswidth(c)] == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "\ufe0f"),
        ("a", "b"),
        ("क", "ष"),
        ("👩", ""),
        ("👩\u200d", "👩"),
        ("1", "\u20e3"),
        ("ท", "\u0e35"),
        ("🇩", "🇪"),
    ],
)
def test_every_character_among_others(before: str, after: str) -> None:
    """Emoji selected, letters beside, a conjunct, a modifier, a joined emoji, a keycap, Thai, a flag."""
    texts = [before + c + after for c in CHARACTERS]
    assert [text for text in texts if cells(text) != wcwidth.wcswidth(text)] == []


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("ที่นี่ กำ", 5),
        ("क्षत्रिय हिन्दी", 10),
        ("க்ஷௌ", 2),
        ("ශ්\u200dරී", 2),
        ("한글", 4),
        ("\u1112\u1161\u11ab\u1100\u1173\u11af", 4),  # the same in parts
        ("❤\ufe0f☺☺\ufe0f", 5),
        ("1\ufe0f\u20e3", 2),
        ("👨\u200d👩\u200d👧\u200d👦", 2),
        ("🏴\u200d☠\ufe0f", 2),
        ("👍🏽☝\ufe0f🏽", 4),
        ("🇩🇪🇫🇷🇬", 6),
        ("é\u0301漢", 3),
        ("بی\u200cشمار", 6),
    ],
)
def test_texts_of_the_world(text: str, width: int) -> None:
    assert cells(text) == wcwidth.wcswidth(text) == width


@given(
    st.text(st.sampled_from("ab 1क\u094d\u0937ि\u200d\u200c❤👍🏽🇩⛹♂漢é\u0301ที\u1100\u1161\u11a8ශ\u0dca"), max_size=9)
)
def test_any_sequence(text: str) -> None:
    assert cells(text) == wcwidth.wcswidth(text)


def test_what_is_drawn_together_is_not_broken() -> None:
    assert wrap("👩\u200d💻👩\u200d💻क्षक्षe\u0301e\u0301", 4) == ["👩\u200d💻👩\u200d💻", "क्षक्ष", "e\u0301e\u0301"]
