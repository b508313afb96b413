r"""The recurrence with backpropagation through time written by hand, for any cell.

Forward, for t = 1..T, with s_0 the states before the text, h_t the first of s_t, and f the cell's `forward`:

    u_t = h_{t-1} W_h^T + b_u        s_t = f(x_t, u_t, s_{t-1})

Backward. Let g_t be the loss's gradient by the output h_t as the layers above see it, and ds_t the whole gradient by
the states s_t, which also act through every later step. From the last step to the first, with b the cell's `backward`:

    dx_t, du_t, ds_{t-1} = b(ds_t + g_t, ...)        ds_{t-1} += du_t W_h        (both by the first state)
    dW_h = sum_t du_t^T h_{t-1}        db_u = sum_t du_t

Only ds_t is tied to the order of time. dW_h is one product over all steps afterwards, [G*H, T*B] x [T*B, H], instead of
T small ones: that, and the absence of T nodes of autograd, are why this is faster than the plain loop. For `tanh` the
two loops work in place in preallocated memory: `Loops`, of which `native` and `graphed` have their own.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from charrnn.model.cells import Cell, Kept, States, Tanh
from charrnn.model.recurrence import Recurrence, in_autocast_dtype

__all__ = ["LOOPS", "Loops", "any_cell", "fused", "tanh_by"]


class _ThroughTime(torch.autograd.Function):
    """Any cell. Returns the outputs [T, B, H] and, after the last step, the states but for the first."""

    @staticmethod
    def forward(
        ctx: Any, cell: Cell, inputs: Tensor, W_h: Tensor, b_u: Tensor | None, *states: Tensor
    ) -> tuple[Tensor, ...]:
        steps: list[tuple[States, Kept]] = []  # of each: the states before it, and what it keeps
        after: States = states
        outputs = []
        for x in inputs:
            before = after
            (h, *others), kept = cell.forward(x, F.linear(before[0], W_h, b_u), before)
            after = (h.to(x.dtype), *others)  # the others may be wider
            steps.append((before, kept))
            outputs.append(after[0])
        ctx.cell, ctx.kept_per_step = cell, len(kept)
        ctx.save_for_backward(W_h, *(tensor for before, kept in steps for tensor in (*before, *kept)))
        return torch.stack(outputs), *after[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor, *grad_others: Tensor) -> tuple[Tensor | None, ...]:
        W_h, *saved = ctx.saved_tensors
        states = len(ctx.cell.states)
        per_step = states + ctx.kept_per_step
        dx, du = [], []
        gradients: list[Tensor] = [torch.zeros_like(grad_outputs[0]), *grad_others]
        for t in reversed(range(len(grad_outputs))):
            here = saved[t * per_step : (t + 1) * per_step]
            gradients[0] = gradients[0] + grad_outputs[t]
            dx_t, du_t, before = ctx.cell.backward(tuple(gradients), tuple(here[states:]), tuple(here[:states]))
            dx.append(dx_t.to(W_h.dtype))
            du.append(du_t.to(W_h.dtype))
            gradients = [torch.zeros_like(here[k]) if each is None else each for k, each in enumerate(before)]
            gradients[0] = torch.addmm(gradients[0].to(W_h.dtype), du[-1], W_h)
        dx.reverse()
        du.reverse()
        all_du = torch.stack(du).flatten(0, 1)
        dW_h = all_du.T @ torch.cat(saved[::per_step])
        db_u = all_du.sum(0) if ctx.needs_input_grad[3] else None
        return None, torch.stack(dx), dW_h, db_u, *gradients


def _outer_products(a: Tensor, b: Tensor) -> Tensor:
    return a.T @ b


class Loops(NamedTuple):
    """`tanh`: the two loops over time, and the product after the second. All tensors are contiguous."""

    forward: Callable[[Tensor, Tensor, Tensor], None]
    """inputs [T, B, H], history [T + 1, B, H], W_h: fills history, h_0, h_1, ..., h_T, of which h_0 is there."""
    backward: Callable[[Tensor, Tensor, Tensor, Tensor], None]
    """grad_outputs, grad_inputs [T, B, H], history, W_h: fills grad_inputs, dx_1, ..., dx_T."""
    outer_products: Callable[[Tensor, Tensor], Tensor] = _outer_products
    """a, b [T*B, H] -> sum of a_n^T b_n, [H, H]"""


class _TanhThroughTime(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, state: Tensor, W_h: Tensor, loops: Loops) -> Tensor:
        history = inputs.new_empty(inputs.shape[0] + 1, *state.shape)
        history[0] = state
        W_h = W_h.contiguous()
        loops.forward(inputs.contiguous(), history, W_h)
        ctx.save_for_backward(history, W_h)
        ctx.loops = loops
        return history[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        history, W_h = ctx.saved_tensors
        grad_inputs = torch.empty_like(grad_outputs, memory_format=torch.contiguous_format)
        ctx.loops.backward(grad_outputs.contiguous(), grad_inputs, history, W_h)
        grad_state = grad_inputs[0] @ W_h if ctx.needs_input_grad[1] else None
        grad_W_h = None
        if ctx.needs_input_grad[2]:
            grad_W_h = ctx.loops.outer_products(grad_inputs.flatten(0, 1), history[:-1].flatten(0, 1)).to(W_h.dtype)
        return grad_inputs, grad_state, grad_W_h, None


def tanh_by(loops: Loops) -> Recurrence:
    """The recurrence of `tanh` alone by its loops over time. Differentiable once."""

    @in_autocast_dtype
    def run(cell: Cell, inputs: Tensor, states: States, W_h: Tensor, b_u: Tensor | None) -> tuple[Tensor, States]:
        assert isinstance(cell, Tanh)
        assert b_u is None
        outputs: Tensor = _TanhThroughTime.apply(inputs, *states, W_h, loops)  # type: ignore[no-untyped-call]
        return outputs, (outputs[-1],)

    return run


def _forward(inputs: Tensor, history: Tensor, W_h: Tensor) -> None:
    history[1:] = inputs
    W_h_transposed = W_h.T
    h = history[0]
    for x in history[1:].unbind():
        h = x.addmm_(h, W_h_transposed).tanh_()  # in place: x_t's memory becomes h_t's


def _backward(grad_outputs: Tensor, grad_inputs: Tensor, history: Tensor, W_h: Tensor) -> None:
    dh = torch.empty_like(history[0])
    later: Tensor | None = None  # du_{t+1}
    steps = zip(grad_outputs.unbind(), history[1:].unbind(), grad_inputs.unbind(), strict=True)
    for g, h, du in reversed(list(steps)):
        total = g if later is None else torch.addmm(g, later, W_h, out=dh)
        torch.ops.aten.tanh_backward.grad_input(total, h, grad_input=du)
        later = du


LOOPS = Loops(_forward, _backward)
_tanh_in_place = tanh_by(LOOPS)


@in_autocast_dtype
def fused(cell: Cell, inputs: Tensor, states: States, W_h: Tensor, b_u: Tensor | None) -> tuple[Tensor, States]:
    """Run the recurrence; the same function as `charrnn.model.recurrence.reference`. Differentiable once."""
    if isinstance(cell, Tanh):
        return _tanh_in_place(cell, inputs, states, W_h, b_u)
    return any_cell(cell, inputs, states, W_h, b_u)


def any_cell(cell: Cell, inputs: Tensor, states: States, W_h: Tensor, b_u: Tensor | None) -> tuple[Tensor, States]:
    """The same by `cell.forward` and `cell.backward` alone."""
    outputs, *others = _ThroughTime.apply(cell, inputs, W_h, b_u, *states)  # type: ignore[no-untyped-call]
    return outputs, (outputs[-1], *others)
