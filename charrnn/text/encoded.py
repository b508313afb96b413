"""The encoded stream: one text as ids on disk, memory-mapped; a window into it is a slice."""

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

__all__ = ["COLUMN", "EncodedStream"]

COLUMN = "ids"
"""The name of the only column of the data set on disk."""


class EncodedStream:
    """Ids of a text's characters: consecutive chunks that lie in one buffer, with gaps between.

    The buffer is the whole Arrow file and the chunks are its record batches. As they share it, windows of all chunks
    are gathered at once; gathering chunk by chunk was measured to be three times slower with three of them.
    """

    def __init__(self, buffer: NDArray[Any], chunks: list[tuple[int, int]]) -> None:
        """Take the chunks `(place, length)` of `buffer` (unsigned integers [n]), in the order of the text."""
        self._buffer = buffer
        # Chunk c holds the positions starts[c] to starts[c + 1], and position p is buffer[p + shifts[c]].
        self._starts = np.cumsum([0, *(length for _, length in chunks)], dtype=np.int64)
        self._shifts = np.array([place for place, _ in chunks], dtype=np.int64) - self._starts[:-1]
        self._length = int(self._starts[-1])
        self._views: dict[int, NDArray[Any]] = {}

    @classmethod
    def of(cls, ids: NDArray[Any]) -> Self:
        """Return the stream of ids [n] in memory."""
        return cls(ids, [(0, len(ids))])

    @classmethod
    def open(cls, path: Path) -> Self:
        """Memory-map the Arrow file `path` that `charrnn.text.arrow` wrote."""
        # Not through `datasets`, which can read it too: it does not tell where in the file a record batch lies.
        import pyarrow as pa

        with pa.memory_map(str(path)) as file:
            content = file.read_buffer()
        with pa.ipc.open_stream(content) as reader:
            chunks = reader.read_all().column(COLUMN).chunks
        dtype = np.dtype(str(chunks[0].type))
        buffer = np.frombuffer(content, dtype, count=content.size // dtype.itemsize)
        # By their buffers' addresses: a chunk's own to_numpy() imports pandas, which takes half a second.
        places = [(chunk.buffers()[1].address - content.address) // dtype.itemsize + chunk.offset for chunk in chunks]
        return cls(buffer, list(zip(places, map(len, chunks), strict=True)))

    def __len__(self) -> int:
        return self._length

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the ids: uint8, uint16 or uint32."""
        return self._buffer.dtype

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return ids [stop - start]: a view where one chunk holds them all. Raises IndexError out of bounds."""
        if not 0 <= start <= stop <= self._length:
            raise IndexError(f"[{start}:{stop}] is outside a stream of {self._length} characters")
        first, last = self._chunk_of(np.array([start, max(start, stop - 1)]))
        pieces = []
        for chunk in range(first, last + 1):
            begin, end = max(start, self._starts[chunk]), min(stop, self._starts[chunk + 1])
            pieces.append(self._buffer[begin + self._shifts[chunk] : end + self._shifts[chunk]])
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def windows(self, starts: NDArray[np.int64], length: int) -> NDArray[Any]:
        """Return ids [len(starts), length], row i from position starts[i]. Raises IndexError out of bounds."""
        if length < 1:
            raise IndexError(f"a window of {length} characters is none: its length must be at least 1")
        if not len(starts):
            return np.empty((0, length), self.dtype)
        # As an unsigned number a negative start is beyond every end: one reduction checks both bounds.
        if int(starts.astype(np.uint64).max()) > self._length - length:
            outside = starts[(starts < 0) | (starts > self._length - length)][0]
            raise IndexError(f"[{outside}:{outside + length}] is outside a stream of {self._length} characters")
        chunks = self._chunk_of(starts)
        result = self._view(length)[starts + self._shifts[chunks]]
        crossing = starts + length > self._starts[chunks + 1]
        if crossing.any():  # these rows have read the gap: there are few borders, so one by one will do
            for row in np.flatnonzero(crossing):
                result[row] = self.read(int(starts[row]), int(starts[row]) + length)
        return result

    def _chunk_of(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(self._starts[1:-1], positions, side="right")

    def _view(self, length: int) -> NDArray[Any]:
        """Return all windows of the buffer as one view; making it costs as much as gathering 64, so it is kept."""
        view = self._views.get(length)
        if view is None:
            view = self._views[length] = sliding_window_view(self._buffer, length)
        return view
