"""A layer through time: a cell's step repeated over T. `backends.py` has the ways of executing it.

    recurrence(cell, inputs [T, B, G*H], states [B, H] each, W_h [G*H, H], b_u [G*H] or None)
        -> outputs [T, B, H], the states after the last step, [B, H] each

`inputs` are the input terms x_t, and u_t = h_{t-1} W_h^T + b_u, with b_u what the cell's `split_bias` leaves to the
product. The outputs are the first state of every step. The inputs' memory is the recurrence's to use: whoever needs
them afterwards keeps a copy. Every execution is tested against `reference`, values and
gradients.
"""

import functools
from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from charrnn.model.cells import Cell, States

__all__ = ["Recurrence", "in_autocast_dtype", "reference"]

Recurrence: TypeAlias = Callable[[Cell, Tensor, States, Tensor, Tensor | None], tuple[Tensor, States]]


def reference(cell: Cell, inputs: Tensor, states: States, W_h: Tensor, b_u: Tensor | None) -> tuple[Tensor, States]:
    """Run the recurrence as the cell's equations read, differentiated by autograd."""
    outputs = []
    for x in inputs:
        (h, *others), _ = cell.forward(x, F.linear(states[0], W_h, b_u), states)
        states = (h.to(inputs.dtype), *others)
        outputs.append(states[0])
    return torch.stack(outputs), states


def in_autocast_dtype(run: Recurrence) -> Recurrence:
    """`run` with what is multiplied in autocast's dtype, where autocast is on, and with what is added to that.

    States that no matrix multiplies, such as an LSTM's, keep their own: 8 bits would forget what they add up.
    """

    @functools.wraps(run)
    def recurrence(
        cell: Cell, inputs: Tensor, states: States, W_h: Tensor, b_u: Tensor | None
    ) -> tuple[Tensor, States]:
        device = inputs.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            inputs, W_h, b_u = inputs.to(dtype), W_h.to(dtype), None if b_u is None else b_u.to(dtype)
            states = (states[0].to(dtype), *states[1:])
        with torch.autocast(device, enabled=False):
            return run(cell, inputs, states, W_h, b_u)

    return recurrence
