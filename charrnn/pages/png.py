"""A coloured text as a picture, drawn by matplotlib: a grid of cells, a character in each."""

import io
from collections import defaultdict
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Rectangle
from matplotlib.path import Path
from matplotlib.transforms import Affine2D

from charrnn.pages.coloured_text import ColouredCharacter, ColouredText, Passage, Picture, symbol
from charrnn.pages.scale import INK, Scale

__all__ = ["PngPicture"]

_COLUMNS = 100
_MAX_ROWS = 160
_CELL_INCHES = 0.092, 0.19  # wide, high
_MARGIN_INCHES, _HEAD_INCHES = 0.3, 0.95
_DPI = 130
_CHARACTER_POINTS, _BASELINE_POINTS = 10, 3.8
_OUTLINE_POINTS = 100
_FONT = FontProperties(family="DejaVu Sans Mono")  # it comes with matplotlib, so pictures are the same everywhere
_TITLE_FONT = FontProperties(family="DejaVu Sans Mono", weight="bold", size=11)  # it lacks some that the other has
_PALE = "#6d7480"


_Rows: TypeAlias = list[Sequence[ColouredCharacter]]


class PngPicture(Picture):
    """A picture of 100 columns, and of as many lines as one looks at."""

    max_chars = _COLUMNS * _MAX_ROWS

    def cut(self, characters: Sequence[ColouredCharacter], passages: int) -> Sequence[ColouredCharacter]:
        """See `Picture`."""
        rows = _rows(characters)[: max(1, _MAX_ROWS // passages)]
        return characters[: sum(map(len, rows))]

    def render(self, text: ColouredText) -> bytes:
        """See `Picture`."""
        rows, headings = _arranged(text.passages)
        wide, high = _COLUMNS * _CELL_INCHES[0], len(rows) * _CELL_INCHES[1]
        width, height = wide + 2 * _MARGIN_INCHES, high + _HEAD_INCHES + 2 * _MARGIN_INCHES
        figure = Figure(figsize=(width, height), dpi=_DPI)
        left, bottom = _MARGIN_INCHES / width, _MARGIN_INCHES / height
        body = figure.add_axes((left, bottom, wide / width, high / height), frameon=False, xticks=[], yticks=[])
        _draw_cells(body, rows, text.scale)
        _draw_characters(body, rows)
        for y, heading in headings.items():
            body.text(0, y + 0.75, _titled(heading), font=_TITLE_FONT, color=INK, parse_math=False)
        place = (left, 1 - (_MARGIN_INCHES + _HEAD_INCHES) / height, wide / width, _HEAD_INCHES / height)
        head = figure.add_axes(place, frameon=False, xticks=[], yticks=[], xlim=(0, wide), ylim=(0, _HEAD_INCHES))
        _draw_head(head, text)
        image = io.BytesIO()
        figure.savefig(image, format="png")
        return image.getvalue()


def _arranged(passages: Sequence[Passage]) -> tuple[_Rows, dict[int, str]]:
    """The rows of all passages one under the other; and, by row, the headings, which stand in rows that are empty."""
    rows: _Rows = []
    headings: dict[int, str] = {}
    for passage in passages:
        if passage.heading:
            rows += [[], []][: 2 if rows else 1]
            headings[len(rows) - 1] = passage.heading
        rows += _rows(passage.characters)
    return rows, headings


def _rows(characters: Sequence[ColouredCharacter]) -> _Rows:
    """Rows of at most `_COLUMNS` characters; a line's end ends a row too."""
    rows: list[list[ColouredCharacter]] = [[]]
    for each in characters:
        rows[-1].append(each)
        if len(rows[-1]) == _COLUMNS or each.character == "\n":
            rows.append([])
    return [row for row in rows if row]


def _draw_cells(axes: Axes, rows: _Rows, scale: Scale) -> None:
    grid = np.full((len(rows), _COLUMNS), scale.index(None))
    for y, row in enumerate(rows):
        grid[y, : len(row)] = [scale.index(each.value) for each in row]
    colours = ListedColormap(scale.colours)
    extent = (0, _COLUMNS, len(rows), 0)
    axes.imshow(
        grid, colours, vmin=0, vmax=len(scale.colours), aspect="auto", extent=extent, interpolation="nearest"
    )  # fmt: skip


def _draw_characters(axes: Axes, rows: _Rows) -> None:
    """Each distinct character is one outline, drawn at all its places: thousands of labels would take a minute."""
    places: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for y, row in enumerate(rows):
        for x, each in enumerate(row):
            places[_drawable(symbol(each.character))].append((x, y + 1))
    # Outlines are made at a size where hinting does not show, then scaled to pixels.
    place = Affine2D().scale(_CHARACTER_POINTS / _OUTLINE_POINTS).translate(0.3, _BASELINE_POINTS).scale(_DPI / 72)
    for sign, offsets in places.items():
        outline = _outline(sign)
        alpha = 0.6 if sign in "⏎⇥" else 1
        glyphs = PathCollection(
            [outline], offsets=offsets, offset_transform=axes.transData, facecolors=INK, linewidths=0, alpha=alpha
        )
        glyphs.set_transform(place)
        glyphs.set_snap(False)  # to whole pixels: it thins out an i, and an underscore is gone
        axes.add_collection(glyphs, autolim=False)


def _outline(character: str) -> Path:
    font = get_font(findfont(_FONT))
    font.set_size(_OUTLINE_POINTS, 72)
    font.load_char(ord(character))
    return Path(*font.get_path())


def _drawable(text: str, font: FontProperties = _FONT) -> str:
    """`text` itself where it is one character that the font has, else the sign for one that cannot be shown."""
    return text if len(text) == 1 and get_font(findfont(font)).get_char_index(ord(text)) else "\ufffd"


def _titled(text: str) -> str:
    """A title: `text` as far as there is room for it, in its font."""
    return "".join(_drawable(c, _TITLE_FONT) for c in (text if len(text) < 90 else text[:89] + "…"))


def _draw_head(axes: Axes, text: ColouredText) -> None:
    """Title, facts and legend; the axes are in inches."""
    scale = text.scale
    first = "" if text.is_whole else f" · its first {text.shown:,} characters"
    axes.text(0, 0.78, _titled(text.title), font=_TITLE_FONT, color=INK, parse_math=False)
    axes.text(0, 0.54, text.facts + first, fontsize=9, color=_PALE, parse_math=False)
    axes.text(0, 0.26, scale.name, fontsize=9, color=_PALE, va="center")
    for n, (colour, label) in enumerate(zip(scale.colours, scale.labels, strict=True)):
        axes.add_patch(
            Rectangle((1.15 + 0.4 * n, 0.15), 0.4, 0.22, facecolor=colour, edgecolor="#e3e5e9", linewidth=0.5)
        )
        axes.text(1.35 + 0.4 * n, 0.26, label, fontsize=9, color=INK, ha="center", va="center")
    axes.text(1.3 + 0.4 * len(scale.colours), 0.26, scale.key, fontsize=9, color=_PALE, va="center")
