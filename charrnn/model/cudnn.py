"""The recurrence by cuDNN: torch's own RNNs behind our interfaces. On a CPU the same calls are torch's own."""

import warnings
from typing import Any

import torch
from torch import Tensor

from charrnn.model.cells import GRU, LSTM, Cell, States, Tanh
from charrnn.model.recurrence import in_autocast_dtype

__all__ = ["cudnn", "layer", "why_not"]


@in_autocast_dtype
def cudnn(cell: Cell, inputs: Tensor, states: States, W_h: Tensor, b_u: Tensor | None) -> tuple[Tensor, States]:
    """Run the recurrence; the same function as `charrnn.model.recurrence.reference`. Differentiable once.

    cuDNN's RNN multiplies its inputs by a matrix (torch has no way to its CUDNN_SKIP_INPUT), and ours have been
    multiplied: it gets the identity. A model uses `layer`, which needs none. An infinite input times a zero of the
    identity would be no number; the largest finite one has the same tanh.
    """
    inputs = inputs.clamp(-torch.finfo(inputs.dtype).max, torch.finfo(inputs.dtype).max)
    identity = torch.eye(W_h.shape[0], dtype=W_h.dtype, device=W_h.device)
    biases = [] if b_u is None else [torch.zeros_like(b_u), b_u]
    return _rnn(cell, inputs, states, [identity, W_h, *biases])


def layer(
    cell: Cell, inputs: Tensor, states: States, W_e: Tensor, b_e: Tensor, W_h: Tensor, b_h: Tensor
) -> tuple[Tensor, States]:
    """Run a whole layer on its inputs [T, B, E]; see `charrnn.model.backends.Layer`. Differentiable once."""
    device = inputs.device.type
    weights = [W_e, W_h, b_e, b_h]
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        inputs, weights = inputs.to(dtype), [weight.to(dtype) for weight in weights]
    with torch.autocast(device, enabled=False):
        return _rnn(cell, inputs, states, weights)


def _rnn(cell: Cell, inputs: Tensor, states: States, weights: list[Tensor]) -> tuple[Tensor, States]:
    before = tuple(state[None].to(inputs.dtype).contiguous() for state in states)
    run: Any = {Tanh: torch.rnn_tanh, GRU: torch.gru, LSTM: torch.lstm}[type(cell)]
    # cuDNN copies its weights into one block. torch warns unless they live in one, as views that share its memory:
    # our parameters stay their own, and the copy is H * H numbers beside T products of B * H * H.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")
        outputs, *after = run(
            inputs,
            before if isinstance(cell, LSTM) else before[0],
            weights,
            has_biases=len(weights) == 4,
            num_layers=1,
            dropout=0.0,
            train=torch.is_grad_enabled(),
            bidirectional=False,
            batch_first=False,
        )
    return outputs, tuple(state[0] for state in after)


def why_not(device: torch.device, dtype: torch.dtype) -> str:
    """Why cuDNN cannot compute in `dtype` on a CUDA `device`: torch would take another way without a word."""
    version = torch.backends.cudnn.version() if torch.backends.cudnn.enabled else None  # type: ignore[no-untyped-call]
    if version is None:
        return "torch has no cuDNN, or it is switched off"
    # https://github.com/pytorch/pytorch/pull/164411
    if dtype == torch.bfloat16 and (version < 91300 or torch.cuda.get_device_capability(device) < (8, 0)):
        return f"bfloat16 needs cuDNN 9.13 and a device of capability 8.0, this is cuDNN {version} on {device}"
    return ""
