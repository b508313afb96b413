r"""The cells: what one time step does with its input and with what the layer remembers. Everything else executes these.

A layer of H units has G gates. Its input term x_t and its product u_t are the affine functions of the input e_t and of
the first state h_{t-1}, gate under gate:

    x_t = e_t W_e^T + b_e (+ b_h)        u_t = h_{t-1} W_h^T (+ b_h)        [B, G * H]

where b_h is in u_t for the gates that the cell names `recurrent_bias` and in x_t for all others. From there on a cell
is elementwise: `forward` makes the states of step t from x_t, u_t and the states of step t - 1, and `backward` carries
a gradient the other way. The first state is what the layer puts out.

Dimensions: B batch, H hidden, G gates.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

__all__ = ["CELLS", "Cell", "Kept", "States", "Tanh", "stacked"]

States: TypeAlias = tuple[Tensor, ...]
"""What a layer remembers, one tensor for each of its cell's states: [B, H]; of a model [L, B, H]."""
Kept: TypeAlias = tuple[Tensor, ...]
"""What a cell's backward pass needs of its forward pass, each [B, H]."""


class Cell(ABC):
    """One time step of a recurrent layer, elementwise, and its derivative."""

    gates: ClassVar[int]
    """G: blocks of H rows in W_e, b_e, W_h and b_h."""
    states: ClassVar[tuple[str, ...]]
    """Names of what is remembered, in files too. The first is what the layer puts out, and what W_h multiplies."""
    recurrent_bias: ClassVar[tuple[int, ...]] = ()
    """Gates whose b_h belongs to the product h W_h^T, not to the input term: what they multiply it by matters."""

    @abstractmethod
    def forward(self, x: Tensor, u: Tensor, states: States) -> tuple[States, Kept]:
        """The states after a step. x, u [B, G*H], states before it, each [B, H]. The exporter traces this, too."""

    @abstractmethod
    def backward(
        self, gradients: States, kept: Kept, states: States
    ) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
        """From the loss's gradients by the states after a step to those by what `forward` was given.

        kept: of `forward`. states: those before the step. Returns dx and du [B, G*H], and the gradients by the states
        before, each [B, H] or None for zero; what reaches the first state by way of u is added by the caller.
        """

    def split_bias(self, b_h: Tensor) -> tuple[Tensor, Tensor | None]:
        """b_h [G*H] as the part that goes with the input term, and the part that goes with the product, if any."""
        if not self.recurrent_bias:
            return b_h, None
        in_product = torch.zeros(self.gates, 1, dtype=torch.bool, device=b_h.device)
        in_product[list(self.recurrent_bias)] = True
        blocks, zero = b_h.view(self.gates, -1), b_h.new_zeros(())
        return torch.where(in_product, zero, blocks).flatten(), torch.where(in_product, blocks, zero).flatten()


class Tanh(Cell):
    """The simple recurrent network (Elman, "Finding structure in time", 1990), the notebook's:

        h_t = tanh(x_t + u_t)

    tanh'(a) = 1 - tanh(a)^2, so that h_t is all that the backward pass needs: with dh_t the gradient by h_t,

        dx_t = du_t = dh_t * (1 - h_t^2)
    """

    gates = 1
    states = ("state",)

    def forward(self, x: Tensor, u: Tensor, states: States) -> tuple[States, Kept]:
        """See `Cell`."""
        h = torch.tanh(u + x)
        return (h,), (h,)

    def backward(self, gradients: States, kept: Kept, states: States) -> tuple[Tensor, Tensor, tuple[Tensor | None]]:
        """See `Cell`."""
        ((dh,), (h,)) = gradients, kept
        da = dh * (1 - h * h)
        return da, da, (None,)


CELLS: dict[str, Cell] = {"tanh": Tanh()}
"""By the name that `--model.cell` has."""


def stacked(layers: Sequence[States]) -> States:
    """The states of all layers as one tensor [L, B, H] of each kind."""
    return tuple(torch.stack(parts) for parts in zip(*layers, strict=True))
