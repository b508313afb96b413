r"""The recurrence with backpropagation through time written by hand.

Forward, for t = 1..T, with h_0 the initial state:

    h_t = tanh(a_t),    a_t = x_t + h_{t-1} W_h^T

Backward. Let g_t be the loss's gradient by the output h_t as the layers above see it, and dh_t the whole of it: an
output also acts through every later step, by way of a_{t+1}. tanh'(a) = 1 - tanh(a)^2, so the outputs are all that the
backward pass has to remember:

    dh_t = g_t + da_{t+1} W_h              (da_{T+1} = 0)
    da_t = dh_t * (1 - h_t^2)
    dx_t = da_t        dh_0 = da_1 W_h        dW_h = sum_t da_t^T h_{t-1}

Only dh_t and da_t are tied to the order of time. dW_h is one product over all steps afterwards,
[H, T*B] x [T*B, H], instead of T small ones: that, the preallocated memory and the absence of T*3 autograd nodes are
why this is faster than the plain loop.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from charrnn.model.recurrence import in_autocast_dtype

__all__ = ["LOOPS", "Loops", "fused", "through_time"]


def _outer_products(a: Tensor, b: Tensor) -> Tensor:
    return a.T @ b


class Loops(NamedTuple):
    """The two loops over time, and the product after the second: what an execution has of its own. All contiguous."""

    forward: Callable[[Tensor, Tensor, Tensor], None]
    """inputs [T, B, H], history [T + 1, B, H], W_h: fills history, h_0, h_1, ..., h_T, of which h_0 is there."""
    backward: Callable[[Tensor, Tensor, Tensor, Tensor], None]
    """grad_outputs, grad_inputs [T, B, H], history, W_h: fills grad_inputs, da_1, ..., da_T."""
    outer_products: Callable[[Tensor, Tensor], Tensor] = _outer_products
    """a, b [T*B, H] -> sum of a_n^T b_n, [H, H]"""


class _ThroughTime(torch.autograd.Function):
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


def through_time(inputs: Tensor, state: Tensor, W_h: Tensor, loops: Loops) -> Tensor:
    """The recurrence with the backward pass above, around any loops: outputs [T, B, H]. Differentiable once."""
    outputs: Tensor = _ThroughTime.apply(inputs, state, W_h, loops)  # type: ignore[no-untyped-call]
    return outputs


def _forward(inputs: Tensor, history: Tensor, W_h: Tensor) -> None:
    history[1:] = inputs
    W_h_transposed = W_h.T
    h = history[0]
    for x in history[1:].unbind():
        h = x.addmm_(h, W_h_transposed).tanh_()  # in place: x_t's memory becomes h_t's


def _backward(grad_outputs: Tensor, grad_inputs: Tensor, history: Tensor, W_h: Tensor) -> None:
    dh = torch.empty_like(history[0])
    later: Tensor | None = None  # da_{t+1}
    steps = zip(grad_outputs.unbind(), history[1:].unbind(), grad_inputs.unbind(), strict=True)
    for g, h, da in reversed(list(steps)):
        total = g if later is None else torch.addmm(g, later, W_h, out=dh)
        torch.ops.aten.tanh_backward.grad_input(total, h, grad_input=da)
        later = da


LOOPS = Loops(_forward, _backward)


@in_autocast_dtype
def fused(inputs: Tensor, state: Tensor, W_h: Tensor) -> Tensor:
    """Run the recurrence; the same function as `charrnn.model.recurrence.reference`, with its own backward pass.

    inputs [T, B, H], state [B, H], W_h [H, H] -> outputs [T, B, H]. Differentiable once.
    """
    return through_time(inputs, state, W_h, LOOPS)
