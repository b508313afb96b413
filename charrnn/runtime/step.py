"""One character in, the logits of the next one out: what writing asks of a model."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from charrnn.runtime.sampling import Sampler

__all__ = ["Ids", "Logits", "State", "StepModel", "TextState"]

Ids: TypeAlias = npt.NDArray[np.integer[Any]]
"""Character ids, below V."""
Logits: TypeAlias = npt.NDArray[np.floating[Any]]
"""Unnormalised log probabilities [batch, V]."""
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

    def read(self, tokens: Ids, state: State) -> State:
        """Read `tokens` int64 [T, batch]; return the state after them."""
        for token in tokens:
            _, state = self.step(token, state)
        return state

    def write(self, text: TextState, sampler: "Sampler", length: int) -> tuple[npt.NDArray[np.int64], TextState]:
        """Continue one text, or as many as the sampler draws for, by `length` characters.

        Returns ids int64 [length, sampler.num_samples], and where the texts stand after them.
        """
        text = self._all_but_one_read(text).rows(sampler.num_samples)
        token, state = text.unread[0], text.memory
        ids = np.empty((length, sampler.num_samples), np.int64)
        for t in range(length):
            logits, state = self.step(token, state)
            token = ids[t] = sampler.choose(logits)
        return ids, TextState(state, ids[-1:])

    def _all_but_one_read(self, text: TextState) -> TextState:
        return TextState(self.read(text.unread[:-1], text.memory), text.unread[-1:])
