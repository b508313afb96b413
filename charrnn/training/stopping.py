"""Being told to stop: the signal is noted, the step is finished, a checkpoint is saved."""

import signal
from types import FrameType, TracebackType
from typing import Self

import torch
from accelerate import Accelerator

__all__ = ["StopSignal"]

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignal:
    """Notes the first SIGTERM or SIGINT; a second one has its usual effect, at once."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._received = 0

    def __enter__(self) -> Self:
        self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def agreed(self) -> int:
        """The signal that any process received, 0 for none; the same on all. To be called by all at the same step."""
        if self._accelerator.num_processes == 1:
            return self._received
        flags = torch.tensor([self._received], device=self._accelerator.device)
        return int(self._accelerator.gather(flags).max())

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
