"""The cells as a file has them: in as few nodes as were found.

In one stream a node costs onnxruntime 0.3 to 0.5 us, whatever it computes at H = 128. There a GRU's step takes 7.5 us
instead of 9.0 (int8: 10.4 for 12.3), an LSTM's 8.8 for 10.3 (10.2 for 11.8), least of many rounds on a shared Xeon.
That these are the cells' functions, every export checks. Of what else was tried (us at H = 512 in int8, one stream and
64, GRU: 25, 350):

- a product for each gate, which needs no Split: 28, 280; with float32 weights 5 % faster, an LSTM in int8 40 % slower;
- one Sigmoid for r and z of a GRU, and a Split after it: as many nodes, and a copy more.

Sizes of splits are written out: `chunk` would become an attribute of the node that only opsets from 18 on have.
"""

from typing import TypeAlias

import torch
from torch import Tensor

from charrnn.model.cells import GRU, LSTM, Cell, Kept, States

__all__ = ["file_cell", "input_parts"]

Order: TypeAlias = tuple[int, ...]
"""Gates of a cell, in the order in which they stand in a file."""


class _GRU(GRU):
    """x is x_n alone; u has been added the rest (`input_parts`): u_r + x_r, u_z + x_z, and u_n with its bias."""

    def forward(self, x: Tensor, u: Tensor, states: States) -> tuple[States, Kept]:
        (h,) = states
        H = h.shape[-1]
        a_r, a_z, u_n = torch.split(u, [H, H, H], -1)
        n = torch.tanh(torch.sigmoid(a_r) * u_n + x)
        return (n + torch.sigmoid(a_z) * (h - n),), ()


class _LSTM(LSTM):
    """With its gates in the order i, f, o, g: those of one activation stand side by side, and share its node."""

    def forward(self, x: Tensor, u: Tensor, states: States) -> tuple[States, Kept]:
        _, c = states
        H = c.shape[-1]
        a_ifo, a_g = torch.split(u + x, [3 * H, H], -1)
        i, f, o = torch.split(torch.sigmoid(a_ifo), [H, H, H], -1)
        c = f * c + i * torch.tanh(a_g)
        return (o * torch.tanh(c), c), ()


_FILE_CELLS: dict[type[Cell], tuple[Cell, Order]] = {GRU: (_GRU(), (0, 1, 2)), LSTM: (_LSTM(), (0, 1, 3, 2))}


def input_parts(cell: Cell, x: Tensor, bias: Tensor | None) -> tuple[Tensor, ...]:
    """The input term [..., G*H] of a `file_cell`, or weights that make it: what is added to the product, if any; x.

    bias: what of it belongs to the product, [G*H]; None for zeros.
    """
    if not isinstance(cell, _GRU):
        return (x,)
    H = x.shape[-1] // 3
    x_rz, x_n = torch.split(x, [2 * H, H], -1)
    b_n = torch.zeros(H) if bias is None else bias[2 * H :]
    return torch.cat([x_rz, b_n.expand_as(x_n)], -1), x_n.contiguous()


def file_cell(cell: Cell) -> tuple[Cell, Order]:
    """`cell` as the exporter traces it, and the order of its gates there; any other cell is traced as it is."""
    return _FILE_CELLS.get(type(cell), (cell, tuple(range(cell.gates))))
