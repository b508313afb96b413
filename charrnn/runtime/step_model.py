"""What writing and scoring texts ask of a model: that it can do one step.

A step is one call of the model on one character of each text: it returns the logits of the next character, and the
state, which is what the model remembers of the texts until the next step.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Ids, Logits, Nats, State
from charrnn.runtime.sampling import Noise, Sampler, choose
from charrnn.sampling_config import SamplingConfig
from charrnn.text.vocabulary import Vocabulary

__all__ = ["StepModel", "TextState"]

_PROMPT_BLOCK_CHARS = 1024
"""Characters of a prompt that one call of `read` gets at most; fewer where V is large."""
_PROMPT_BLOCK_LOGITS = 2**21
"""Logits (8 MB) that such a call returns at most for each text, up to V = 16,384; beyond, it reads 128 characters."""
_SCORED_LOGITS = 2**18
"""Logits (1 MB) for one call of `predict`: enough to repay it, and few enough to stay in the processor's cache."""
_CHUNK_NOISE = 2**16
"""Random numbers that are drawn at a time, for as many steps as that allows: they stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class TextState:
    """Where `batch` texts stand: the state of the model, and the characters that it has not read yet.

    It is never modified, so it can be kept, and a text continued from it, any number of times.
    """

    memory: State
    """The state after the characters that were read: arrays [L, batch, H]."""
    unread: Ids
    """The characters after those, int64 [T, batch]. T is at least 1: to read the last one gives the logits of the next
    character, so that one is read only when a next one is wanted."""

    def rows(self, batch: int) -> "TextState":
        """A single text repeated `batch` times; `batch` texts as they are."""
        if self.unread.shape[1] == batch:
            return self
        memory = tuple(np.repeat(part, batch, axis=1) for part in self.memory)
        return TextState(memory, np.repeat(self.unread, batch, axis=1))


class StepModel(ABC):
    """A model that reads texts step by step; `OnnxModel` is one, and a PyTorch model can be adapted to it.

    A subclass defines `step`. It may override the methods that do many steps, where it has a faster way.
    """

    vocabulary: Vocabulary
    """The V characters and their ids."""

    @abstractmethod
    def initial_state(self, batch: int) -> State:
        """The state of `batch` texts before their first character."""

    @abstractmethod
    def step(self, token: Ids, state: State) -> tuple[Logits, State]:
        """Read `token` int64 [batch]; return the logits [batch, V] of the next character and the new state."""

    def read(self, tokens: Ids, state: State) -> tuple[Logits, State]:
        """T steps: read `tokens` int64 [T, batch], T at least 1.

        Returns the logits [T, batch, V] after each step, and the state after the last.
        """
        logits = []
        for token in tokens:
            after, state = self.step(token, state)
            logits.append(after)
        return np.stack(logits), state

    def follow(self, tokens: Ids, state: State) -> State:
        """Read `tokens` int64 [T, batch], T at least 1: the state after each step, [T, L, batch, H] for each kind."""
        states = []
        for token in tokens:
            _, state = self.step(token, state)
            states.append(state)
        return tuple(np.stack(parts) for parts in zip(*states, strict=True))

    def predict(self, ids: Ids, state: State) -> tuple[Nats, Ids, State]:
        """Read ids[:-1] of `ids` [T + 1, batch], and compare what the model predicts after each with ids[1:].

        Returns the surprise of each of ids[1:] in nats [T, batch], the likeliest character in the place of each
        [T, batch], and the state after the last step.
        """
        logits, state = self.read(np.ascontiguousarray(ids[:-1], np.int64), state)
        guesses = logits.argmax(axis=-1)
        return _surprise(logits, guesses, ids[1:]), guesses, state

    def chars_at_once(self, batch: int) -> int:
        """The T with which `predict` is fastest, in bounded memory."""
        return max(1, _SCORED_LOGITS // (batch * len(self.vocabulary)))

    def write(self, text: TextState, sampler: Sampler, length: int) -> tuple[npt.NDArray[np.int64], TextState]:
        """Continue `text`, one text or `sampler.num_samples` of them, by `length` characters, at least 1.

        Returns the characters int64 [length, sampler.num_samples], and where the texts stand after them.
        """
        text = self._read_all_but_last(text).rows(sampler.num_samples)
        ids = np.empty((length, sampler.num_samples), np.int64)
        memory = tuple(map(np.empty_like, text.memory))
        for group, group_rows in enumerate(sampler.groups):
            rows = slice(group_rows.start, group_rows.stop)
            ids[:, rows], state = self._write_group(text, sampler, group, length)
            for whole, part in zip(memory, state, strict=True):
                whole[:, rows] = part
        return ids, TextState(memory, ids[-1:])

    def _read_all_but_last(self, text: TextState) -> TextState:
        """Read all unread characters but the last: in blocks, as `read` also returns logits, which take memory."""
        memory, T = text.memory, len(text.unread) - 1
        most = max(128, _PROMPT_BLOCK_LOGITS // len(self.vocabulary))
        for start in range(0, T, _PROMPT_BLOCK_CHARS):
            block = text.unread[start : min(start + _PROMPT_BLOCK_CHARS, T)]
            # Pieces of even size, as a short rest would be read without a Scan (`OnnxModel.read`).
            for piece in np.array_split(block, -(-len(block) // most)):
                _, memory = self.read(piece, memory)
        return TextState(memory, text.unread[T:])

    def _write_group(
        self, text: TextState, sampler: Sampler, group: int, length: int
    ) -> tuple[npt.NDArray[np.int64], State]:
        """Continue the texts of one group of the sampler's rows, a chunk of noise at a time.

        Returns the chosen ids [length, rows of the group], and the state before the last of them is read.
        """
        rows = slice(sampler.groups[group].start, sampler.groups[group].stop)
        token, state = text.unread[0, rows], tuple(part[:, rows] for part in text.memory)
        chunk_length = max(1, _CHUNK_NOISE // (len(token) * len(self.vocabulary)))
        chunks = []
        for start in range(0, length, chunk_length):
            noise = sampler.noise(min(chunk_length, length - start), len(self.vocabulary), group)
            ids, state = self._write_chunk(token, state, noise, sampler.config)
            token = ids[-1]
            chunks.append(ids)
        return np.concatenate(chunks), state

    def _write_chunk(
        self, token: Ids, state: State, noise: Noise, config: SamplingConfig
    ) -> tuple[npt.NDArray[np.int64], State]:
        """T steps for noise [T, batch, K]: read `token` [batch], choose the next one, read that, and so on.

        Returns the chosen ids [T, batch], and the state before the last of them is read.
        """
        ids = []
        for numbers in noise:
            logits, state = self.step(token, state)
            token = choose(logits, numbers, config)
            ids.append(token)
        return np.stack(ids), state


def _surprise(logits: Logits, best: Ids, targets: Ids) -> Nats:
    """-log softmax(logits)[targets], [T, batch], for logits [T, batch, V], which it overwrites.

    best: the ids of the highest logits.
    """
    highest = np.take_along_axis(logits, best[..., None], axis=-1)
    with np.errstate(over="ignore"):  # a difference beyond float32 is an infinite surprise
        # (highest - target) + log(sum(exp(logits - highest))): the first term is exactly 0 for the likeliest character.
        nats = highest - np.take_along_axis(logits, targets[..., None].astype(np.intp), axis=-1)
        logits -= highest
        nats += np.log(np.exp(logits, out=logits).sum(axis=-1, keepdims=True))
    surprise: Nats = nats[..., 0]
    return surprise
