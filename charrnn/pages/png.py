"""The heatmap as a picture, drawn by matplotlib: a grid of cells, a character in each."""

import io
from collections import defaultdict

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Rectangle
from matplotlib.path import Path
from matplotlib.transforms import Affine2D

from charrnn.pages.coloured_text import COLOURS, INK, Heatmap, ScoredCharacter, colour_of, symbol
from charrnn.scores import Scores

__all__ = ["PngHeatmap"]

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


class PngHeatmap(Heatmap):
    """A picture of 100 columns, and of as many lines as one looks at."""

    max_chars = _COLUMNS * _MAX_ROWS

    def render(self, title: str, scores: Scores) -> bytes:
        """See `Heatmap`."""
        rows = _rows(self.shown)
        self.shown = [each for row in rows for each in row]
        wide, high = _COLUMNS * _CELL_INCHES[0], len(rows) * _CELL_INCHES[1]
        width, height = wide + 2 * _MARGIN_INCHES, high + _HEAD_INCHES + 2 * _MARGIN_INCHES
        figure = Figure(figsize=(width, height), dpi=_DPI)
        left, bottom = _MARGIN_INCHES / width, _MARGIN_INCHES / height
        text = figure.add_axes((left, bottom, wide / width, high / height), frameon=False, xticks=[], yticks=[])
        _draw_cells(text, rows)
        _draw_characters(text, rows)
        place = (left, 1 - (_MARGIN_INCHES + _HEAD_INCHES) / height, wide / width, _HEAD_INCHES / height)
        head = figure.add_axes(place, frameon=False, xticks=[], yticks=[], xlim=(0, wide), ylim=(0, _HEAD_INCHES))
        _draw_head(head, title, scores, shown=len(self.shown))
        image = io.BytesIO()
        figure.savefig(image, format="png")
        return image.getvalue()


def _rows(shown: list[ScoredCharacter]) -> list[list[ScoredCharacter]]:
    """Rows of at most `_COLUMNS` characters, at most `_MAX_ROWS` of them; a line's end ends a row too."""
    rows: list[list[ScoredCharacter]] = [[]]
    for each in shown:
        rows[-1].append(each)
        if len(rows[-1]) == _COLUMNS or each.character == "\n":
            rows.append([])
    return [row for row in rows if row][:_MAX_ROWS]


def _draw_cells(axes: Axes, rows: list[list[ScoredCharacter]]) -> None:
    grid = np.zeros((len(rows), _COLUMNS))
    for y, row in enumerate(rows):
        grid[y, : len(row)] = [colour_of(each.bits) for each in row]
    extent = (0, _COLUMNS, len(rows), 0)
    axes.imshow(
        grid, ListedColormap(COLOURS), vmin=0, vmax=len(COLOURS), aspect="auto", extent=extent, interpolation="nearest"
    )


def _draw_characters(axes: Axes, rows: list[list[ScoredCharacter]]) -> None:
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


def _draw_head(axes: Axes, title: str, scores: Scores, *, shown: int) -> None:
    """Title, scores and legend; the axes are in inches."""
    first = "" if shown == scores.characters + 1 else f" · its first {shown:,} characters"
    facts = (
        f"{scores.characters:,} characters scored · loss {scores.loss_nats:.4f} nats · {scores.bpc:.4f} bpc · "
        f"accuracy {scores.accuracy:.2%}{first}"
    )
    title = "".join(_drawable(c, _TITLE_FONT) for c in (title if len(title) < 90 else title[:89] + "…"))
    axes.text(0, 0.78, title, font=_TITLE_FONT, color=INK, parse_math=False)
    axes.text(0, 0.54, facts, fontsize=9, color=_PALE)
    axes.text(0, 0.26, "surprise in bits", fontsize=9, color=_PALE, va="center")
    for n, colour in enumerate(COLOURS):
        axes.add_patch(
            Rectangle((1.15 + 0.4 * n, 0.15), 0.4, 0.22, facecolor=colour, edgecolor="#e3e5e9", linewidth=0.5)
        )
        label = f"{n}+" if n == len(COLOURS) - 1 else str(n)
        axes.text(1.35 + 0.4 * n, 0.26, label, fontsize=9, color=INK, ha="center", va="center")
    axes.text(
        4.9, 0.26, "0: it was certain · 1: a chance of 1 in 2 · 8: 1 in 256", fontsize=9, color=_PALE, va="center"
    )
