"""The three cells through time, and the output layer with its loss, by the compiled library.

Optional: where it cannot be built, `why_not` says so and `fused` does the same.
"""

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from charrnn.model.cells import GRU, LSTM, Cell, States, Tanh
from charrnn.model.native.compiled import library
from charrnn.model.recurrence import in_autocast_dtype

__all__ = ["CELLS", "native", "native_lookup", "output_loss", "why_not"]

CELLS: tuple[type[Cell], ...] = (Tanh, GRU, LSTM)
"""Those that cells.h has."""
_SUFFIXES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


def why_not(device: torch.device, dtype: torch.dtype) -> str:
    """The reason why `native` cannot compute in `dtype` on a CPU; empty where it can."""
    if dtype not in _SUFFIXES:
        return f"it computes in float32 and bfloat16, not in {str(dtype).removeprefix('torch.')}"
    try:
        library()
    except OSError as error:
        return str(error)
    return ""


def _call(name: str, tensors: Sequence[Tensor | None], sizes: Sequence[int], threads: int) -> None:
    """Call the function `name` of library.cpp for the dtype of the first of `tensors`; None is a null pointer."""
    first, *others = tensors
    assert first is not None
    assert first[:1].is_contiguous()  # its rows may lie apart
    assert all(tensor is None or tensor.is_contiguous() for tensor in others)
    function = getattr(library(), f"{name}_{_SUFFIXES[first.dtype]}")
    pointers = (ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in tensors)
    function(*pointers, *(ctypes.c_int64(number) for number in (*sizes, threads)))


class _ThroughTime(torch.autograd.Function):
    """As the one in fused.py, which derives the backward pass. Its input terms are rows of a table.

    table [N, G*H], tokens [T, B] which row is the input term of each place. Without tokens, table [T*B, G*H] has them
    in order, and belongs to the function: what is kept of the gates takes its memory.
    """

    @staticmethod
    def forward(
        ctx: Any, cell: Cell, table: Tensor, tokens: Tensor | None, W_h: Tensor, b_u: Tensor | None, *states: Tensor
    ) -> tuple[Tensor, ...]:
        B, H = states[0].shape
        T = (len(table) if tokens is None else len(tokens.flatten())) // B
        h = table.new_empty(T + 1, B, H)
        c = h.new_empty(h.shape, dtype=torch.float32) if isinstance(cell, LSTM) else None
        for history, state in zip((h, c), states, strict=False):
            assert history is not None
            history[0] = state
        gates = table.detach() if tokens is None else _memory(T * B, len(W_h), table.dtype)
        u_n = torch.empty_like(h[1:]) if isinstance(cell, GRU) else None
        W_h = W_h.contiguous()
        _through_time("forward", cell, (table, tokens, W_h, b_u, h, c, gates, u_n), (T, B, H))
        if tokens is not None and not any(ctx.needs_input_grad):
            _spare[:] = [gates]
        ctx.save_for_backward(tokens, W_h, h, c)
        ctx.cell, ctx.kept, ctx.rows = cell, (gates, u_n), len(table)
        return h[1:], *(c[-1].to(state.dtype) for state in states[1:] if c is not None)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor, *grad_others: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.kept is None:
            raise RuntimeError("native computes its gradients once: what the forward pass kept has become them")
        tokens, W_h, h, c = ctx.saved_tensors
        (dx, u_n), ctx.kept = ctx.kept, None
        B, H = grad_outputs.shape[1:]
        # The gradient by the last state, in; what reaches the first one by no product, out.
        carry = grad_others[0].float() if grad_others else h.new_zeros(B, H, dtype=torch.float32)
        carry = carry.clone(memory_format=torch.contiguous_format)
        tensors = (grad_outputs.contiguous(), W_h, h, c, dx, u_n, carry)
        _through_time("backward", ctx.cell, tensors, grad_outputs.shape)
        # du is dx, but that of GRU's gate n
        parts = [(dx, slice(None))]
        if u_n is not None:
            parts = [(dx[:, : 2 * H], slice(2 * H)), (u_n.flatten(0, 1), slice(2 * H, None))]
        grad_h = carry if isinstance(ctx.cell, GRU) else torch.zeros_like(carry)
        grad_W_h = torch.empty_like(W_h)
        for du, rows in parts:
            grad_h += du[:B] @ W_h[rows]
            _outer_products(du, h[:-1].flatten(0, 1), grad_W_h[rows])
        grad_b_u = None
        if ctx.needs_input_grad[4] and u_n is not None:
            grad_b_u = torch.cat([dx.new_zeros(2 * H), u_n.sum((0, 1))])
        grad_table = dx
        if tokens is not None:
            grad_table = _sums(dx, tokens, ctx.rows)
            _spare[:] = [dx]
        return None, grad_table, None, grad_W_h, grad_b_u, grad_h.to(h.dtype), *([carry] if grad_others else [])


