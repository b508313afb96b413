"""A text, each character coloured by its surprise: collected while it is scored, then written as HTML or PNG."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from math import log
from pathlib import Path

from charrnn.files import write_atomically
from charrnn.scores import ScoredBlock, Scores

__all__ = ["COLOURS", "INK", "Heatmap", "ScoredCharacter", "colour_of", "symbol"]

COLOURS = (
    "#ffffff", "#fff7d6", "#ffefad", "#ffe383", "#ffd25f", "#ffbb4a", "#ffa13f", "#fb8538", "#f06a3a",
)  # fmt: skip
"""Of 0, 1, ... and 8 or more bits. Each is darker than the last; ink on the darkest has a contrast of 5.8 : 1."""
INK = "#16181d"


@dataclass(frozen=True)
class ScoredCharacter:
    """A character of the heatmap, and what the model thought of it."""

    character: str
    bits: float | None
    """Its surprise; None for the text's first character, which nothing predicts."""
    guess: str
    """The likeliest character in its place."""


def colour_of(bits: float | None) -> int:
    """The index in `COLOURS`: the whole bits, so that each colour is a range that can be read off the legend."""
    return 0 if bits is None else int(min(max(bits, 0.0), len(COLOURS) - 1))


def symbol(character: str) -> str:
    """What is shown in the place of a character that is invisible or a control character; others are themselves."""
    if character in _SYMBOLS:
        return _SYMBOLS[character]
    return character if character.isprintable() else f"‹{ord(character):04X}›"


_SYMBOLS = {"\n": "⏎", "\t": "⇥", " ": " "}


class Heatmap(ABC):
    """Collects the characters at the beginning of a text, and writes them to a file."""

    max_chars: int
    """Characters that are shown at most: more would take memory, and nobody looks at them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shown: list[ScoredCharacter] = []

    def collect(
        self, blocks: Iterable[ScoredBlock], characters: str, *, first: Callable[[], int | None]
    ) -> Iterator[ScoredBlock]:
        """Pass `blocks` on, and keep their characters up to `max_chars`.

        first: tells, once a block is there, the id of the text's first character, which has no score.
        """
        for block in blocks:
            if not self.shown:
                start = first()
                assert start is not None
                self.shown.append(ScoredCharacter(characters[start], None, ""))
            room = self.max_chars - len(self.shown)
            bits = block.nats[:room] / log(2)
            for i, b, guess in islice(zip(block.ids, bits.tolist(), block.guesses, strict=False), room):
                self.shown.append(ScoredCharacter(characters[i], b, characters[guess]))
            yield block

    def write(self, title: str, scores: Scores) -> None:
        """Write the file, whole or not at all. Raises RunError where it cannot be written."""
        write_atomically(self.path, self.render(title, scores))

    @abstractmethod
    def render(self, title: str, scores: Scores) -> bytes:
        """The content of the file."""
