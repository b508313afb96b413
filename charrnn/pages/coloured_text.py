"""A text, each character coloured by a value that it has on a scale; and the forms of a file that can show it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from charrnn.files import write_atomically
from charrnn.pages.scale import INK, SURPRISE, Scale

__all__ = ["COLOURS", "INK", "ColouredCharacter", "ColouredText", "Passage", "Picture", "symbol"]

COLOURS = SURPRISE.colours


@dataclass(frozen=True, slots=True)
class ColouredCharacter:
    """A character and its value."""

    character: str
    value: float | None
    """On the scale of its text; None where it has none."""
    note: str = ""
    """What else is told of it."""


@dataclass(frozen=True)
class Passage:
    """The beginning of the text, by one kind of value."""

    heading: str
    """What the value is, where a page shows several; else empty."""
    characters: Sequence[ColouredCharacter]


@dataclass(frozen=True, kw_only=True)
class ColouredText:
    """What a page or a picture shows."""

    title: str
    facts: str
    """What is known of the whole text, in a line."""
    scale: Scale
    passages: Sequence[Passage]
    """At least one, all of the same characters."""
    chars: int
    """Characters of the whole text, of which the passages may be the beginning."""

    @property
    def shown(self) -> int:
        """Characters of a passage."""
        return len(self.passages[0].characters)

    @property
    def is_whole(self) -> bool:
        """Whether the passages are all of the text."""
        return self.shown == self.chars


class Picture(ABC):
    """A form of a file that shows a coloured text, and the file."""

    max_chars: int
    """Characters that are shown at most, of all passages together: more would take memory, and nobody looks at them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, text: ColouredText) -> ColouredText:
        """Write the file, whole or not at all; returns what it shows of `text`.

        Raises RunError where it cannot be written.
        """
        parts = len(text.passages)
        passages = [replace(each, characters=self.cut(each.characters, parts)) for each in text.passages]
        shown = replace(text, passages=passages)
        write_atomically(self.path, self.render(shown))
        return shown

    def cut(self, characters: Sequence[ColouredCharacter], passages: int) -> Sequence[ColouredCharacter]:
        """The first of `characters`, as many as can be shown in each of so many `passages`."""
        return characters[: self.max_chars // passages]

    @abstractmethod
    def render(self, text: ColouredText) -> bytes:
        """The content of the file, all of `text`."""


def symbol(character: str) -> str:
    """What is shown in the place of a character that is invisible or a control character; others are themselves."""
    if character in _SYMBOLS:
        return _SYMBOLS[character]
    return character if character.isprintable() else f"‹{ord(character):04X}›"


_SYMBOLS = {"\n": "⏎", "\t": "⇥", " ": " "}