_spare: list[Tensor] = []
"""What the last pass is done with, for the next one: fresh memory is a fault of the processor for each of its pages."""


def _memory(rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    """[rows, columns], not initialised."""
    spare = _spare.pop() if _spare else None
    if spare is not None and (spare.shape, spare.dtype) == ((rows, columns), dtype):
        return spare
    return torch.empty(rows, columns, dtype=dtype)


def _through_time(name: str, cell: Cell, tensors: Sequence[Tensor | None], sizes: Sequence[int]) -> None:
    _call(f"{name}_{type(cell).__name__.lower()}", tensors, sizes, min(torch.get_num_threads(), sizes[1]))


def _outer_products(a: Tensor, b: Tensor, out: Tensor) -> None:
    """a [N, M], b [N, K] -> a^T b, into out [M, K]."""
    (N, M), K = a.shape, b.shape[1]
    if a.dtype == torch.bfloat16 and library().matrix_unit():
        torch.mm(a.T, b, out=out)  # oneDNN's is several times as fast as ours, which does not use the unit for this
    else:
        _call("outer_products", (a, b, out), (a.stride(0), N, M, K), min(torch.get_num_threads(), M))


def _threads(rows: int) -> int:
    """Threads among which `rows` are shared out: what each one adds up is in memory of its own."""
    return max(1, min(torch.get_num_threads(), rows // 128))


def _sums(rows: Tensor, places: Tensor, size: int) -> Tensor:
    """rows [N, M], places [N] -> [size, M]: the sum of the rows that have each place."""
    N, M = rows.shape
    sums = rows.new_empty(size, M, dtype=torch.float32)
    _call("sums", (rows, places, sums), (N, M, size), max(1, min(torch.get_num_threads(), M // 64)))
    return sums.to(rows.dtype)


@in_autocast_dtype
def native(cell: Cell, inputs: Tensor, states: States, W_h: Tensor, b_u: Tensor | None) -> tuple[Tensor, States]:
    """Run the recurrence; the same function as `charrnn.model.recurrence.reference`. Differentiable once."""
    return _run(cell, inputs.flatten(0, 1).contiguous(), None, states, W_h, b_u)


def native_lookup(
    cell: Cell, table: Tensor, tokens: Tensor, states: States, W_h: Tensor, b_u: Tensor | None
) -> tuple[Tensor, States]:
    """The same with table[tokens] for inputs, rows of table [V, G*H] for tokens [T, B]; these inputs never exist.

    Raises IndexError as torch does.
    """
    _check("tokens", tokens, len(table))
    lookup = in_autocast_dtype(
        lambda cell, table, states, W_h, b_u: _run(cell, table.contiguous(), tokens.contiguous(), states, W_h, b_u)
    )
    return lookup(cell, table, states, W_h, b_u)


def _run(
    cell: Cell, table: Tensor, tokens: Tensor | None, states: States, W_h: Tensor, b_u: Tensor | None
) -> tuple[Tensor, States]:
    outputs, *others = _ThroughTime.apply(cell, table, tokens, W_h, b_u, *states)  # type: ignore[no-untyped-call]
    return outputs, (outputs[-1], *others)


def _check(what: str, numbers: Tensor, end: int) -> None:
    least, most = (int(number) for number in numbers.aminmax())
    if not 0 <= least <= most < end:
        raise IndexError(f"{what} from {least} to {most}: they must be within [0, {end})")


def output_loss(
    outputs: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same as `charrnn.model.loss.in_pieces`, float32 or bfloat16, on a CPU. Raises IndexError as torch does."""
    outputs, weight, bias, targets = (each.contiguous() for each in (outputs, weight, bias, targets))
    (N, H), V = outputs.shape, len(weight)
    _check("targets", targets, V)
    grad_outputs, grad_weight = torch.empty_like(outputs), torch.empty_like(weight, dtype=torch.float32)
    grad_bias, sums = grad_weight.new_empty(V), torch.empty(2, dtype=torch.float64)
    tensors = (outputs, weight, bias, targets, grad_outputs, grad_weight, grad_bias, sums, torch.tensor(scale))
    _call("output_loss", tensors, (N, V, H), _threads(N))
    return sums.float(), grad_outputs, grad_weight.mul_(scale), grad_bias.mul_(scale)
