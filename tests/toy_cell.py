"""A cell that is none of the real ones: two states, three gates, a bias that belongs to the product.

With gates a, b, c of sigma = sigmoid, and states `state` (h) and `memory` (m):

    m_t = sigma(x_a + u_a) * m_{t-1} + (1 - sigma(x_a + u_a)) * tanh(x_b + x_c * u_b)
    h_t = sin(m_t) * sigma(x_c + u_c)
"""

import torch
from torch import Tensor

from charrnn.model.cells import Cell, Kept, States

__all__ = ["Toy"]


class Toy(Cell):
    gates = 3
    states = ("state", "memory")
    recurrent_bias = (1,)

    def forward(self, x: Tensor, u: Tensor, states: States) -> tuple[States, Kept]:
        _, m = states
        (x_a, x_b, x_c), (u_a, u_b, u_c) = x.chunk(3, -1), u.chunk(3, -1)
        a, new, c = torch.sigmoid(x_a + u_a), torch.tanh(x_b + x_c * u_b), torch.sigmoid(x_c + u_c)
        after = a * m + (1 - a) * new
        return (torch.sin(after) * c, after), (a, new, c, after, x_c, u_b)

    def backward(
        self, gradients: States, kept: Kept, states: States
    ) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
        (dh, dm), (a, new, c, after, x_c, u_b), (_, m) = gradients, kept, states
        dm = dm + dh * c * torch.cos(after)
        da = dm * (m - new) * a * (1 - a)
        dnew = dm * (1 - a) * (1 - new * new)
        dc = dh * torch.sin(after) * c * (1 - c)
        dx = torch.cat([da, dnew, dc + dnew * u_b], -1)
        du = torch.cat([da, dnew * x_c, dc], -1)
        return dx, du, (None, dm * a)
