"""Text that goes on: an iterator that lets a model read what it writes, and knows where it stands."""

import time
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from operator import length_hint
from typing import Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Ids
from charrnn.errors import ConfigError, VocabularyError
from charrnn.runtime.sampling import Sampler
from charrnn.runtime.step_model import StepModel, TextState
from charrnn.text.normaliser import Normaliser
from charrnn.text.vocabulary import Vocabulary

__all__ = ["IdStream", "TextStream", "encode_prompt", "start_id", "start_state", "stream_ids"]

Shown = TypeVar("Shown")

# How far to write ahead: as long as it looks live.
_BLOCK_SECONDS = 0.02
_BLOCK_CHARACTERS = 128


class _Stream(Iterator[Shown]):
    """Writes ahead in blocks and shows one position at a time. It belongs to one thread; its model may have many."""

    def __init__(self, model: StepModel, start: TextState, sampler: Sampler, length: int | None) -> None:
        """Raises ConfigError where `length` is below 1; None never ends."""
        if length is not None and length < 1:
            raise ConfigError(f"length is {length}: it must be at least 1")
        self._model = model
        self._sampler = sampler
        self._length = length
        self._written = 0
        self._ahead = 1  # the first character is shown as soon as there is one
        self._before = self._after = start
        self._block: npt.NDArray[np.int64] = np.empty((0, sampler.num_samples), np.int64)
        self._pending: Iterator[Shown] = iter(())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Shown:
        for shown in self._pending:
            return shown
        self._write_block()
        return next(self._pending)

    @property
    def state(self) -> TextState:
        """Where the text stands after what was yielded, to continue from."""
        yielded = len(self._block) - length_hint(self._pending)
        if yielded == len(self._block):
            return self._after
        before = self._before.rows(self._sampler.num_samples)
        return TextState(before.memory, np.concatenate([before.unread, self._block[:yielded]]))

    def _write_block(self) -> None:
        if self._written == self._length:
            raise StopIteration
        length = self._ahead if self._length is None else min(self._ahead, self._length - self._written)
        started = time.perf_counter()
        block, after = self._model.write(self._after, self._sampler, length)
        quick = time.perf_counter() - started < _BLOCK_SECONDS / 2
        self._ahead = min(2 * self._ahead, _BLOCK_CHARACTERS) if quick else max(self._ahead // 2, 1)
        self._before, self._after = self._after, after
        self._block, self._pending = block, iter(self._show(block))
        self._written += len(block)

    @abstractmethod
    def _show(self, block: npt.NDArray[np.int64]) -> Iterable[Shown]:
        """What to yield for each position of `block` [T, batch]."""


class IdStream(_Stream[npt.NDArray[np.int64]]):
    """An iterator of ids [batch], one for each row of texts that are written side by side."""

    def _show(self, block: npt.NDArray[np.int64]) -> Iterable[npt.NDArray[np.int64]]:
        return list(block)


class TextStream(_Stream[str]):
    """An iterator of str, one character each. `state` is where the text stands after what was yielded.

    A stream belongs to one thread; any number of streams can run on one model at the same time.
    """

    def _show(self, block: npt.NDArray[np.int64]) -> Iterable[str]:
        return self._model.vocabulary.decode(block[:, 0])


def stream_ids(
    model: StepModel, prompt_ids: Ids, *, length: int | None, sampler: Sampler, state: TextState | None = None
) -> IdStream:
    """Continue a prompt `sampler.num_samples` times at once; yields ids [num_samples], `length` times (None: for ever).

    prompt_ids: integers [T]. Where T is 0 the text starts as after a line's end (see `start_id`).
    state: of one text or of num_samples texts, that the prompt continues.
    Raises ConfigError and VocabularyError at the call, before anything is yielded.
    """
    return IdStream(model, start_state(model, prompt_ids, sampler.num_samples, state), sampler, length)


def start_state(model: StepModel, prompt_ids: Ids, batch: int, state: TextState | None) -> TextState:
    """Where a text stands, or `batch` texts, after `state` (None: nothing) and a prompt [T] that is still to be read.

    Raises ConfigError where the state is of another model or number of texts, VocabularyError for ids out of range.
    """
    V = len(model.vocabulary)
    if prompt_ids.size and not (prompt_ids.min() >= 0 and prompt_ids.max() < V):
        raise VocabularyError(
            f"the prompt's ids must be at least 0 and below {V}: encode it with the model's vocabulary"
        )
    prompt = prompt_ids.astype(np.int64).reshape(-1, 1)
    if state is None:
        return TextState(model.initial_state(1), prompt if len(prompt) else np.array([[start_id(model.vocabulary)]]))
    texts = state.unread.shape[1]
    if [part.shape for part in state.memory] != [part.shape for part in model.initial_state(texts)]:
        raise ConfigError("the state is another model's: pass one that a stream of this model had")
    if texts not in (1, batch):
        raise ConfigError(f"the state is that of {texts} texts: it can continue as {texts}, not as {batch}")
    return TextState(state.memory, np.concatenate([state.unread, np.repeat(prompt, texts, axis=1)]))


class Reader(Protocol):
    """What encoding a prompt asks of a model; `OnnxModel` is one."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The V characters and their ids."""

    @property
    def normaliser(self) -> Normaliser:
        """What was done to the corpus."""


def encode_prompt(model: Reader, prompt: str, *, skip_unknown: bool = False) -> Ids:
    """The ids [T] of the normalised prompt. Raises VocabularyError unless `skip_unknown` leaves the unknown out."""
    return model.vocabulary.encode(model.normaliser(prompt), skip_unknown=skip_unknown)


def start_id(vocabulary: Vocabulary) -> int:
    """The character that stands, unseen, before a text without a prompt: newline, else space, else the first."""
    characters = vocabulary.characters
    return next((characters.index(start) for start in "\n " if start in characters), 0)
