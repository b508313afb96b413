from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, Features, Value
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from charrnn.text.arrow import write_ids
from charrnn.text.encoded import EncodedStream

DTYPES = [np.dtype(name) for name in ("uint8", "uint16", "uint32")]


def ids(length: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.random.default_rng(length).integers(0, 200, length).astype(dtype)


def in_chunks(text: NDArray[Any], sizes: list[int]) -> EncodedStream:
    """Return `text` as chunks of these sizes, with 5 ids of rubbish before the first and after each."""
    places = np.cumsum([5, *(size + 5 for size in sizes)])[:-1]
    buffer = np.full(len(text) + 5 * len(sizes) + 5, 255, dtype=text.dtype)
    for place, piece in zip(places, np.split(text, np.cumsum(sizes)[:-1]), strict=True):
        buffer[place : place + len(piece)] = piece
    return EncodedStream(buffer, list(zip(places.tolist(), sizes, strict=True)))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_is_written_is_read(tmp_path: Path, dtype: np.dtype[Any]) -> None:
    text = ids(1000, dtype)
    pieces = np.split(text, [1, 1, 90, 700])
    assert write_ids(tmp_path / "ids.arrow", pieces, dtype, chunk_bytes=300) == 1000
    stream = EncodedStream.open(tmp_path / "ids.arrow")
    assert len(stream) == 1000
    assert stream.dtype == dtype
    assert len(stream._shifts) == -(-1000 * dtype.itemsize // 300)
    np.testing.assert_array_equal(stream.read(0, 1000), text)
    windows = stream.windows(np.array([997, 0, 299, 298, 5]), 3)
    assert windows.dtype == dtype
    np.testing.assert_array_equal(windows, [text[start : start + 3] for start in (997, 0, 299, 298, 5)])


@given(st.lists(st.integers(0, 7), min_size=1, max_size=6).filter(any), st.data())
def test_chunks_never_show(sizes: list[int], data: st.DataObject) -> None:
    text = ids(sum(sizes), np.dtype("uint16"))
    stream = in_chunks(text, sizes)
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, len(text)))
    np.testing.assert_array_equal(stream.read(start, stop), text[start:stop])
    length = data.draw(st.integers(1, len(text)))
    starts = np.array(data.draw(st.lists(st.integers(0, len(text) - length))), dtype=np.int64)
    expected = np.array([text[start : start + length] for start in starts], dtype=np.uint16).reshape(
        len(starts), length
    )
    np.testing.assert_array_equal(stream.windows(starts, length), expected, strict=True)


def test_the_file_is_a_data_set(tmp_path: Path) -> None:
    text = ids(700, np.dtype("uint16"))
    write_ids(tmp_path / "ids.arrow", [text], text.dtype, chunk_bytes=600)
    data_set = Dataset.from_file(str(tmp_path / "ids.arrow"))
    assert data_set.features == Features({"ids": Value("uint16")})
    assert data_set["ids"][:] == text.tolist()


def test_reading_within_a_chunk_copies_nothing(tmp_path: Path) -> None:
    write_ids(tmp_path / "ids.arrow", [ids(500, np.dtype("uint8"))], np.dtype("uint8"), chunk_bytes=400)
    stream = EncodedStream.open(tmp_path / "ids.arrow")
    assert np.shares_memory(stream.read(3, 300), stream.read(299, 400))
    assert not np.shares_memory(stream.read(3, 401), stream.read(3, 300))
    with pytest.raises(ValueError, match="read-only"):
        stream.read(0, 10)[0] = 1


@pytest.mark.parametrize("sizes", [[100], [40, 60]])
def test_bounds_are_checked(sizes: list[int]) -> None:
    stream = in_chunks(ids(100, np.dtype("uint8")), sizes)
    for start, stop in [(-1, 5), (0, 101), (6, 5), (101, 101)]:
        with pytest.raises(IndexError, match=rf"\[{start}:{stop}\] is outside a stream of 100 characters"):
            stream.read(start, stop)
    for start in (-1, 91):
        with pytest.raises(IndexError, match=rf"\[{start}:{start + 10}\] is outside a stream of 100 characters"):
            stream.windows(np.array([0, start, 3, 99]), 10)
    with pytest.raises(IndexError, match="must be at least 1"):
        stream.windows(np.array([0]), 0)
    with pytest.raises(IndexError, match="is outside"):
        stream.windows(np.array([0]), 101)
    assert stream.windows(np.array([0, 0]), 100).shape == (2, 100)
