r"""The output layer and its loss in one: no more than a piece of the logits ever exists, and each is read once.

For one position with output h [H], target y and logits z = W_o h + b_o, the loss is the cross-entropy in nats and its
gradient by the logits is the softmax less the target:

    loss = log(sum_v exp z_v) - z_y        dz = softmax(z) - onehot(y)
    dh = W_o^T dz        dW_o = sum dz h^T        db_o = sum dz

So the gradient is at hand where the loss is, and the forward pass computes both: [N, V] logits, their softmax and its
gradient, which for V = 4000 are most of a step's memory, are never whole.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["LossAndGradients", "in_pieces", "output_loss"]

LossAndGradients = Callable[[Tensor, Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor, Tensor, Tensor]]
"""What computes the loss and its gradients: `in_pieces`, or another execution of it."""

PIECE = 2**21
"""Logits of a piece: 8 MB of float32."""


def in_pieces(
    outputs: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The loss and its gradients by `outputs`, `weight` and `bias`, times `scale`; the losses in float32 at least.

    outputs [N, H], weight [V, H], bias [V], targets integers [N].
    Returns the sum of the losses in nats and the number of right guesses, [2]; [N, H], [V, H], [V].
    """
    wide = torch.promote_types(outputs.dtype, torch.float32)
    sums = torch.zeros(2, dtype=wide, device=outputs.device)
    grad_outputs = torch.empty_like(outputs)
    grad_weight, grad_bias = torch.zeros_like(weight, dtype=wide), torch.zeros_like(bias, dtype=wide)
    scaled_weight = weight * scale
    rows = max(1, PIECE // len(weight))
    pieces = (torch.split(tensor, rows) for tensor in (outputs, targets[:, None], grad_outputs))
    for h, y, dh in zip(*pieces, strict=True):
        z = torch.addmm(bias, h, weight.T).to(wide)
        log_p = z.log_softmax(1)
        sums += torch.stack([-log_p.gather(1, y).sum(), (z.argmax(1, keepdim=True) == y).sum()])
        dz = log_p.exp_()
        dz.scatter_add_(1, y, dz.new_full((), -1.0).expand(y.shape))
        dz = dz.to(outputs.dtype)
        torch.mm(dz, scaled_weight, out=dh)
        grad_weight += dz.T @ h
        grad_bias += dz.sum(0, dtype=wide)
    return sums, grad_outputs, grad_weight.mul_(scale), grad_bias.mul_(scale)


class _OutputLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, outputs: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, scale: float, run: LossAndGradients
    ) -> tuple[Tensor, Tensor]:
        # Known here, `scale` costs nothing; float16 would lose small gradients, as its loss is scaled up only later.
        ctx.rest = scale if outputs.dtype == torch.float16 else 1.0
        sums, *gradients = run(outputs, weight, bias, targets, scale / ctx.rest)
        ctx.save_for_backward(*gradients)
        ctx.mark_non_differentiable(sums)
        return sums[0] * scale, sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.saved_tensors
        factor = grad_loss * ctx.rest
        if not (factor.device.type == "cpu" and factor == 1):  # as it mostly is: a pass over [N, H] saved
            gradients = tuple(gradient * factor for gradient in gradients)
        return (*gradients, None, None, None)


def output_loss(
    outputs: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    *,
    scale: float = 1.0,
    run: LossAndGradients = in_pieces,
) -> tuple[Tensor, Tensor]:
    """The loss of predicting `targets` from `outputs`, and what a report of it needs.

    outputs [N, H], weight [V, H], bias [V], targets integers [N]. The products are in autocast's dtype where that is
    on, the losses in float32 at least. `run` computes them.
    Returns scale * (sum of the losses in nats), a scalar, differentiable once; and, not differentiable, the sum itself
    and the number of right guesses (where the target has the highest logit), [2].
    """
    device = outputs.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else outputs.dtype
    with torch.autocast(device, enabled=False):
        loss, sums = _OutputLoss.apply(  # type: ignore[no-untyped-call]
            outputs.to(dtype), weight.to(dtype), bias.to(dtype), targets, scale, run
        )
    return loss, sums
