"""The arrays that pass between rooms, in numpy's terms.

B batch (texts side by side), T time, H hidden, V vocabulary, L layers.
"""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Ids", "Logits", "Nats", "State"]

Ids: TypeAlias = npt.NDArray[np.integer[Any]]
"""Character ids, below V."""
Logits: TypeAlias = npt.NDArray[np.floating[Any]]
"""Unnormalised log probabilities [B, V]."""
Nats: TypeAlias = npt.NDArray[np.floating[Any]]
"""The surprise of characters: the negative logarithms of their probabilities."""
State: TypeAlias = tuple[npt.NDArray[np.float32], ...]
"""What a model remembers of the texts that it reads: one array [L, B, H] for each kind of state that its cell has."""
