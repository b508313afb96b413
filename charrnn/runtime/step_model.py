"""One character in, the logits of the next one out: what writing asks of a model."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Ids, Logits, Nats, State
from charrnn.runtime.sampling import Noise, Sampler, choose
from charrnn.sampling_config import SamplingConfig
from charrnn.text.vocabulary import Vocabulary

__all__ = ["StepModel", "TextState"]

_BLOCK = 1024
"""Characters of a prompt that are read at a time, where V allows it."""
_LOGITS_OF_BLOCK = 2**21
"""Numbers (8 MB) that such a call returns at most, but for more than 16,384 characters."""
_LOGITS_AT_ONCE = 2**18
"""Numbers (1 MB) that are best scored at a time: enough to pay for a call, and few enough to stay in a cache."""
_NOISE_AT_ONCE = 2**16
"""Random numbers to draw at a time, for as many characters as that allows: they stay in the processor's caches."""


@dataclass(frozen=True, eq=False)
class TextState:
    """Where `batch` texts stand: what the model remembers, and the characters that it has yet to read.

    Nothing changes it: it can be kept, and continued from, any number of times.
    """

    memory: State
    """After all that was read: arrays [L, batch, width]."""
    unread: Ids
    """What comes next, int64 [T, batch] with T at least 1: the last character stays unread until one is to follow."""

    def rows(self, batch: int) -> "TextState":
        """One text `batch` times over; `batch` texts as they are."""
        if self.unread.shape[1] == batch:
            return self
        memory = tuple(np.repeat(part, batch, axis=1) for part in self.memory)
        return TextState(memory, np.repeat(self.unread, batch, axis=1))


class StepModel(ABC):
    """A model that reads text a character at a time; `OnnxModel` is one, a PyTorch model can be adapted to it."""

    vocabulary: Vocabulary
    """The V characters and their ids."""

    @abstractmethod
    def initial_state(self, batch: int) -> State:
        """The state of `batch` texts before their first character."""

    @abstractmethod
    def step(self, token: Ids, state: State) -> tuple[Logits, State]:
        """Read `token` int64 [batch]; return the logits [batch, V] of the next character and the new state."""

    def read(self, tokens: Ids, state: State) -> tuple[Logits, State]:
        """Read `tokens` int64 [T, batch], T at least 1; the logits [T, batch, V] after each, the state after all."""
        logits = []
        for token in tokens:
            after, state = self.step(token, state)
            logits.append(after)
        return np.stack(logits), state

    def predict(self, ids: Ids, state: State) -> tuple[Nats, Ids, State]:
        """Read all but the last of `ids` [T + 1, batch], and tell what the model thought of all but the first.

        Returns their surprise [T, batch], the likeliest characters in their places [T, batch], the state after all.
        """
        logits, state = self.read(np.ascontiguousarray(ids[:-1], np.int64), state)
        guesses = logits.argmax(axis=-1)
        return _surprise(logits, guesses, ids[1:]), guesses, state

    def chars_at_once(self, batch: int) -> int:
        """The T that `predict` does best, and in bounded memory."""
        return max(1, _LOGITS_AT_ONCE // (batch * len(self.vocabulary)))

    def write(self, text: TextState, sampler: Sampler, length: int) -> tuple[npt.NDArray[np.int64], TextState]:
        """Continue one text, or as many as the sampler draws for, by `length` characters, at least 1.

        Returns ids int64 [length, sampler.num_samples], and where the texts stand after them.
        """
        text = self._all_but_one_read(text).rows(sampler.num_samples)
        ids = np.empty((length, sampler.num_samples), np.int64)
        memory = tuple(map(np.empty_like, text.memory))
        for group, rows in enumerate(sampler.groups):
            here = slice(rows.start, rows.stop)
            ids[:, here], state = self._write_group(text, sampler, group, length)
            for whole, part in zip(memory, state, strict=True):
                whole[:, here] = part
        return ids, TextState(memory, ids[-1:])

    def _all_but_one_read(self, text: TextState) -> TextState:
        """What is left to read is in no hurry, but the last character; in blocks, for the logits take memory."""
        memory, T = text.memory, len(text.unread) - 1
        most = max(128, _LOGITS_OF_BLOCK // len(self.vocabulary))
        for start in range(0, T, _BLOCK):
            block = text.unread[start : min(start + _BLOCK, T)]
            for piece in np.array_split(block, -(-len(block) // most)):  # of even sizes: none is read another way
                _, memory = self.read(piece, memory)
        return TextState(memory, text.unread[T:])

    def _write_group(
        self, text: TextState, sampler: Sampler, group: int, length: int
    ) -> tuple[npt.NDArray[np.int64], State]:
        """The choices [length, rows] of a group of the sampler's, and the state before the last of them is read."""
        rows = slice(sampler.groups[group].start, sampler.groups[group].stop)
        token, state = text.unread[0, rows], tuple(part[:, rows] for part in text.memory)
        at_once = max(1, _NOISE_AT_ONCE // (len(token) * len(self.vocabulary)))
        written = []
        for start in range(0, length, at_once):
            noise = sampler.noise(min(at_once, length - start), len(self.vocabulary), group)
            ids, state = self._write(token, state, noise, sampler.config)
            token = ids[-1]
            written.append(ids)
        return np.concatenate(written), state

    def _write(
        self, token: Ids, state: State, noise: Noise, config: SamplingConfig
    ) -> tuple[npt.NDArray[np.int64], State]:
        """Read `token`, choose the next by the noise [T, batch, K], and so on: all choices, the last of them unread."""
        ids = []
        for numbers in noise:
            logits, state = self.step(token, state)
            token = choose(logits, numbers, config)
            ids.append(token)
        return np.stack(ids), state


def _surprise(logits: Logits, best: Ids, targets: Ids) -> Nats:
    """-log softmax(logits)[targets] [T, batch] for logits [T, batch, V], where `best` is the place of each maximum."""
    highest = np.take_along_axis(logits, best[..., None], axis=-1)
    with np.errstate(over="ignore"):  # a difference beyond float32 is an infinite surprise
        # The first part is exactly 0 for the likeliest character, however large its logit is.
        nats = highest - np.take_along_axis(logits, targets[..., None].astype(np.intp), axis=-1)
        logits -= highest
        nats += np.log(np.exp(logits, out=logits).sum(axis=-1, keepdims=True))
    surprise: Nats = nats[..., 0]
    return surprise
