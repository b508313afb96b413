"""The steps that a normaliser is made of.

Each is a pure function of the whole text that can run over chunks of it: how the text is cut never shows in the result.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ConfigError
from charrnn.text.codepoints import NUM_CODE_POINTS, code_points, text_of

__all__ = ["Keep", "Lowercase", "Newlines", "Step", "Tabs", "UnicodeForm"]


class Step(Protocol):
    """One named operation on text."""

    def stream(self, chunks: Iterable[str], dropped: Counter[str] | None) -> Iterator[str]:
        """Yield the result in pieces; count the characters that are removed or replaced into `dropped`."""
        ...

    def to_dict(self) -> dict[str, str]:
        """Return the step as JSON-able data, its name under "step"."""
        ...


@dataclass(frozen=True)
class Lowercase:
    """Lower-case each code point by itself.

    `str.lower` looks around in one case alone: a capital sigma at a word's end becomes U+03C2, not U+03C3. What a
    character becomes would then depend on its neighbours (and the prompt's last word on what follows), so here it
    is always U+03C3.
    """

    def stream(self, chunks: Iterable[str], dropped: Counter[str] | None) -> Iterator[str]:
        """See `Step`."""
        for chunk in chunks:
            yield chunk.replace("\u03a3", "\u03c3").lower()

    def to_dict(self) -> dict[str, str]:
        """See `Step`."""
        return {"step": "lowercase"}


@dataclass(frozen=True)
class Keep:
    """Keep these characters; delete every other one, or put `replacement` (one character) in its place.

    Raises ConfigError if there is nothing to keep, or if the replacement is longer.
    """

    characters: str
    replacement: str = ""

    def __post_init__(self) -> None:
        if not self.characters:
            raise ConfigError('a "keep" step needs at least one character to keep')
        if len(self.replacement) > 1:
            raise ConfigError(f'a "keep" step\'s replacement must be one character or none, not {self.replacement!r}')
        # One spelling for each set, so that equal steps compare equal and share a cache entry.
        object.__setattr__(self, "characters", "".join(sorted(set(self.characters))))

    def stream(self, chunks: Iterable[str], dropped: Counter[str] | None) -> Iterator[str]:
        """See `Step`."""
        for chunk in chunks:
            codes = code_points(chunk)
            kept = self._kept.take(codes)
            if kept.all():
                yield chunk
                continue
            if dropped is not None:
                _count(codes[~kept], dropped)
            yield text_of(np.where(kept, codes, ord(self.replacement)) if self.replacement else codes[kept])

    def to_dict(self) -> dict[str, str]:
        """See `Step`."""
        return {"step": "keep", "characters": self.characters, "replacement": self.replacement}

    @cached_property
    def _kept(self) -> NDArray[np.bool_]:
        table = np.zeros(NUM_CODE_POINTS, dtype=np.bool_)
        table[code_points(self.characters)] = True
        return table


def _count(codes: NDArray[np.uint32], into: Counter[str]) -> None:
    counts = np.bincount(codes)
    for code in np.flatnonzero(counts).tolist():
        into[chr(code)] += int(counts[code])


@dataclass(frozen=True)
class Newlines:
    """Make every line end a line feed: CR LF -> LF, and a CR alone -> LF."""

    def stream(self, chunks: Iterable[str], dropped: Counter[str] | None) -> Iterator[str]:
        """See `Step`."""
        held = ""  # a CR at a chunk's end: the next chunk may start with its LF
        for chunk in chunks:
            text = held + chunk
            held = "\r" if text.endswith("\r") else ""
            yield text[: len(text) - len(held)].replace("\r\n", "\n").replace("\r", "\n")
        if held:
            yield "\n"

    def to_dict(self) -> dict[str, str]:
        """See `Step`."""
        return {"step": "lf"}


_INDENTATION = re.compile(r"(?<=\n)[ \t]*(?=[^ \t\r\n])")
_LINE_THAT_BEGINS = re.compile(r"\n[ \t]*\Z")


@dataclass(frozen=True)
class Tabs:
    """Indent each line by one tab for every level of indentation that it is within, whatever the text indents by.

    A model of characters has to count a run of spaces to its end. Of those in front of code that is aligned with a
    bracket far to the right it loses count, and at a low temperature never stops; tabs are as few as the levels.
    """

    def stream(self, chunks: Iterable[str], dropped: Counter[str] | None) -> Iterator[str]:
        """See `Step`."""
        levels = [0]  # columns of indentation

        def tabs(indentation: str) -> str:
            columns = len(indentation.expandtabs())
            while levels[-1] > columns:
                levels.pop()
            if levels[-1] < columns:
                levels.append(columns)
            return "\t" * (len(levels) - 1)

        held, begin = ["\n"], 1  # the text begins as if a line had ended
        for chunk in chunks:
            if held and not chunk.strip(" \t"):
                held.append(chunk)
                continue
            text = "".join(held) + chunk
            unfinished = _LINE_THAT_BEGINS.search(text)
            cut = unfinished.start() if unfinished else len(text)
            held = [text[cut:]] if unfinished else []
            if cut:
                yield _INDENTATION.sub(lambda found: tabs(found[0]), text[:cut])[begin:]
                begin = 0
        if held:  # a prompt may end where a line begins
            yield ("\n" + tabs("".join(held)[1:]))[begin:]

    def to_dict(self) -> dict[str, str]:
        """See `Step`."""
        return {"step": "tabs"}


# A greedy match ends with the last character of the string that never joins what stands before it, in any form: ASCII,
# Cyrillic and kana letters, CJK ideographs, Hangul syllables. Unicode's stability policy keeps it so for assigned
# characters; the tests check each of them against `unicodedata`.
_FRESH = "\\x00-\\x7f\u0400-\u0482\u048a-\u052f\u3041-\u3096\u30a1-\u30fa\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3"
_UP_TO_LAST_FRESH = re.compile(f".*[{_FRESH}]", re.DOTALL)


@dataclass(frozen=True)
class UnicodeForm:
    """Bring the text into a Unicode normal form: NFC, NFD, NFKC or NFKD.

    Text is cut only before a character that never joins its predecessor; what comes after the last such waits. Prose
    has one in every line; a text without any is held in memory.
    """

    form: Literal["NFC", "NFD", "NFKC", "NFKD"]

    def stream(self, chunks: Iterable[str], dropped: Counter[str] | None) -> Iterator[str]:
        """See `Step`."""
        held: list[str] = []
        for chunk in chunks:
            found = _UP_TO_LAST_FRESH.match(chunk)
            if found is None:
                held.append(chunk)
                continue
            cut = found.end() - 1
            yield unicodedata.normalize(self.form, "".join(held) + chunk[:cut])
            held = [chunk[cut:]]
        yield unicodedata.normalize(self.form, "".join(held))

    def to_dict(self) -> dict[str, str]:
        """See `Step`."""
        return {"step": self.form.lower()}
