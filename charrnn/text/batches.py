"""Batches: which characters every step sees. A pure function of (seed, epoch, step), so resuming needs no state.

A batch is [B, T + 1]: column t + 1 is the target of column t. B is the global batch; each process asks for its rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ConfigError, CorpusError
from charrnn.text.encoded import EncodedStream
from charrnn.text.shuffle import Order, computed_shuffle

__all__ = ["Batches", "Split", "StreamBatches", "WindowBatches", "splits"]


@dataclass(frozen=True)
class Split:
    """A contiguous range [start, stop) of a stream, with a name for messages."""

    name: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def splits(
    length: int, *, validation_fraction: float, test_fraction: float, validation_at: Literal["end", "start"] = "end"
) -> tuple[Split, Split, Split]:
    """Cut a stream of `length` characters into train, validation and test; a fraction of 0 is empty.

    In the stream they lie in this order, or the validation split first (`validation_at`).

    Raises ConfigError unless both fractions are at least 0 and together below 1.
    """
    if not (validation_fraction >= 0 and test_fraction >= 0 and validation_fraction + test_fraction < 1):
        raise ConfigError(
            f"validation fraction {validation_fraction} and test fraction {test_fraction} "
            "must be at least 0 each and together below 1, so that something is left to train on"
        )
    validation, test = round(length * validation_fraction), round(length * test_fraction)
    if validation_at == "start":
        bounds = validation, length - test, 0, validation
    else:
        bounds = 0, length - validation - test, length - validation - test, length - test
    return Split("train", *bounds[:2]), Split("validation", *bounds[2:]), Split("test", length - test, length)


class Batches(Protocol):
    """What a training loop needs of an order of batches."""

    steps_per_epoch: int
    """Batches in one pass over the split; at least 1."""
    carries_state: bool
    """Whether row i of a step continues row i of the step before, within an epoch."""

    def batch(self, epoch: int, step: int, rows: slice) -> NDArray[Any]:
        """Return these rows of the global batch: ids [len(rows), T + 1]. Raises IndexError for a step of no epoch."""
        ...


class StreamBatches:
    """The split cut into B contiguous streams of S = (len - 1) // B characters; stream i is always row i.

    Step s reads the characters s * T to (s + 1) * T of each stream, and one more as the last target. What S % T and
    (len - 1) % B leave over is not trained on.
    """

    carries_state = True

    def __init__(self, stream: EncodedStream, split: Split, *, batch_size: int, length: int) -> None:
        _check_sizes(batch_size=batch_size, length=length)
        size = (len(split) - 1) // batch_size
        if size < length:
            fits = max(len(split) - 1, 0) // length
            raise _too_short(split, batch_size, length, needed=batch_size * length + 1, fits=fits)
        self.steps_per_epoch = size // length
        self._stream = stream
        self._length = length
        self._starts = split.start + size * np.arange(batch_size, dtype=np.int64)

    def batch(self, epoch: int, step: int, rows: slice) -> NDArray[Any]:
        """See `Batches`; every epoch has the same order."""
        _check_step(epoch, step, self.steps_per_epoch)
        return self._stream.windows(self._starts[rows] + step * self._length, self._length + 1)


class WindowBatches:
    """Windows that start every `stride` characters, shuffled anew in each epoch by `shuffle(count, seed)`.

    The windows that do not fill a last batch are left out; which ones they are changes with the epoch.
    """

    carries_state = False

    def __init__(
        self,
        stream: EncodedStream,
        split: Split,
        *,
        batch_size: int,
        length: int,
        stride: int,
        seed: int,
        shuffle: Callable[[int, int], Order] = computed_shuffle,
    ) -> None:
        _check_sizes(batch_size=batch_size, length=length, stride=stride)
        count = max(0, (len(split) - length - 1) // stride + 1)
        if count < batch_size:
            raise _too_short(split, batch_size, length, needed=(batch_size - 1) * stride + length + 1, fits=count)
        self.steps_per_epoch = count // batch_size
        self._stream = stream
        self._split = split
        self._batch_size = batch_size
        self._length = length
        self._stride = stride
        self._order = shuffle(count, seed)

    def batch(self, epoch: int, step: int, rows: slice) -> NDArray[Any]:
        """See `Batches`."""
        _check_step(epoch, step, self.steps_per_epoch)
        places = step * self._batch_size + np.arange(self._batch_size, dtype=np.int64)[rows]
        windows = self._order(epoch, places)
        return self._stream.windows(self._split.start + windows * self._stride, self._length + 1)


def _check_sizes(**sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise ConfigError(f"{name.replace('_', ' ')} is {value}: it must be at least 1")


def _check_step(epoch: int, step: int, steps_per_epoch: int) -> None:
    if epoch < 0 or not 0 <= step < steps_per_epoch:
        raise IndexError(f"epoch {epoch}, step {step}: an epoch has the steps 0 to {steps_per_epoch - 1}")


def _too_short(split: Split, batch_size: int, length: int, *, needed: int, fits: int) -> CorpusError:
    problem = (
        f"the {split.name} split has {len(split)} characters, "
        f"and batch size {batch_size} with sequence length {length} needs {needed}"
    )
    if fits:
        return CorpusError(f"{problem}: the largest batch size that fits is {fits}")
    if len(split) > 1:
        return CorpusError(f"{problem}: the largest sequence length that fits is {len(split) - 1}, with batch size 1")
    return CorpusError(f"{problem}: give more text, or a larger share of it to this split")
