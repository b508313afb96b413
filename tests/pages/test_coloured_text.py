"""Coloured text as a page and as a picture: by any scale, of one passage or of several."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from charrnn.pages.coloured_text import ColouredCharacter, ColouredText, Passage, Picture
from charrnn.pages.html import HtmlPage
from charrnn.pages.png import PngPicture
from charrnn.pages.scale import ACTIVITY, SURPRISE
from tests.cli.test_sample_score import Page

LETTERS = "ab<\n"
TWO = ColouredText(
    title="a & b",
    facts="<5 characters>",
    scale=ACTIVITY,
    passages=[
        Passage("unit <0:1>", [*map(ColouredCharacter, LETTERS, [-1.0, 0.0, 0.5, 1.0])]),
        Passage("$unit$ 0:2", [*map(ColouredCharacter, LETTERS, [0.25, 0.25, 0.25, None])]),
    ],
    chars=5,
)


def test_a_page_of_two_passages_by_activity() -> None:
    content = HtmlPage(Path("a.html")).render(TWO).decode()
    page = Page(content)
    assert [(css, title) for css, title, _ in page.characters] == [
        ("c0", "-1.00"), ("c4", "+0.00"), ("c6", "+0.50"), ("c8", "+1.00"),
        ("c5", "+0.25"), ("c5", "+0.25"), ("c5", "+0.25"),
    ]  # fmt: skip
    assert [content[0] for _, _, content in page.characters] == list("ab<⏎ab<")
    assert page.tags & {"unit", "h2"} == {"h2"}, "what looks like a tag is none"
    assert "<h2>unit &lt;0:1&gt;</h2>" in content
    assert '<p class="facts">&lt;5 characters&gt;</p>' in content
    assert '<div class="legend">activity <span><b class="c0">-1</b><b class="c1">-¾</b>' in content
    assert "The first 4 characters. Rest the mouse on a character for the unit&#x27;s activity" in content


def test_the_legend_is_the_scale_s() -> None:
    content = HtmlPage(Path("a.html")).render(replace(TWO, scale=SURPRISE)).decode()
    assert '<div class="legend">surprise in bits <span><b class="c0">0</b>' in content
    assert '<b class="c8">8+</b></span> 0: it was certain' in content
    assert all(f".c{n} {{ background: {colour}; }}" in content for n, colour in enumerate(SURPRISE.colours))


def pixels(text: ColouredText) -> np.ndarray:
    image: np.ndarray = imread(io.BytesIO(PngPicture(Path("a.png")).render(text)), format="png")
    return (image[:, :, :3] * 255).round().astype(int)


def has(part: np.ndarray, colour: str) -> bool:
    return bool((part == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).all(axis=-1).any())


def test_a_picture_of_two_passages_by_activity() -> None:
    """Heading, row, empty row, heading, row, each 0.19 inches high below a head of 1.25, at 130 dots an inch."""
    image = pixels(TWO)
    rows = [image[round((1.25 + 0.19 * n) * 130) : round((1.25 + 0.19 * (n + 1)) * 130)] for n in range(5)]
    shown = [[n for n, colour in enumerate(ACTIVITY.colours) if n != 4 and has(row[3:-3], colour)] for row in rows]
    assert shown == [[], [0, 6, 8], [], [], [5]]
    dark = [bool((row.max(axis=-1) < 60).any()) for row in rows]
    assert dark == [True, True, False, True, True], "headings and characters"
    assert all(has(image[: round(1.25 * 130)], colour) for colour in ACTIVITY.colours), "the legend"


def characters(line: str, count: int) -> Sequence[ColouredCharacter]:
    return [ColouredCharacter(each, 0.5) for each in line * count]


@pytest.mark.parametrize(
    ("picture", "line", "passages", "shown"),
    [
        (HtmlPage, "ab", 1, 100_000),
        (HtmlPage, "ab", 3, 33_333),
        (PngPicture, "ab", 1, 16_000),
        (PngPicture, "ab\n", 1, 480),
        (PngPicture, "ab\n", 3, 3 * 53),
        (PngPicture, "ab\n", 1000, 3),
    ],
)
def test_what_a_form_has_room_for(picture: type[Picture], line: str, passages: int, shown: int) -> None:
    cut = picture(Path("a")).cut(characters(line, 60_000), passages)
    assert "".join(each.character for each in cut) == (line * 60_000)[:shown]


@pytest.mark.parametrize("picture", [HtmlPage, PngPicture])
def test_what_was_written_is_told(tmp_path: Path, picture: type[Picture]) -> None:
    """The passages are cut to the room there is, all at the same character."""
    long = characters("ab\n", 40_000)
    form = picture(tmp_path / "file")
    shown = form.write(replace(TWO, passages=[Passage("one", long), Passage("two", long)], chars=120_000))
    assert [len(each.characters) for each in shown.passages] == [shown.shown] * 2
    assert shown.shown == (50_000 if picture is HtmlPage else 240)
    assert not shown.is_whole
    assert (tmp_path / "file").read_bytes() == form.render(shown)
    assert form.write(replace(TWO, chars=4)).is_whole
