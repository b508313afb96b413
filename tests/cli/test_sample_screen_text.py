"""Text on a terminal: nothing is lost, no line is too long, nothing moves the cursor."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from charrnn.cli.screen_text import cells, side_by_side, visible, wrap

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
    assert not {unicodedata.category(c) for c in shown.replace("\n", "")} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert shown.count("\n") == text.count("\n")


def test_lines_are_broken_after_spaces_where_that_is_possible() -> None:
    assert wrap("the countess and\n\nprincesses 漢漢", 8) == ["the ", "countess", " and", "", "princess", "es 漢漢"]
    assert wrap("", 5) == [""]


def test_side_by_side() -> None:
    assert side_by_side(["left", "right"], ["ab 漢\n\nc", "longer than\tthat"], 15) == (
        "left   │ right\n────── │ ──────\nab 漢  │ longer\n       │  than\nc      │\n       │ that\n"
    )
