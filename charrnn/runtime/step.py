"""One character in, the logits of the next one out: what writing asks of a model."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.runtime.sampling import Logits, Noise, Sampler, SamplingConfig, choose
from charrnn.text.vocabulary import Vocabulary

__all__ = ["Ids", "Logits", "State", "StepModel", "TextState"]

Ids: TypeAlias = npt.NDArray[np.integer[Any]]
"""Character ids, below V."""
_BLOCK = 1024
"""Characters of a prompt that are read at a time."""
State: TypeAlias = tuple[npt.NDArray[np.float32], ...]
"""What a model remembers of the text: one array [L, batch, width] for each kind of state that it has."""


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

    def write(self, text: TextState, sampler: Sampler, length: int) -> tuple[npt.NDArray[np.int64], TextState]:
        """Continue one text, or as many as the sampler draws for, by `length` characters, at least 1.

        Returns ids int64 [length, sampler.num_samples], and where the texts stand after them.
        """
        text = self._all_but_one_read(text).rows(sampler.num_samples)
        noise = sampler.noise(length, len(self.vocabulary))
        ids, state = self._write(text.unread[0], text.memory, noise, sampler.config)
        return ids, TextState(state, ids[-1:])

    def _all_but_one_read(self, text: TextState) -> TextState:
        """What is left to read is in no hurry, but the last character; in blocks, for the logits take memory."""
        memory, T = text.memory, len(text.unread) - 1
        for start in range(0, T, _BLOCK):
            _, memory = self.read(text.unread[start : min(start + _BLOCK, T)], memory)
        return TextState(memory, text.unread[T:])

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
