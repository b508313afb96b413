"""The encoded stream: one text as ids on disk, memory-mapped; a window into it is a slice."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

__all__ = ["COLUMN", "EncodedStream"]

COLUMN = "ids"
"""The name of the only column of the data set on disk."""


class EncodedStream:
    """Ids of a text's characters, in one or more chunks of consecutive ids that all have the same unsigned type."""

    def __init__(self, chunks: Sequence[NDArray[Any]]) -> None:
        self._chunks = [chunk for chunk in chunks if len(chunk)] or list(chunks[:1])
        self._dtype = self._chunks[0].dtype
        # Chunk c holds the positions offsets[c] to offsets[c + 1].
        self._offsets = np.cumsum([0, *map(len, self._chunks)], dtype=np.int64)
        self._length = int(self._offsets[-1])
        self._views: dict[int, list[NDArray[Any]]] = {}

    @classmethod
    def open(cls, path: Path) -> Self:
        """Memory-map the Arrow file `path` that `charrnn.text.prepare` wrote."""
        from datasets import Dataset  # a second to import, and not needed for a stream in memory

        column = Dataset.from_file(str(path)).data.column(COLUMN)
        return cls([chunk.to_numpy(zero_copy_only=True) for chunk in column.chunks])

    def __len__(self) -> int:
        return self._length

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the ids: uint8, uint16 or uint32."""
        return self._dtype

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return ids [stop - start]: a view where one chunk holds them all. Raises IndexError out of bounds."""
        if not 0 <= start <= stop <= self._length:
            raise IndexError(f"[{start}:{stop}] is outside a stream of {self._length} characters")
        first, last = np.searchsorted(self._offsets[1:-1], [start, max(start, stop - 1)], side="right")
        offsets = self._offsets.tolist()
        pieces = [
            self._chunks[chunk][max(0, start - offsets[chunk]) : stop - offsets[chunk]]
            for chunk in range(first, last + 1)
        ]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def windows(self, starts: NDArray[np.int64], length: int) -> NDArray[Any]:
        """Return ids [len(starts), length], row i from position starts[i]. Raises IndexError out of bounds."""
        if length < 1:
            raise IndexError(f"a window of {length} characters is none: its length must be at least 1")
        if len(starts) and not 0 <= starts.min() <= starts.max() <= self._length - length:
            outside = starts[(starts < 0) | (starts > self._length - length)][0]
            raise IndexError(f"[{outside}:{outside + length}] is outside a stream of {self._length} characters")
        if len(self._chunks) == 1 and len(starts):
            return self._windows_of(0, length)[starts]
        return self._gather(starts, length)

    def _gather(self, starts: NDArray[np.int64], length: int) -> NDArray[Any]:
        """Collect windows chunk by chunk, and those that cross a border one by one (there are few borders)."""
        result = np.empty((len(starts), length), dtype=self._dtype)
        chunk_of = np.searchsorted(self._offsets[1:-1], starts, side="right")
        crosses = starts + length > self._offsets[chunk_of + 1]
        for row in np.flatnonzero(crosses):
            result[row] = self.read(int(starts[row]), int(starts[row]) + length)
        for chunk in np.unique(chunk_of[~crosses]):
            rows = (chunk_of == chunk) & ~crosses
            result[rows] = self._windows_of(chunk, length)[starts[rows] - self._offsets[chunk]]
        return result

    def _windows_of(self, chunk: int, length: int) -> NDArray[Any]:
        """Return all windows of a chunk as one view; making it costs as much as gathering 64 rows, so it is kept."""
        views = self._views.get(length)
        if views is None:
            views = [sliding_window_view(ids, length) if len(ids) >= length else ids for ids in self._chunks]
            self._views[length] = views
        return views[chunk]
