"""The ways of executing the recurrence: one table, and one rule that chooses.

A backend that was asked for by name runs or raises; only `auto` chooses, and `chosen` says what. Another backend is one
more entry in `BACKENDS`, before those that it should be preferred to.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from charrnn.errors import ConfigError
from charrnn.model import cudnn, native, triton_recurrence
from charrnn.model.fused import fused
from charrnn.model.loss import LossAndGradients, in_pieces
from charrnn.model.recurrence import Recurrence, reference

__all__ = ["BACKENDS", "Backend", "Setting", "backend", "chosen", "loss"]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a recurrence is asked to do, as far as a choice between backends depends on it."""

    device: torch.device
    dtype: torch.dtype
    """In which it computes: autocast's, where that is on."""
    batch_size: int
    """B: rows of this process."""
    hidden_size: int
    """H"""

    @classmethod
    def of(cls, inputs: Tensor) -> "Setting":
        """That of a call with `inputs` [T, B, H], here and now."""
        kind = inputs.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else inputs.dtype
        return cls(device=inputs.device, dtype=dtype, batch_size=inputs.shape[1], hidden_size=inputs.shape[2])


@dataclass(frozen=True)
class Backend:
    """One way of executing the recurrence."""

    run: Recurrence
    why_not: Callable[[Setting], str] = lambda setting: ""
    """The reason why it cannot run in a setting; empty where it can."""
    better: Callable[[Setting], bool] = lambda setting: True
    """Whether `auto` prefers it, where it can run, to those that come after it in the table: as measured."""
    loss: LossAndGradients = in_pieces
    """The output layer and its loss that go with it."""


# `cudnn` and `triton` are not measured: until they are, they run by name only. On CUDA `auto` takes `fused`, the one
# whose runs have been on a GPU: they go on bit for bit there and learn what a CPU learns (tests/training/test_gpu.py).
BACKENDS: dict[str, Backend] = {
    "native": Backend(
        native.native,
        lambda setting: native.why_not(setting.device, setting.dtype),
        loss=native.output_loss,
    ),
    "cudnn": Backend(
        cudnn.cudnn,
        lambda setting: cudnn.why_not(setting.device, setting.dtype),
        better=lambda setting: False,
    ),
    "triton": Backend(
        triton_recurrence.triton_recurrence,
        lambda setting: triton_recurrence.why_not(setting.device, setting.dtype, setting.hidden_size),
        better=lambda setting: False,
    ),
    "fused": Backend(fused),
    "reference": Backend(reference, better=lambda setting: False),
}
"""By name, the preferred first."""


def chosen(name: str, setting: Setting) -> str:
    """The backend that `name` means in `setting`: itself, or where it is `auto`, the first that can run and is better.

    Raises ConfigError where a backend that was asked for by name cannot run.
    """
    if name == "auto":
        preferred = (key for key, entry in BACKENDS.items() if entry.better(setting) and not entry.why_not(setting))
        return next(preferred, "reference")
    reason = BACKENDS[name].why_not(setting)
    if reason:
        raise ConfigError(f"model.recurrence is {name}: {reason}: give --model.recurrence auto")
    return name


def backend(name: str) -> Recurrence:
    """The recurrence that runs as `name` says, chosen anew at each call where that is `auto`."""

    def recurrence(inputs: Tensor, state: Tensor, W_h: Tensor) -> Tensor:
        return BACKENDS[chosen(name, Setting.of(inputs))].run(inputs, state, W_h)

    return recurrence


def loss(name: str, outputs: Tensor) -> LossAndGradients:
    """The output layer and its loss of the backend that `backend(name)` runs for `outputs` [T, B, H]."""
    return BACKENDS[chosen(name, Setting.of(outputs))].loss
