"""A unit of a model, and how active it is after each character: a number from -1 to 1."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from charrnn.errors import ConfigError

__all__ = ["Unit", "activity_of", "kind_of"]


class Unit(NamedTuple):
    """One of the L x H units of a model; both numbers count from 0."""

    layer: int
    number: int

    def __str__(self) -> str:
        return f"{self.layer}:{self.number}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The unit that is written as LAYER:NUMBER. Raises ConfigError."""
        match = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", text)
        if match is None:
            raise ConfigError(f"unit {text!r} is no LAYER:NUMBER, both from 0: write it as in 0:217")
        return cls(int(match[1]), int(match[2]))

    def check(self, L: int, H: int) -> None:
        """Raises ConfigError unless a model of L layers of H units has this one."""
        if not (self.layer < L and self.number < H):
            layers = "1 layer" if L == 1 else f"{L} layers"
            raise ConfigError(f"unit {self}: the model has {layers} of {H}: name one from 0:0 to {L - 1}:{H - 1}")


def kind_of(names: Iterable[str]) -> str:
    """Which kind of state is looked at, of a model that has those of `names`: the cell of an LSTM, else the state.

    An LSTM's cell is what it keeps; its state is what it shows of that at the moment, and is 0 where it shows nothing.
    """
    names = list(names)
    return next((name for name in ("cell", "state") if name in names), names[0])


def activity_of(states: Mapping[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """How active units are, [T, L, H], of the `states` [T, L, H] by name: tanh(cell), or `state`, both in (-1, 1)."""
    kind = kind_of(states)
    return np.tanh(states[kind]) if kind == "cell" else states[kind]
