# mypy: ignore-errors
"""The recurrence's two loops over time as Triton kernels: `W_h` is read once and stays on chip.

A program owns BLOCK_B rows of the batch for all T steps and all H units. Rows never need one another, so nothing waits
for anything. H is padded with zeros to BLOCK_H, a power of two, and what is padded stays zero. Products are summed in
float32; what goes on to the next step is rounded to the tensors' dtype, as it is in memory.
"""

import triton
import triton.language as tl

__all__ = ["backward", "forward"]


@triton.jit
def forward(inputs, history, W_h, T, B, H, BLOCK_B: tl.constexpr, BLOCK_H: tl.constexpr, PRECISION: tl.constexpr):
    """Fill history[1:] with h_t = tanh(x_t + h_{t-1} W_h^T).

    inputs [T, B, H], history [T + 1, B, H] with h_0 in history[0], W_h [H, H]: contiguous, of one dtype.
    """
    rows, units = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B), tl.arange(0, BLOCK_H)
    cells, inside = rows[:, None] * H + units[None, :], (rows[:, None] < B) & (units[None, :] < H)
    square = (units[:, None] < H) & (units[None, :] < H)
    W_h_transposed = tl.load(W_h + units[None, :] * H + units[:, None], mask=square, other=0.0)
    h = tl.load(history + cells, mask=inside, other=0.0)
    for _ in range(T):
        x = tl.load(inputs + cells, mask=inside, other=0.0)  # under way while the product is computed
        a = tl.dot(h, W_h_transposed, input_precision=PRECISION) + x
        h = (1 - 2 / (1 + tl.exp(2 * a))).to(h.dtype)  # tanh(a)
        inputs += B * H
        history += B * H
        tl.store(history + cells, h, mask=inside)


@triton.jit
def backward(
    grad_outputs, outputs, grad_inputs, W_h, T, B, H,
    BLOCK_B: tl.constexpr, BLOCK_H: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Fill grad_inputs with da_t = (g_t + da_{t+1} W_h) (1 - h_t^2), from the last step to the first.

    grad_outputs (g), outputs (h) and grad_inputs (da) [T, B, H], W_h [H, H]: contiguous, of one dtype.
    """
    rows, units = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B), tl.arange(0, BLOCK_H)
    cells, inside = rows[:, None] * H + units[None, :], (rows[:, None] < B) & (units[None, :] < H)
    square = (units[:, None] < H) & (units[None, :] < H)
    matrix = tl.load(W_h + units[:, None] * H + units[None, :], mask=square, other=0.0)
    da = tl.full([BLOCK_B, BLOCK_H], 0.0, matrix.dtype)
    last = tl.cast(T - 1, tl.int64) * B * H
    grad_outputs += last
    outputs += last
    grad_inputs += last
    for _ in range(T):
        g = tl.load(grad_outputs + cells, mask=inside, other=0.0)
        h = tl.load(outputs + cells, mask=inside, other=0.0).to(tl.float32)
        da = ((tl.dot(da, matrix, input_precision=PRECISION) + g) * (1 - h * h)).to(da.dtype)
        tl.store(grad_inputs + cells, da, mask=inside)
        grad_outputs -= B * H
        outputs -= B * H
        grad_inputs -= B * H
