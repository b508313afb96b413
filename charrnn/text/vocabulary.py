"""The vocabulary: sorted distinct characters <-> ids, stored as JSON."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from charrnn.errors import VocabularyError
from charrnn.text.codepoints import code_points, text_of

__all__ = ["Vocabulary"]

_FORMAT = "charrnn.vocabulary"
_VERSION = 1
_MOST_NAMED = 20  # distinct unknown characters that one error names: more would not be one line


@dataclass(frozen=True)
class Vocabulary:
    """The characters that a model knows; the id of a character is its place in `characters`.

    Raises VocabularyError unless `characters` is sorted by code point, distinct, not empty and free of lone surrogates.
    """

    characters: str

    def __post_init__(self) -> None:
        codes = code_points(self.characters)
        if not codes.size:
            raise VocabularyError("a vocabulary needs at least one character, and this one has none")
        if ((codes >= 0xD800) & (codes <= 0xDFFF)).any():
            raise VocabularyError("a vocabulary holds a lone surrogate (U+D800 to U+DFFF), which is no character")
        if (codes[1:] <= codes[:-1]).any():
            raise VocabularyError("a vocabulary's characters must be distinct and sorted by code point")

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the vocabulary of the distinct characters of `text`."""
        return cls("".join(sorted(set(text))))

    def __len__(self) -> int:
        return len(self.characters)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The narrowest unsigned type that holds every id: uint8 up to 256 characters, then uint16, uint32."""
        return np.min_scalar_type(len(self) - 1)

    def encode(self, text: str, *, skip_unknown: bool = False, position: int = 0) -> NDArray[Any]:
        """Return the ids of `text`: `dtype` [len(text)], or fewer with `skip_unknown`.

        `position` is where `text` starts in the whole of which it is a part; it only matters to the error's message.
        Raises VocabularyError, naming them, if there are characters that the vocabulary lacks, unless `skip_unknown`.
        """
        ids = self._ids.take(code_points(text), mode="clip")
        known = ids >= 0
        if not known.all():
            if not skip_unknown:
                raise VocabularyError(_unknown_message(text, ~known, position))
            ids = ids[known]
        return ids.astype(self.dtype)

    def decode(self, ids: ArrayLike) -> str:
        """Return the text of `ids` (integers [T]). Raises VocabularyError if one is not in [0, len(self))."""
        ids = np.asarray(ids)
        if not ids.size:
            return ""
        wrong = (ids < 0) | (ids >= len(self))
        if wrong.any():
            raise VocabularyError(f"id {ids[wrong][0]} is no character of a vocabulary of {len(self)}")
        return text_of(self._codes[ids])

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` reads: format, version, characters."""
        return {"format": _FORMAT, "version": _VERSION, "characters": self.characters}

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Return the vocabulary that `to_dict` described. Raises VocabularyError for anything else."""
        if not isinstance(data, dict) or data.get("format") != _FORMAT:
            raise VocabularyError(f'this is not a vocabulary: it lacks "format": "{_FORMAT}"')
        version, characters = data.get("version"), data.get("characters")
        if type(version) is not int or version < 1:
            raise VocabularyError(f"a vocabulary's version must be a whole number from 1, not {version!r}")
        if version > _VERSION:
            raise VocabularyError(f"this vocabulary has version {version} and charrnn reads {_VERSION}: update charrnn")
        if not isinstance(characters, str):
            raise VocabularyError(f"a vocabulary's characters must be a string, not {type(characters).__name__}")
        return cls(characters)

    def to_json(self) -> str:
        """Return the vocabulary as one line of ASCII JSON, the same bytes for ever."""
        return json.dumps(self.to_dict()) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the vocabulary that `to_json` wrote. Raises VocabularyError for anything else."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise VocabularyError(f"this is not a vocabulary: it is not JSON ({error})") from error
        return cls.from_dict(data)

    @cached_property
    def _codes(self) -> NDArray[np.uint32]:
        """Id -> code point."""
        return code_points(self.characters)

    @cached_property
    def _ids(self) -> NDArray[np.int32]:
        """Code point -> id, or -1. Its last entry is -1: what lies beyond is clipped onto it."""
        table = np.full(int(self._codes[-1]) + 2, -1, dtype=np.int32)
        table[self._codes] = np.arange(len(self))
        return table


def _unknown_message(text: str, unknown: NDArray[np.bool_], position: int) -> str:
    """Name the characters of `text` where `unknown` [len(text)] holds."""
    places = np.flatnonzero(unknown)
    distinct = list(dict.fromkeys(text_of(code_points(text)[places])))
    names = [f"{character!r} (U+{ord(character):04X})" for character in distinct[:_MOST_NAMED]]
    if len(distinct) > _MOST_NAMED:
        names.append(f"and {len(distinct) - _MOST_NAMED} more")
    return (
        f"the vocabulary lacks {', '.join(names)}, first at position {position + places[0]}: "
        "remove or normalise such characters, or choose to skip unknown ones"
    )
