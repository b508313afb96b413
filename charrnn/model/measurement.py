"""Which backend is the fastest here, for the shapes of a run, of those that compute what the reference computes."""

import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.linalg import vector_norm

from charrnn.errors import first_line
from charrnn.model.backends import BACKENDS, Backend
from charrnn.model.cells import Cell

__all__ = ["Measurement", "measure"]

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 0.01, torch.bfloat16: 0.06}
"""By how much outputs and gradients may differ from the reference's in float32, relative to the largest. cuDNN's
float32 is 2e-5 off (its own tanh); 16-bit numbers are rounded at every step."""
ROUNDS, ROUNDS_SECONDS = 5, 0.1
"""A backend is timed so often, but no longer than that; twice at least."""
CHECKED_CHARACTERS, TIMED_CHARACTERS = 512, 2048
"""Characters of the pass that is compared with the reference, and of the one that is timed: few, for they take memory;
but what a call does once, such as packing W_h, must not weigh much more than in the run."""
CPU_FLOP, CUDA_FLOP = 2.4e10, 1e12
"""Work of a pass, at most, but for those of FEWEST_STEPS: all takes some tenths of a second, of an LSTM of 1,024 units
one or two."""
FEWEST_STEPS = 16
"""Of a layer so wide that more would take long: what a call does once is then still below a step's share."""
_V, _E = 64, 32  # characters of the vocabulary, and numbers of each: most have about so many
PREFERENCE = 1.05
"""The backend that comes first in the table wins against one that is not faster than this: which one it is then does
not hang on noise."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What was found."""

    name: str
    """The backend to take."""
    seconds: Mapping[str, float]
    """A forward and a backward pass of each backend that agrees with the reference."""
    passed_over: Mapping[str, str]
    """The other backends for this type of device, each with the reason."""

    def __str__(self) -> str:
        others = {name: seconds for name, seconds in self.seconds.items() if name != self.name}
        reasons = "; ".join(f"{name}: {reason}" for name, reason in self.passed_over.items())
        text = self.name
        if others:
            second = min(others, key=others.__getitem__)
            text += f", {others[second] / self.seconds[self.name]:.1f} x {second}"
        return text + (f" ({reasons})" if reasons else "")


def measure(cell: Cell, *, T: int, B: int, H: int, device: torch.device, dtype: torch.dtype) -> Measurement:
    """Run each backend that can run `cell` on `device` in `dtype`, compare it with the reference, and time it.

    T, B, H: length, rows and width of what the run does.
    """
    passed_over = {
        name: reason
        for name, entry in BACKENDS.items()
        if entry.device in ("", device.type) and (reason := entry.refusal(cell, device, dtype))
    }
    candidates = {
        name: entry
        for name, entry in BACKENDS.items()
        if name not in (*passed_over, "reference") and entry.device in ("", device.type)
    }
    flop_per_step = 3 * 2 * B * cell.gates * H * H  # forward, and two products backward
    affordable = max(FEWEST_STEPS, round((CUDA_FLOP if device.type == "cuda" else CPU_FLOP) / flop_per_step))
    checked, timed = (
        _Problem(cell, min(T, max(2, min(characters // B, affordable))), B, H, device, dtype)
        for characters in (CHECKED_CHARACTERS, TIMED_CHARACTERS)
    )
    expected = checked.results(BACKENDS["reference"], autocast=False)
    seconds = {}
    for name, entry in candidates.items():
        try:
            if difference := _difference(checked.results(entry), expected, TOLERANCES[dtype]):
                passed_over[name] = difference
            else:
                seconds[name] = timed.seconds(entry)
        except Exception as error:  # whatever a compiler, a driver or a library raises: others can do without it
            passed_over[name] = f"it fails ({first_line(error)})"
    for name in _rounds(list(seconds)):
        seconds[name] = min(seconds[name], timed.seconds(candidates[name]))
    if not seconds:
        return Measurement(name="reference", seconds={}, passed_over=passed_over)
    fastest = min(seconds.values())
    name = next(name for name in candidates if seconds.get(name, float("inf")) <= PREFERENCE * fastest)
    return Measurement(name=name, seconds=seconds, passed_over=passed_over)


def _rounds(names: Collection[str]) -> Iterator[str]:
    """Whom to time again: all in turn, so that other work disturbs all alike. Twice at least: a first call is slow."""
    begin = time.perf_counter()
    for done in range(1, ROUNDS):
        if done == 1 or time.perf_counter() - begin < ROUNDS_SECONDS * len(names):
            yield from names


class _Problem:
    """A bottom layer of random numbers, whose gradients neither vanish nor explode, and a weight for each output."""

    def __init__(self, cell: Cell, T: int, B: int, H: int, device: torch.device, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(0)  # of its own: the run's numbers stay what they are
        wide = torch.promote_types(dtype, torch.float32)

        def normal(*shape: int, scale: float = 1.0) -> Tensor:
            return (torch.randn(*shape, generator=generator) * scale).to(device, wide)

        rows = cell.gates * H
        self._cell, self._device, self._dtype = cell, device, dtype
        self._tokens = torch.randint(_V, (T, B), generator=generator).to(device)
        shapes = {"embedding": (_V, _E), "W_e": (rows, _E), "b_e": (rows,), "W_h": (rows, H), "b_h": (rows,)}
        scales = {"embedding": 0.3, "W_e": _E**-0.5, "W_h": H**-0.5, "b_e": 0.1, "b_h": 0.1}
        self._leaves = {name: normal(*shape, scale=scales.get(name, 1.0)) for name, shape in shapes.items()}
        self._leaves |= {name: normal(B, H, scale=0.5) for name in cell.states}
        self._weights = normal(T, B, H)
        for leaf in self._leaves.values():
            leaf.requires_grad_()

    def results(self, backend: Backend, *, autocast: bool = True) -> dict[str, Tensor]:
        """Outputs, and the gradients by everything, of a loss that sees each output with a weight of its own."""
        embedding, W_e, b_e, W_h, b_h, *states = self._leaves.values()
        arguments = (self._tokens, embedding, tuple(states), W_e, b_e, W_h, b_h)
        with torch.enable_grad():
            with torch.autocast(
                self._device.type, self._dtype, enabled=autocast and self._dtype in (torch.float16, torch.bfloat16)
            ):
                outputs, _ = backend.run_bottom_layer(self._cell, *arguments)
            weights = self._weights.to(outputs.dtype)
            gradients = torch.autograd.grad(outputs, list(self._leaves.values()), weights)
        names = [f"the gradient by {name}" for name in self._leaves]
        return {"the output": outputs.detach(), **dict(zip(names, gradients, strict=True))}

    def seconds(self, backend: Backend) -> float:
        """Of one forward and backward pass."""
        begin = time.perf_counter()
        self.results(backend)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter() - begin


def _difference(ours: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> str:
    """What differs from the reference by more than `tolerance`; empty where nothing does."""
    for what, value in expected.items():
        relative = float(vector_norm(ours[what] - value, torch.inf) / vector_norm(value, torch.inf))
        if not relative <= tolerance:
            return f"{what} differs from the reference's by {relative:.1g}, at most {tolerance} may be"
    return ""
