"""Simple properties of a text: a number for each character, after it was read. Each is one line of PROPERTIES.

They are deliberately plain, and know nothing of a language or its grammar: a quotation mark that is never closed ends
with its paragraph, a # inside a string begins a comment. What a unit makes of such places is seen in the picture.
"""

import re
from collections.abc import Callable, Mapping
from itertools import accumulate, pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.text.codepoints import code_points

__all__ = ["PROPERTIES", "Values", "values_of"]

Values: TypeAlias = npt.NDArray[np.float32]
"""[T], one for each character."""
Property: TypeAlias = Callable[[str], Values]

_SAME_PARAGRAPH = r"\n(?!\r?\n)"
"""The end of a line that is no paragraph's."""
_PARAGRAPH_END = re.compile(r"\n\r?\n")


def _within(pattern: str, only: Callable[[str], bool] = lambda _: True) -> Property:
    """1 inside the first group of each match of `pattern`, of those matches that `only` is true of; else 0."""
    compiled = re.compile(pattern, re.MULTILINE)

    def values(text: str) -> Values:
        inside = np.zeros(len(text), np.float32)
        for match in compiled.finditer(text):
            if only(match[1]):
                inside[match.start(1) : match.end(1)] = 1
        return inside

    return values


def _since(start: npt.NDArray[np.bool_]) -> Values:
    """Characters since the last one where `start` [T] holds, which has 0; the text begins as after such a one."""
    places = np.arange(len(start))
    last = np.maximum.accumulate(np.where(start, places, -1))
    return (places - last).astype(np.float32)


def _position_in_line(text: str) -> Values:
    return _since(code_points(text) == ord("\n"))


def _position_in_word(text: str) -> Values:
    letters = [ord(each) for each in set(text) if each.isalnum() or each == "_"]
    return _since(~np.isin(code_points(text), letters))


def _indentation(text: str) -> Values:
    """Of the line, at each of its characters: the columns of white space that it begins with, a tab going on to 4."""
    columns = np.zeros(len(text), np.float32)
    for line in re.finditer(r"([ \t]*)[^\n]*\n?", text):
        columns[line.start() : line.end()] = len(line[1].expandtabs(4))
    return columns


def _depth_of_brackets(text: str) -> Values:
    """Brackets that are open, counted anew in each paragraph: one that is never closed counts no further."""
    changes = {**dict.fromkeys("([{", 1), **dict.fromkeys(")]}", -1)}
    cuts = [0, *(match.end() for match in _PARAGRAPH_END.finditer(text)), len(text)]
    depths: list[int] = []
    for start, end in pairwise(cuts):
        steps = (changes.get(each, 0) for each in text[start:end])
        depths += list(accumulate(steps, lambda depth, step: max(depth + step, 0), initial=0))[1:]
    return np.array(depths, np.float32)


# An apostrophe, between two letters, opens and closes nothing. Possessive repetitions (*+) need no memory of their way.
PROPERTIES: Mapping[str, Property] = {
    "in double quotes": _within(rf"""(["“«](?:[^"”»\n]|{_SAME_PARAGRAPH})*+)"""
                                r"""["”»]?"""),
    "in single quotes": _within(rf"""((?<!\w)['‘](?:[^'’\n]|(?<=\w)['’](?=\w)|{_SAME_PARAGRAPH})*+)"""
                                r"""['’]?"""),
    "in triple quotes": _within(r'''("""(?:[^"]|"(?!""))*+|\'\'\'(?:[^\']|\'(?!\'\'))*+)(?:"""|\'\'\')?'''),
    "in a comment (#)": _within(r"(#[^\n]*)"),
    "position in the line": _position_in_line,
    "indentation of the line": _indentation,
    "depth of brackets": _depth_of_brackets,
    "position in the word": _position_in_word,
    "in a word of capitals": _within(r"\b(\w\w+)\b", str.isupper),
    "in a number": _within(r"([0-9]+(?:[.,][0-9]+)*)"),
    "white space": _within(r"(\s+)"),
    "after a sentence": _within(r"""[.!?…]["'”’»)\]]*(\s+)"""),
}  # fmt: skip


def values_of(text: str) -> dict[str, Values]:
    """By name, the properties of `text`, T characters, each [T]: those that are not the same all along."""
    values = {name: of(text) for name, of in PROPERTIES.items()}
    return {name: each for name, each in values.items() if len(each) and each.min() < each.max()}
