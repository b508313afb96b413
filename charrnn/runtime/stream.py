"""Texts as iterators: a model continues a prompt by reading each character that it has just written.

The `state` of such a stream is a `TextState`: where the text stands, from which another stream can continue it.
"""

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

Item = TypeVar("Item")

# The model writes a block of characters at a time, as long as a reader does not notice that they come in blocks.
_BLOCK_SECONDS = 0.02
_BLOCK_CHARS = 128


class _Stream(Iterator[Item]):
    """Lets the model write a block of characters ahead, and yields an item for each. For one thread alone."""

    def __init__(self, model: StepModel, start: TextState, sampler: Sampler, length: int | None) -> None:
        """length: characters to write; None is without end. Raises ConfigError where it is below 1."""
        if length is not None and length < 1:
            raise ConfigError(f"length is {length}: it must be at least 1")
        self._model = model
        self._sampler = sampler
        self._length = length
        self._written = 0
        self._block_length = 1  # so that the first character is there as soon as it can be
        self._block: npt.NDArray[np.int64] = np.empty((0, sampler.num_samples), np.int64)
        self._before_block = self._after_block = start
        self._pending: Iterator[Item] = iter(())  # what is still to be yielded of the block

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        for item in self._pending:
            return item
        self._write_block()
        return next(self._pending)

    @property
    def state(self) -> TextState:
        """Where the text stands after what was yielded, to continue from."""
        yielded = len(self._block) - length_hint(self._pending)
        if yielded == len(self._block):
            return self._after_block
        before = self._before_block.rows(self._sampler.num_samples)
        return TextState(before.memory, np.concatenate([before.unread, self._block[:yielded]]))

    def _write_block(self) -> None:
        if self._written == self._length:
            raise StopIteration
        length = self._block_length
        if self._length is not None:
            length = min(length, self._length - self._written)
        started = time.perf_counter()
        block, after = self._model.write(self._after_block, self._sampler, length)
        quick = time.perf_counter() - started < _BLOCK_SECONDS / 2
        self._block_length = min(2 * self._block_length, _BLOCK_CHARS) if quick else max(self._block_length // 2, 1)
        self._before_block, self._after_block = self._after_block, after
        self._block, self._pending = block, iter(self._items(block))
        self._written += len(block)

    @abstractmethod
    def _items(self, block: npt.NDArray[np.int64]) -> Iterable[Item]:
        """What to yield for each of the T rows of `block` [T, batch]."""


class IdStream(_Stream[npt.NDArray[np.int64]]):
    """An iterator of ids int64 [batch], the next character of each of the texts that are written side by side."""

    def _items(self, block: npt.NDArray[np.int64]) -> Iterable[npt.NDArray[np.int64]]:
        return list(block)


class TextStream(_Stream[str]):
    """An iterator of str, each one character. `state` is where the text stands after what was yielded.

    A stream belongs to one thread; any number of streams can run on one model at the same time.
    """

    def _items(self, block: npt.NDArray[np.int64]) -> Iterable[str]:
        return self._model.vocabulary.decode(block[:, 0])


def stream_ids(
    model: StepModel, prompt_ids: Ids, *, length: int | None, sampler: Sampler, state: TextState | None = None
) -> IdStream:
    """Continue a prompt `sampler.num_samples` times, side by side.

    prompt_ids: integers [T]. Where T is 0, the text starts as after the end of a line (see `start_id`).
    length: how many times ids [num_samples] are yielded; None is without end.
    state: of one text, or of num_samples texts, that the prompt continues; None begins a new text.
    Raises ConfigError and VocabularyError at the call, before anything is yielded.
    """
    return IdStream(model, start_state(model, prompt_ids, sampler.num_samples, state), sampler, length)


def start_state(model: StepModel, prompt_ids: Ids, batch: int, state: TextState | None) -> TextState:
    """Where a text, or `batch` texts, stand that begin with the prompt [T], which is yet to be read.

    state: where the texts stood that the prompt continues; None begins a new text.
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


class PromptReader(Protocol):
    """What encoding a prompt needs of a model; `OnnxModel` has it."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The V characters and their ids."""

    @property
    def normaliser(self) -> Normaliser:
        """What was done to the corpus."""


def encode_prompt(model: PromptReader, prompt: str, *, skip_unknown: bool = False) -> Ids:
    """The ids [T] of the normalised prompt.

    skip_unknown: leave out characters that the vocabulary lacks; otherwise they raise VocabularyError.
    """
    return model.vocabulary.encode(model.normaliser(prompt), skip_unknown=skip_unknown)


def start_id(vocabulary: Vocabulary) -> int:
    """The id that is read, but not shown, before a text without a prompt: of newline, else of space, else 0."""
    characters = vocabulary.characters
    return next((characters.index(start) for start in "\n " if start in characters), 0)
