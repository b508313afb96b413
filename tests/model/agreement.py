"""Whether an execution of the recurrence that has no float64 agrees with the reference, to within its rounding."""

from collections.abc import Callable

import torch
from torch import Tensor

from charrnn.model.cells import CELLS
from charrnn.model.recurrence import Recurrence
from charrnn.model.recurrence import reference as reference_of_any_cell

TanhRun = Callable[[Tensor, Tensor, Tensor], Tensor]
"""inputs [T, B, H], state [B, H], W_h [H, H] -> outputs [T, B, H]"""

SIZES = [(1, 1, 1), (1, 3, 5), (7, 1, 4), (6, 3, 5), (5, 19, 40), (33, 5, 17), (20, 64, 128)]  # T, B, H


def of_tanh(run: Recurrence) -> TanhRun:
    """`run` with the cell `tanh`."""

    def outputs(inputs: Tensor, state: Tensor, W_h: Tensor) -> Tensor:
        # Its memory is the run's to use.
        outputs, (after,) = run(CELLS["tanh"], inputs.clone(), (state,), W_h, None)
        torch.testing.assert_close(after, outputs[-1], rtol=0, atol=0, equal_nan=True)
        return outputs

    return outputs


reference = of_tanh(reference_of_any_cell)


def problem(T: int, B: int, H: int, dtype: torch.dtype, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor]:
    """inputs [T, B, H], state [B, H], W_h [H, H], drawn at random; the longest vectors W_h keeps about as long."""
    generator = torch.Generator().manual_seed(T * 100 + B * 10 + H)

    def make(*shape: int, scale: float = 1.0) -> Tensor:
        return (torch.randn(*shape, generator=generator) * scale).to(device, dtype).requires_grad_()

    return make(T, B, H), make(B, H), make(H, H, scale=H**-0.5)


def assert_agrees(run: TanhRun, inputs: Tensor, state: Tensor, W_h: Tensor, float32_units: int = 16) -> None:
    """Outputs and gradients of `run` are those of the reference on the same numbers in float64."""
    results = []
    for execution, dtype in ((run, inputs.dtype), (reference, torch.float64)):
        arguments = [tensor.detach().to(dtype, copy=True).requires_grad_() for tensor in (inputs, state, W_h)]
        outputs = execution(*arguments)
        assert outputs.dtype == dtype
        weights = torch.linspace(-1, 1, outputs.numel(), device=inputs.device).to(inputs.dtype).view_as(outputs)
        (outputs * weights.to(dtype)).sum().backward()
        results.append([outputs.detach(), *(argument.grad for argument in arguments)])
    for what, ours, theirs in zip(("outputs", "inputs", "state", "W_h"), *results, strict=True):
        assert ours is not None
        assert theirs is not None
        # In units in the last place of the largest number. A 16-bit sum of products is summed in float32 and rounded
        # once, one in float32 is rounded H times; what the steps before have rounded, tanh and W_h damp.
        difference, unit = (ours.double() - theirs).abs().max(), torch.finfo(inputs.dtype).eps * theirs.abs().max()
        allowed = float32_units if inputs.dtype == torch.float32 else 2
        assert difference <= allowed * unit, f"{what}: {difference / unit:.1f} units in the last place"
