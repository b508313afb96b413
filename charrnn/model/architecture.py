"""What a CharRNN is made of."""

from dataclasses import dataclass
from typing import Literal

from charrnn.errors import ConfigError

__all__ = ["Architecture", "ModelConfig"]

_LARGEST = 2**20
"""Far beyond any machine's memory. Sizes that 64 bits do not hold are errors of torch's that say nothing of memory."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The part of a model that a user chooses; the vocabulary's size comes from the text."""

    embedding_size: int = 30
    """E: numbers per character at the input."""
    hidden_size: int = 500
    """H: numbers in the recurrent state of a layer."""
    cell: Literal["tanh", "gru", "lstm"] = "tanh"
    """What a layer does in a time step, see charrnn/model/cells.py: gates are worth more than width, and cost time."""
    num_layers: int = 1
    """L: recurrent layers, each reading the outputs of the one below."""
    dropout: float = 0.0
    """Share of each layer's outputs that is zeroed while training; 0 switches it off."""
    initialisation: Literal["orthogonal", "notebook"] = "orthogonal"
    """How the weights start; see charrnn/model/initialisation.py for the effect of each."""
    recurrence: Literal["auto", "native", "graphed", "fused", "cudnn", "reference"] = "auto"
    """Backend that executes the recurrence, see charrnn/model/backends.py: `reference` is the plain loop, `fused` has
    its backward pass written by hand, `native` has it in C++, `graphed` and `cudnn` need a GPU; `auto` is the fastest
    here, measured at the start of a run."""

    def __post_init__(self) -> None:
        for name in ("embedding_size", "hidden_size", "num_layers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} is {getattr(self, name)}: it must be at least 1")
            if getattr(self, name) > _LARGEST:
                raise ConfigError(f"model.{name} is {getattr(self, name)}: it must be at most {_LARGEST}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"model.dropout is {self.dropout}: it must be at least 0 and below 1")


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Architecture):
    """An architecture and the size of the vocabulary it is for: all that `CharRNN` needs."""

    vocabulary_size: int
    """V: number of distinct characters."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vocabulary_size < 1:
            raise ConfigError(f"vocabulary_size is {self.vocabulary_size}: it must be at least 1")
