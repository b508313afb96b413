"""The recurrence with `W_h` kept on chip over the whole loop: `triton_kernels.py`, called and differentiated.

`fused.py` has the derivation of the backward pass. Here, too, dW_h is one product over all steps afterwards.

Not measured, and never run on a GPU. Triton's interpreter shows that values and gradients are the reference's, its
compiler that a program has room for `W_h` (on sm_80 and sm_90, see `shared_bytes`). A larger `W_h` would be spread over
programs that wait for each other at every step: neither can prove that, so it is not here.
"""

import functools
import importlib.util
from typing import Any

import torch
from torch import Tensor

from charrnn.model.fused import Loops, through_time
from charrnn.model.recurrence import in_autocast_dtype

__all__ = ["compile_options", "shared_bytes", "triton_recurrence", "why_not"]

BLOCK_B = 16
"""Rows of a program: a tensor core's least."""
NUM_WARPS = 8
"""256 threads of 255 registers: all that one program can have."""


def _forward(inputs: Tensor, history: Tensor, W_h: Tensor) -> None:
    from charrnn.model import triton_kernels  # triton is there with torch's CUDA builds only

    _launch(triton_kernels.forward, inputs, history, W_h)


def _backward(grad_outputs: Tensor, grad_inputs: Tensor, history: Tensor, W_h: Tensor) -> None:
    from charrnn.model import triton_kernels

    _launch(triton_kernels.backward, grad_outputs, history[1:], grad_inputs, W_h)


_LOOPS = Loops(_forward, _backward)


def _launch(kernel: Any, sequence: Tensor, *others: Tensor) -> None:
    """Run `kernel` over `sequence` [T, B, H] and its other tensors, one program for every BLOCK_B rows."""
    T, B, H = sequence.shape
    with torch.cuda.device_of(sequence):  # type: ignore[no-untyped-call]
        kernel[(-(-B // BLOCK_B),)](
            sequence, *others, T, B, H, **compile_options(sequence.dtype, H), num_warps=NUM_WARPS
        )


def compile_options(dtype: torch.dtype, hidden_size: int) -> dict[str, Any]:
    """The kernels' compile-time arguments. float32 is exact to rounding: three TF32 products in place of one."""
    return {
        "BLOCK_B": BLOCK_B,
        "BLOCK_H": max(16, 1 << (hidden_size - 1).bit_length()),
        "PRECISION": "tf32x3" if dtype == torch.float32 else "ieee",
    }


def shared_bytes(dtype: torch.dtype, hidden_size: int) -> int:
    """Shared memory that a program needs for W_h and h; float32 keeps the high and the low part of each."""
    block: int = compile_options(dtype, hidden_size)["BLOCK_H"]
    return (block + BLOCK_B) * block * (8 if dtype == torch.float32 else 2)


@torch.compiler.disable  # type: ignore[untyped-decorator]
@in_autocast_dtype
def triton_recurrence(inputs: Tensor, state: Tensor, W_h: Tensor) -> Tensor:
    """Run the recurrence; the same function as `charrnn.model.recurrence.reference`. Differentiable once.

    inputs [T, B, H], state [B, H], W_h [H, H] -> outputs [T, B, H]; float32, bfloat16 or float16.
    """
    return through_time(inputs, state, W_h, _LOOPS)


@functools.cache
def why_not(device: torch.device, dtype: torch.dtype, hidden_size: int) -> str:
    """Why the kernels cannot run on `device` in `dtype` with H = `hidden_size`; empty where they can."""
    if device.type != "cuda":
        return f"Triton's kernels run on a CUDA device, not on {device.type}"
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"its kernels compute in float32, bfloat16 or float16, not in {dtype}"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return f"its kernels need a device of capability 8.0, which {device} is not"
    there = torch.cuda.get_device_properties(device).shared_memory_per_block_optin  # type: ignore[attr-defined]
    if shared_bytes(dtype, hidden_size) > there:
        return f"W_h [{hidden_size}, {hidden_size}] in {dtype} does not fit the {there} bytes on chip of a program"
    return ""
