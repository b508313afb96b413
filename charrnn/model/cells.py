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
import torch.nn.functional as F
from torch import Tensor

__all__ = ["CELLS", "GRU", "LSTM", "Cell", "Kept", "States", "Tanh", "stacked"]

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

    def input_terms(self, inputs: Tensor, W_e: Tensor, b_e: Tensor, b_h: Tensor) -> Tensor:
        """Inputs e_t [..., E] -> x_t [..., G*H]."""
        return F.linear(inputs, W_e, b_e + self.split_bias(b_h)[0])

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


class GRU(Cell):
    r"""The gated recurrent unit (Cho et al. 2014), in the form of cuDNN and PyTorch: reset after the product.

    Gates r (reset), z (update), n (new), with s the logistic sigmoid and * elementwise:

        r = s(x_r + u_r)    z = s(x_z + u_z)    n = tanh(x_n + r * u_n)
        h_t = (1 - z) * n + z * h_{t-1}

    u_n has its bias: r multiplies that, too. Backward, with dh the gradient by h_t and s' = s (1 - s):

        dn = dh * (1 - z) * (1 - n^2)       by x_n; times r by u_n
        dz = dh * (h_{t-1} - n) * z * (1 - z)
        dr = dn * u_n * r * (1 - r)
        dh_{t-1} = dh * z                   beside what comes through u
    """

    gates = 3
    states = ("state",)
    recurrent_bias = (2,)

    def forward(self, x: Tensor, u: Tensor, states: States) -> tuple[States, Kept]:
        """See `Cell`."""
        (x_r, x_z, x_n), (u_r, u_z, u_n) = x.chunk(3, -1), u.chunk(3, -1)
        r, z = torch.sigmoid(u_r + x_r), torch.sigmoid(u_z + x_z)
        n = torch.tanh(r * u_n + x_n)
        h = n + z * (states[0] - n)
        return (h,), (r, z, n, u_n)

    def backward(
        self, gradients: States, kept: Kept, states: States
    ) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
        """See `Cell`."""
        ((dh,), (r, z, n, u_n), (h,)) = gradients, kept, states
        dn = dh * (1 - z) * (1 - n * n)
        dz = dh * (h - n) * z * (1 - z)
        dr = dn * u_n * r * (1 - r)
        return torch.cat([dr, dz, dn], -1), torch.cat([dr, dz, dn * r], -1), (dh * z,)


class LSTM(Cell):
    r"""Long short-term memory (Hochreiter & Schmidhuber 1997) with the forget gate of Gers et al. (2000).

    Gates i (input), f (forget), g (candidate), o (output), with a = x + u, s the logistic sigmoid and * elementwise:

        i = s(a_i)    f = s(a_f)    g = tanh(a_g)    o = s(a_o)
        c_t = f * c_{t-1} + i * g        h_t = o * tanh(c_t)

    Backward, with dh and dc the gradients by h_t and c_t, and s' = s (1 - s):

        dc += dh * o * (1 - tanh(c_t)^2)
        da_i = dc * g * s'    da_f = dc * c_{t-1} * s'    da_g = dc * i * (1 - g^2)    da_o = dh * tanh(c_t) * s'
        dx = du = da          dc_{t-1} = dc * f
    """

    gates = 4
    states = ("state", "cell")

    def forward(self, x: Tensor, u: Tensor, states: States) -> tuple[States, Kept]:
        """See `Cell`."""
        a_i, a_f, a_g, a_o = (u + x).chunk(4, -1)
        i, f, g, o = torch.sigmoid(a_i), torch.sigmoid(a_f), torch.tanh(a_g), torch.sigmoid(a_o)
        c = f * states[1] + i * g
        tanh_c = torch.tanh(c)
        return (o * tanh_c, c), (i, f, g, o, tanh_c)

    def backward(
        self, gradients: States, kept: Kept, states: States
    ) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
        """See `Cell`."""
        (dh, dc), (i, f, g, o, tanh_c), (_, c) = gradients, kept, states
        dc = dc + dh * o * (1 - tanh_c * tanh_c)
        gates = [dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g), dh * tanh_c * o * (1 - o)]
        da = torch.cat(gates, -1)
        return da, da, (None, dc * f)


CELLS: dict[str, Cell] = {"tanh": Tanh(), "gru": GRU(), "lstm": LSTM()}
"""By the name that `--model.cell` has."""


def stacked(layers: Sequence[States]) -> States:
    """The states of all layers as one tensor [L, B, H] of each kind."""
    return tuple(torch.stack(parts) for parts in zip(*layers, strict=True))
