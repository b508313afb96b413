"""Writing an encoded stream: one Arrow column in large record batches, through `datasets`."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Features, Value
from datasets.arrow_writer import ArrowWriter
from numpy.typing import NDArray

from charrnn.text.encoded import COLUMN

__all__ = ["write_ids"]


def write_ids(path: Path, pieces: Iterable[NDArray[Any]], dtype: np.dtype[Any], *, chunk_bytes: int) -> int:
    """Write the ids of `pieces` (each `dtype` [n]) to `path`, flushed to the disk, and return how many they are.

    `chunk_bytes` is the size of a record batch, of which one is held in memory.
    """
    features = Features({COLUMN: Value(str(dtype))})
    length = 0
    with path.open("wb") as file, ArrowWriter(features=features, stream=file) as writer:
        for chunk in _rechunked(pieces, np.empty(max(1, chunk_bytes // dtype.itemsize), dtype)):
            writer.write_table(pa.table({COLUMN: chunk}), writer_batch_size=len(chunk))
            length += len(chunk)
        writer.finalize(close_stream=False)
        file.flush()
        os.fsync(file.fileno())
    return length


def _rechunked(pieces: Iterable[NDArray[Any]], buffer: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield `pieces` as chunks of the buffer's size, and a rest. A chunk is overwritten when the next is asked for."""
    filled = 0
    for piece in pieces:
        while len(piece):
            taken = piece[: len(buffer) - filled]
            buffer[filled : filled + len(taken)] = taken
            filled += len(taken)
            piece = piece[len(taken) :]
            if filled == len(buffer):
                yield buffer
                filled = 0
    if filled:
        yield buffer[:filled]
