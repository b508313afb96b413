"""The recurrence h_t = tanh(x_t + h_{t-1} W_h^T): its one definition. `backends.py` has the ways of executing it.

`x_t` is the input term with both biases already added: e_t W_e^T + b_e + b_h. Every execution has the signature

    recurrence(inputs [T, B, H], state [B, H], W_h [H, H]) -> outputs [T, B, H]        (outputs[-1] is the next state)

and is tested against `reference`, values and gradients.
"""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Recurrence", "in_autocast_dtype", "reference"]

Recurrence = Callable[[Tensor, Tensor, Tensor], Tensor]


def reference(inputs: Tensor, state: Tensor, W_h: Tensor) -> Tensor:
    """Run the recurrence as its equation reads, differentiated by autograd.

    inputs [T, B, H], state [B, H], W_h [H, H] -> outputs [T, B, H]. Equation: Elman, "Finding structure in time", 1990.
    """
    outputs = []
    for x in inputs:
        state = torch.tanh(x + state @ W_h.T)
        outputs.append(state)
    return torch.stack(outputs)


def in_autocast_dtype(run: Recurrence) -> Recurrence:
    """`run` with all three arguments in autocast's dtype where autocast is on, as matrix products take theirs."""

    @functools.wraps(run)
    def recurrence(inputs: Tensor, state: Tensor, W_h: Tensor) -> Tensor:
        device = inputs.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            inputs, state, W_h = inputs.to(dtype), state.to(dtype), W_h.to(dtype)
        with torch.autocast(device, enabled=False):
            return run(inputs, state, W_h)

    return recurrence
