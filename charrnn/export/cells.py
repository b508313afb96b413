"""The cells as a file has them: gates of one activation stand side by side, and share its node.

In one stream a node costs onnxruntime 0.3 to 0.5 us, whatever it computes at H = 128: so a GRU's step takes 8.1 us
instead of 8.9, an LSTM's in int8 12.4 instead of 13.6. That these are the cells' functions, every export checks.
Sizes of splits are written out: `chunk` would become an attribute of the node that only opsets from 18 on have.
"""

from typing import TypeAlias

import torch
from torch import Tensor

from charrnn.model.cells import GRU, LSTM, Cell, Kept, States

__all__ = ["file_cell"]

Order: TypeAlias = tuple[int, ...]
"""Gates of a cell, in the order in which they stand in a file."""


class _GRU(GRU):
    def forward(self, x: Tensor, u: Tensor, states: States) -> tuple[States, Kept]:
        (h,) = states
        H = h.shape[-1]
        (x_rz, x_n), (u_rz, u_n) = torch.split(x, [2 * H, H], -1), torch.split(u, [2 * H, H], -1)
        r, z = torch.split(torch.sigmoid(u_rz + x_rz), [H, H], -1)
        n = torch.tanh(r * u_n + x_n)
        return (n + z * (h - n),), ()


class _LSTM(LSTM):
    """With its gates in the order i, f, o, g."""

    def forward(self, x: Tensor, u: Tensor, states: States) -> tuple[States, Kept]:
        _, c = states
        H = c.shape[-1]
        a_ifo, a_g = torch.split(u + x, [3 * H, H], -1)
        i, f, o = torch.split(torch.sigmoid(a_ifo), [H, H, H], -1)
        c = f * c + i * torch.tanh(a_g)
        return (o * torch.tanh(c), c), ()


_FILE_CELLS: dict[type[Cell], tuple[Cell, Order]] = {GRU: (_GRU(), (0, 1, 2)), LSTM: (_LSTM(), (0, 1, 3, 2))}


def file_cell(cell: Cell) -> tuple[Cell, Order]:
    """`cell` as the exporter traces it, and the order of its gates there; any other cell is traced as it is."""
    return _FILE_CELLS.get(type(cell), (cell, tuple(range(cell.gates))))
