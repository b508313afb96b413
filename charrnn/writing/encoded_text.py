"""The text that is scored, as the model's ids, a piece at a time and so in bounded memory."""

from collections.abc import Iterable, Iterator

import numpy as np

from charrnn.arrays import Ids
from charrnn.errors import VocabularyError
from charrnn.runtime import OnnxModel

__all__ = ["EncodedText"]


class EncodedText(Iterable[Ids]):
    """The ids of a text, a piece at a time; what it has seen of the text stands in its attributes."""

    def __init__(self, model: OnnxModel, source: str, pieces: Iterable[str], skip_unknown: bool, *, keep: int) -> None:
        """keep: how many characters `beginning` is to have, at most."""
        self._model, self._source, self._pieces, self._skip = model, source, pieces, skip_unknown
        self._room, self._kept = keep, list[Ids]()
        self.left_out = 0
        """Unknown characters that were skipped."""

    def __iter__(self) -> Iterator[Ids]:
        """Raises VocabularyError for an unknown character that is not to be skipped."""
        position = 0
        for piece in self._model.normaliser.stream(self._pieces):
            try:
                ids = self._model.vocabulary.encode(piece, skip_unknown=self._skip, position=position)
            except VocabularyError as error:
                raise VocabularyError(f"{self._source}: {error} (--skip-unknown)") from error
            position += len(piece)
            self.left_out += len(piece) - len(ids)
            self._keep(ids)
            yield ids

    @property
    def beginning(self) -> Ids:
        """The ids of the text's first characters, of as much as was read of it."""
        return np.concatenate(self._kept) if self._kept else np.empty(0, self._model.vocabulary.dtype)

    def _keep(self, ids: Ids) -> None:
        if self._room and len(ids):
            self._kept.append(ids[: self._room])
            self._room -= len(self._kept[-1])
