"""The ways of executing the recurrence: one table. Another one is one more entry in `BACKENDS`.

A backend that was asked for by name runs or raises. `auto` is, at the start of a run, what `measurement.py` finds the
fastest; where nothing has been measured, the first of the table that can run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from charrnn.errors import ConfigError
from charrnn.model import cudnn, native
from charrnn.model.cells import GRU, LSTM, Cell, States, Tanh
from charrnn.model.fused import fused
from charrnn.model.graphed import graphed
from charrnn.model.loss import LossAndGradients, in_pieces
from charrnn.model.recurrence import Recurrence, reference

__all__ = ["BACKENDS", "Backend", "choose"]

Layer: TypeAlias = Callable[[Cell, Tensor, States, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, States]]
"""A whole layer: cell, its inputs [T, B, E], states, W_e, b_e, W_h, b_h -> outputs [T, B, H], states after."""

Lookup: TypeAlias = Callable[[Cell, Tensor, Tensor, States, Tensor, Tensor | None], tuple[Tensor, States]]
"""A `Recurrence` whose inputs [T, B, G*H] are table[tokens]: table [V, G*H] and tokens [T, B] in their place."""


@dataclass(frozen=True, kw_only=True)
class Backend:
    """One way of executing the recurrence."""

    run: Recurrence
    lookup: Lookup | None = None
    """The same for inputs that are rows of a table, where that is faster than to copy the rows and then `run`."""
    layer: Layer | None = None
    """A whole layer in one, where that is faster than the input terms and then `run`."""
    device: str = ""
    """The type of device that it runs on; empty: any."""
    cells: tuple[type[Cell], ...] = (Cell,)
    """The cells that it has."""
    why_not: Callable[[torch.device, torch.dtype], str] = lambda device, dtype: ""
    """The reason why it cannot compute in a dtype on a device of its type; empty where it can."""
    loss: LossAndGradients = in_pieces
    """The output layer and its loss that go with it."""

    def refusal(self, cell: Cell, device: torch.device, dtype: torch.dtype) -> str:
        """Why it cannot run `cell` on `device` in `dtype`; empty where it can."""
        if self.device not in ("", device.type):
            return f"it runs on {self.device}, not on {device.type}"
        if not isinstance(cell, self.cells):
            return f"it has no cell {type(cell).__name__.lower()}"
        return self.why_not(device, dtype)

    def run_layer(
        self, cell: Cell, inputs: Tensor, states: States, W_e: Tensor, b_e: Tensor, W_h: Tensor, b_h: Tensor
    ) -> tuple[Tensor, States]:
        """A layer on its inputs [T, B, E]: outputs [T, B, H] and the states after the last step."""
        if self.layer is not None:
            return self.layer(cell, inputs, states, W_e, b_e, W_h, b_h)
        terms = cell.input_terms(inputs, W_e, b_e, b_h)
        return self.run(cell, terms, states, W_h, cell.split_bias(b_h)[1])

    def run_bottom_layer(
        self,
        cell: Cell,
        tokens: Tensor,
        embedding: Tensor,
        states: States,
        W_e: Tensor,
        b_e: Tensor,
        W_h: Tensor,
        b_h: Tensor,
    ) -> tuple[Tensor, States]:
        """The same on embedding[tokens]: tokens [T, B], embedding [V, E].

        One row of input terms a character instead of one product a place: V is far below B * T.
        """
        if self.layer is not None:
            return self.layer(cell, F.embedding(tokens, embedding), states, W_e, b_e, W_h, b_h)
        table = cell.input_terms(embedding, W_e, b_e, b_h)
        return self.run_lookup(cell, table, tokens, states, W_h, cell.split_bias(b_h)[1])

    def run_lookup(
        self, cell: Cell, table: Tensor, tokens: Tensor, states: States, W_h: Tensor, b_u: Tensor | None
    ) -> tuple[Tensor, States]:
        """`run` on table[tokens], table [V, G*H] and tokens [T, B]."""
        if self.lookup is not None:
            return self.lookup(cell, table, tokens, states, W_h, b_u)
        # A lookup whose gradient is one index_add: F.embedding's took three times as long on a CPU.
        inputs = table.index_select(0, tokens.flatten()).view(*tokens.shape, -1)
        return self.run(cell, inputs, states, W_h, b_u)


BACKENDS: dict[str, Backend] = {
    "native": Backend(
        run=native.native,
        lookup=native.native_lookup,
        device="cpu",
        cells=native.CELLS,
        why_not=native.why_not,
        loss=native.output_loss,
    ),
    "graphed": Backend(run=graphed, device="cuda", cells=(Tanh,)),
    "cudnn": Backend(run=cudnn.cudnn, layer=cudnn.layer, device="cuda", cells=(Tanh, GRU, LSTM), why_not=cudnn.why_not),
    "fused": Backend(run=fused),
    "reference": Backend(run=reference),
}
"""By name; where nothing is measured, the first that can run is taken."""


def choose(name: str, cell: Cell, device: torch.device, dtype: torch.dtype, measured: str = "") -> str:
    """The backend that `name` means for `cell` on `device` in `dtype`: itself, or where it is `auto`, one that can run.

    That is `measured`, the choice of a measurement, where it can run there, else the first of the table. Raises
    ConfigError where a backend that was asked for by name is unknown or cannot run.
    """
    if name == "auto":
        able = (entry for entry in (measured, *BACKENDS) if entry in BACKENDS)
        return next(entry for entry in able if not BACKENDS[entry].refusal(cell, device, dtype))
    known = ", ".join(["auto", *BACKENDS])
    reason = BACKENDS[name].refusal(cell, device, dtype) if name in BACKENDS else f"there is none, only {known}"
    if reason:
        raise ConfigError(f"model.recurrence is {name}: {reason}: give --model.recurrence auto")
    return name
