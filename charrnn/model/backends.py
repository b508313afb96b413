"""The ways of executing the recurrence: one table, and one rule that chooses.

A backend that was asked for by name runs or raises. Only `auto` chooses, and `Choice` tells what it took and why it
passed over what it would have preferred. Another backend is one more entry in `BACKENDS`, before those that it should
be preferred to.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from charrnn.errors import ConfigError
from charrnn.model import cudnn, native
from charrnn.model.fused import fused
from charrnn.model.graphed import graphed
from charrnn.model.loss import LossAndGradients, in_pieces
from charrnn.model.recurrence import Recurrence, reference

__all__ = ["BACKENDS", "Backend", "Choice", "backend", "choose", "loss"]


@dataclass(frozen=True, kw_only=True)
class Backend:
    """One way of executing the recurrence."""

    run: Recurrence
    device: str = ""
    """The type of device that it runs on; empty: any."""
    why_not: Callable[[torch.device, torch.dtype], str] = lambda device, dtype: ""
    """The reason why it cannot compute in a dtype on a device of its type; empty where it can."""
    auto: bool = True
    """Whether `auto` may take it: only what was measured on its devices, and found fast."""
    loss: LossAndGradients = in_pieces
    """The output layer and its loss that go with it."""

    def refusal(self, device: torch.device, dtype: torch.dtype) -> str:
        """Why it cannot run on `device` in `dtype`; empty where it can."""
        if self.device not in ("", device.type):
            return f"it runs on {self.device}, not on {device.type}"
        return self.why_not(device, dtype)


# Measured on an H200 (docs/benchmarks.md): `graphed` takes a seventh to a half of the time of `fused`, in bfloat16 a
# quarter of cuDNN's. In float32 up to H = 256 cuDNN is faster, and less exact: it runs by name only.
BACKENDS: dict[str, Backend] = {
    "native": Backend(run=native.native, device="cpu", why_not=native.why_not, loss=native.output_loss),
    "graphed": Backend(run=graphed, device="cuda"),
    "cudnn": Backend(run=cudnn.cudnn, device="cuda", why_not=cudnn.why_not, auto=False),
    "fused": Backend(run=fused),
    "reference": Backend(run=reference, auto=False),
}
"""By name, the preferred first."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A backend, and what `auto` would have preferred to it."""

    name: str
    passed_over: tuple[tuple[str, str], ...] = ()
    """Backends for this type of device that cannot run, each with the reason."""

    def __str__(self) -> str:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in self.passed_over)
        return self.name + (f" ({reasons})" if reasons else "")


def choose(name: str, device: torch.device, dtype: torch.dtype) -> Choice:
    """The backend that `name` means on `device` in `dtype`: itself, or where it is `auto`, the first that can run.

    Raises ConfigError where a backend that was asked for by name is unknown or cannot run.
    """
    if name != "auto":
        known = ", ".join(["auto", *BACKENDS])
        reason = BACKENDS[name].refusal(device, dtype) if name in BACKENDS else f"there is none, only {known}"
        if reason:
            raise ConfigError(f"model.recurrence is {name}: {reason}: give --model.recurrence auto")
        return Choice(name=name)
    passed_over: list[tuple[str, str]] = []
    for candidate, entry in BACKENDS.items():
        if entry.auto and entry.device in ("", device.type):
            reason = entry.refusal(device, dtype)
            if not reason:
                return Choice(name=candidate, passed_over=tuple(passed_over))
            passed_over.append((candidate, reason))
    return Choice(name="reference", passed_over=tuple(passed_over))


def _entry(name: str, inputs: Tensor) -> Backend:
    """What executes `name` for `inputs` here and now: in autocast's dtype, where that is on."""
    kind = inputs.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else inputs.dtype
    return BACKENDS[choose(name, inputs.device, dtype).name]


def backend(name: str) -> Recurrence:
    """The recurrence that runs as `name` says, chosen anew at each call where that is `auto`."""

    def recurrence(inputs: Tensor, state: Tensor, W_h: Tensor) -> Tensor:
        return _entry(name, inputs).run(inputs, state, W_h)

    return recurrence


def loss(name: str, outputs: Tensor) -> LossAndGradients:
    """The output layer and its loss of the backend that `backend(name)` runs for `outputs` [T, B, H]."""
    return _entry(name, outputs).loss
