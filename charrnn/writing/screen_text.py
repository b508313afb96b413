"""Text on a terminal: what each character looks like, how many cells it takes, where a line is broken."""

import unicodedata
from collections.abc import Iterator
from itertools import zip_longest

from charrnn.console import visible

__all__ = ["cells", "side_by_side", "visible", "wrap"]

_BETWEEN = " │ "
_ZERO_WIDTH_NON_JOINER, _ZERO_WIDTH_JOINER = "\u200c", "\u200d"
_EMOJI_SELECTOR = "\ufe0f"
_EMOJI_IF_SELECTED = (
    "#*0123456789©®‼⁉™ℹ↔↕↖↗↘↙↩↪⌨⏏⏭⏮⏯⏱⏲⏸⏹⏺Ⓜ▪▫▶◀◻◼☀☁☂☃☄☎☑☘☝☠☢"
    "☣☦☪☮☯☸☹☺♀♂♟♠♣♥♦♨♻♾⚒⚔⚕⚖⚗⚙⚛⚜⚠⚧⚰⚱⛈⛏⛑⛓⛩⛰⛱⛴⛷⛸⛹✂✈✉✌✍✏✒✔✖✝✡✳✴"
    "❄❇❣❤➡⤴⤵⬅⬆⬇🅰🅱🅾🅿🌡🌤🌥🌦🌧🌨🌩🌪🌫🌬🌶🍽🎖🎗🎙🎚🎛🎞🎟🏋🏌🏍🏎🏔🏕🏖🏗🏘🏙🏚🏛🏜🏝🏞🏟🏳🏵🏷🐿👁"
    "📽🕉🕊🕯🕰🕳🕴🕵🕶🕷🕸🕹🖇🖊🖋🖌🖍🖐🖥🖨🖱🖲🖼🗂🗃🗄🗑🗒🗓🗜🗝🗞🗡🗣🗨🗯🗳🗺🛋🛍🛎🛏🛠🛡🛢🛣🛤🛥🛩🛰🛳"
)
"""What Unicode's emoji-variation-sequences.txt has of one cell: before the selector it takes two."""
_MODIFIERS = "🏻🏼🏽🏾🏿"
_VIRAMAS = (
    "\u094d\u09cd\u0a4d\u0acd\u0b4d\u0bcd\u0c4d\u0ccd\u0d4d\u0dca\u1039\u17d2\u1a60\u1b44\u1bab\ua806\ua8c4\ua9c0"
    "\uaaf6\U00010a3f\U00011046\U000110b9\U00011133\U000111c0\U00011235\U0001134d\U000113d0\U00011442\U000114c2"
    "\U000115bf\U0001163f\U000116b6\U00011839\U0001193e\U000119e0\U00011a47\U00011a99\U00011c3f\U00011d45\U00011d97\U00011f42"
)
"""Indic_Syllabic_Category Virama and Invisible_Stacker: the consonant after it is written into the one before."""
_UNSEEN_LETTERS = _ZERO_WIDTH_NON_JOINER + _ZERO_WIDTH_JOINER + "\u3164\uffa0"  # the last two fill Hangul syllables


def cells(text: str) -> int:
    """How many cells of a terminal the visible `text`, a line, takes."""
    return len(text) if text.isascii() else sum(width for _, width in _clusters(text))


def _clusters(line: str) -> Iterator[tuple[str, int]]:
    """What is drawn together, a character and those that change it, and the cells that it takes.

    As `wcwidth` (PyPI), and terminals that draw all of Unicode, have it.
    """
    begin = width = 0
    base = ""  # the last character that has cells
    widened = stacked = swallowed = paired = False
    for place, character in enumerate(line):
        own = _cells_of(character)
        half_flag = "🇦" <= character <= "🇿"
        if swallowed:
            swallowed = False
        elif character == _ZERO_WIDTH_JOINER:
            swallowed = not stacked
        elif half_flag and paired:
            base = character
        elif character in _MODIFIERS and _is_pictograph(base):
            pass
        elif stacked and own:
            base, width, stacked, widened = character, 2, False, False
        elif own:
            if place > begin:
                yield line[begin:place], width
            begin, width, base, widened = place, own, character, False
        elif character == _EMOJI_SELECTOR:
            width = 2 if base and base in _EMOJI_IF_SELECTED and not widened else width
            widened = True
        else:
            stacked = character in _VIRAMAS
            if base and not widened and not stacked and unicodedata.category(character) == "Mc":
                width, widened = 2, True
        paired = half_flag and not paired
    yield line[begin:], width


def _is_pictograph(base: str) -> bool:
    """Whether a colour of skin changes the character, instead of standing beside it: nearly those of Unicode's."""
    if base in _EMOJI_IF_SELECTED:
        return base > "9"
    return unicodedata.category(base) == "So" and _cells_of(base) == 2


def _cells_of(character: str) -> int:
    """Cells that a character takes alone; of a Hangul syllable in parts the first takes them all."""
    if unicodedata.category(character) in ("Mn", "Me", "Mc") or character in _UNSEEN_LETTERS:
        return 0
    if "\u1160" <= character <= "\u11ff" or "\ud7b0" <= character <= "\ud7ff":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" or "🇦" <= character <= "🇿" else 1


def wrap(text: str, width: int) -> list[str]:
    """The lines of the visible `text`, each of at most `width` (at least 2) cells, broken after spaces where it can."""
    return [piece for line in text.split("\n") for piece in _wrap_line(line, width)]


def _wrap_line(line: str, width: int) -> list[str]:
    pieces, begin, used, space, place = [], 0, 0, 0, 0
    for cluster, wide in _clusters(line):
        end = place + len(cluster)
        used += wide
        while used > width:
            broken = space if space > begin else place
            pieces.append(line[begin:broken])
            begin, used = broken, cells(line[broken:end])
        place = end
        if cluster == " ":
            space = place
    return [*pieces, line[begin:]]


def side_by_side(titles: list[str], texts: list[str], width: int) -> str:
    """`texts` in columns under their titles, together at most `width` cells wide; ends with a newline."""
    each = (width - len(_BETWEEN) * (len(texts) - 1)) // len(texts)
    columns = [
        [*wrap(title, each), "─" * each, *wrap(visible(text), each)] for title, text in zip(titles, texts, strict=True)
    ]
    rows = zip_longest(*columns, fillvalue="")
    return "".join(_BETWEEN.join(cell + " " * (each - cells(cell)) for cell in row).rstrip() + "\n" for row in rows)
