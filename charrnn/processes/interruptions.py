"""What may interrupt training between two steps: a signal, a launcher that is gone, the time for a checkpoint."""

import multiprocessing
import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

import torch
from accelerate import Accelerator

from charrnn.processes.launcher import launcher_pid

__all__ = ["Interruptions"]

ASK_SECONDS = 1.0
"""Seconds, about, between two moments at which several processes ask each other."""
ASK_STEPS = 100
"""Steps after which they ask at the latest, however short a step is."""


class Interruptions:
    """Notes the first SIGTERM, SIGINT or `stop_signal`; a second one has its usual effect, at once. None in a thread.

    A process whose launcher has died is told to stop by nobody: it takes that for a SIGTERM.
    """

    def __init__(self, accelerator: Accelerator, *, stop_signal: int, checkpoint_minutes: float) -> None:
        self._accelerator = accelerator
        self._signals = {signal.SIGTERM, signal.SIGINT} | ({signal.Signals(stop_signal)} if stop_signal else set())
        if threading.current_thread() is not threading.main_thread():  # which alone gets signals
            self._signals = set()
        self._minutes = checkpoint_minutes
        self._launcher = launcher_pid()
        self._received = 0
        self._previous: dict[int, Any] = {}
        self._asked = self._saved = time.monotonic()
        self._asked_step, self._next_step = 0, 0

    def __enter__(self) -> Self:
        self._previous = {number: signal.getsignal(number) for number in self._signals}
        for number in self._signals:
            signal.signal(number, self._note)
        if self._received:  # amid that, and those after it were set again
            self._restore()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def saved(self) -> None:
        """A checkpoint has been written: the minutes count from now."""
        self._saved = time.monotonic()

    def agreed_collective(self, step: int) -> tuple[int, bool]:
        """The signal that any process received, 0 for none; and whether it is time for a checkpoint.

        The same on all processes, which call this after every step and ask each other about once a second.
        """
        if step < self._next_step:
            return 0, False
        now = time.monotonic()
        pace = (step - self._asked_step) / max(now - self._asked, 1e-3)
        wanted = [self._signal(), int(0 < self._minutes * 60 <= now - self._saved), int(pace * ASK_SECONDS)]
        if self._accelerator.num_processes > 1:
            flags = torch.tensor([wanted], device=self._accelerator.device)
            wanted = self._accelerator.gather(flags).amax(0).tolist()
            self._next_step = step + min(max(wanted[2], 1), ASK_STEPS)
        self._asked, self._asked_step = now, step
        return wanted[0], bool(wanted[1])

    def _signal(self) -> int:
        if self._launcher and os.getppid() != self._launcher:
            return signal.SIGTERM
        return self._received

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        # accelerate's notebook_launcher passes on what all have had already; it ends them, if need be, itself.
        if multiprocessing.parent_process() is None:
            self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: not Python's, and out of its reach
