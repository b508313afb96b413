"""One character in, the logits of the next one out: what generation asks of a model."""

from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.text.vocabulary import Vocabulary

__all__ = ["Ids", "Logits", "State", "StepModel"]

Ids: TypeAlias = npt.NDArray[np.integer[Any]]
"""Character ids, below V."""
Logits: TypeAlias = npt.NDArray[np.floating[Any]]
"""Unnormalised log probabilities [batch, V]."""
State: TypeAlias = tuple[npt.NDArray[np.float32], ...]
"""What a model remembers of the text: one array [L, batch, width] for each kind of state that it has."""


class StepModel(Protocol):
    """A model that reads text a character at a time; `OnnxModel` is one, a PyTorch model can be adapted to it."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The V characters and their ids."""
        ...

    def initial_state(self, batch: int) -> State:
        """The state of `batch` texts before their first character."""
        ...

    def step(self, token: Ids, state: State) -> tuple[Logits, State]:
        """Read `token` int64 [batch]; return the logits [batch, V] of the next character and the new state."""
        ...
