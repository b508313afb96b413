"""The recurrence by cuDNN: torch's own tanh RNN behind the interface of `charrnn.model.recurrence`."""

import warnings

import torch
from torch import Tensor

from charrnn.model.recurrence import in_autocast_dtype

__all__ = ["cudnn", "why_not"]


@in_autocast_dtype
def cudnn(inputs: Tensor, state: Tensor, W_h: Tensor) -> Tensor:
    """Run the recurrence; the same function as `charrnn.model.recurrence.reference`. Differentiable once.

    inputs [T, B, H], state [B, H], W_h [H, H] -> outputs [T, B, H]. cuDNN's RNN multiplies its inputs by a matrix
    (torch has no way to its CUDNN_SKIP_INPUT), and ours have been multiplied: it gets the identity. That product is one
    for all steps, off the chain of T dependent ones; what it costs is not measured. On a CPU the same call is torch's
    own RNN, which is how the tests run it. An infinite input times a zero of the identity would be no number; the
    largest finite one has the same tanh.
    """
    inputs = inputs.clamp(-torch.finfo(inputs.dtype).max, torch.finfo(inputs.dtype).max)
    identity = torch.eye(W_h.shape[0], dtype=W_h.dtype, device=W_h.device)
    # cuDNN copies its weights into one block. torch warns unless they live in one, as views that share its memory:
    # our parameters stay their own, and the copy is H * H numbers beside T products of B * H * H.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")
        outputs, _ = torch.rnn_tanh(
            inputs,
            state[None].contiguous(),
            [identity, W_h],
            has_biases=False,
            num_layers=1,
            dropout=0.0,
            train=torch.is_grad_enabled(),
            bidirectional=False,
            batch_first=False,
        )
    return outputs


def why_not(device: torch.device, dtype: torch.dtype) -> str:
    """Why cuDNN cannot compute in `dtype` on a CUDA `device`: torch would take another way without a word."""
    version = torch.backends.cudnn.version() if torch.backends.cudnn.enabled else None  # type: ignore[no-untyped-call]
    if version is None:
        return "torch has no cuDNN, or it is switched off"
    # https://github.com/pytorch/pytorch/pull/164411
    if dtype == torch.bfloat16 and (version < 91300 or torch.cuda.get_device_capability(device) < (8, 0)):
        return f"bfloat16 needs cuDNN 9.13 and a device of capability 8.0, this is cuDNN {version} on {device}"
    return ""
