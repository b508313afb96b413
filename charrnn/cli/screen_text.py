"""Text on a terminal: what each character looks like, how many cells it takes, where a line is broken."""

import unicodedata
from itertools import zip_longest

from charrnn.console import visible

__all__ = ["cells", "side_by_side", "visible", "wrap"]

_BETWEEN = " │ "


def cells(text: str) -> int:
    """How many cells of a terminal the visible `text` takes."""
    return sum(map(_cells_of, text))


def _cells_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def wrap(text: str, width: int) -> list[str]:
    """The lines of the visible `text`, each of at most `width` (at least 2) cells, broken after spaces where it can."""
    return [piece for line in text.split("\n") for piece in _wrap_line(line, width)]


def _wrap_line(line: str, width: int) -> list[str]:
    pieces, begin, used, space = [], 0, 0, 0
    for place, character in enumerate(line):
        used += _cells_of(character)
        while used > width:
            end = space if space > begin else place
            pieces.append(line[begin:end])
            begin, used = end, cells(line[end : place + 1])
        if character == " ":
            space = place + 1
    return [*pieces, line[begin:]]


def side_by_side(titles: list[str], texts: list[str], width: int) -> str:
    """`texts` in columns under their titles, together at most `width` cells wide; ends with a newline."""
    each = (width - len(_BETWEEN) * (len(texts) - 1)) // len(texts)
    columns = [
        [*wrap(title, each), "─" * each, *wrap(visible(text), each)] for title, text in zip(titles, texts, strict=True)
    ]
    rows = zip_longest(*columns, fillvalue="")
    return "".join(_BETWEEN.join(cell + " " * (each - cells(cell)) for cell in row).rstrip() + "\n" for row in rows)
