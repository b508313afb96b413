"""What a run sets in its process, and leaves as it was: a notebook has other work, and other runs, in the same one."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate.state import AcceleratorState, GradientState, PartialState

from charrnn.errors import RunError

__all__ = ["left_as_found"]

_ONE = threading.Lock()
_STATES = PartialState, AcceleratorState, GradientState
"""What accelerate keeps for a whole process: devices, precision, accumulation."""


@contextmanager
def left_as_found() -> Iterator[None]:
    """While it lasts, this process has a run: accelerate's state is new, and torch may be set as the run wants it.

    Raises RunError where it has one already, or is one of somebody else's torch.distributed group.
    """
    if not _ONE.acquire(blocking=False):
        raise RunError("this process has a run that is not at its end: wait for it, or start another process")
    try:
        if torch.distributed.is_initialized():
            raise RunError("this process is in a torch.distributed group already: train in one that is in none")
        with _accelerate_anew(), _torch_as_it_was():
            yield
    finally:
        _ONE.release()


@contextmanager
def _accelerate_anew() -> Iterator[None]:
    """A second Accelerator would take over the first one's precision, or refuse its own."""
    before = [dict(state._shared_state) for state in _STATES]
    for state in _STATES:
        state._shared_state.clear()
    try:
        yield
    finally:
        for state, kept in zip(_STATES, before, strict=True):
            state._shared_state.clear()
            state._shared_state.update(kept)


@contextmanager
def _torch_as_it_was() -> Iterator[None]:
    """Threads, determinism and random numbers."""
    threads = torch.get_num_threads()
    determinism = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled, tf32 = torch.utils.deterministic.fill_uninitialized_memory, torch.backends.cudnn.allow_tf32  # type: ignore[attr-defined]
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=list(devices)):
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(determinism[0], warn_only=determinism[1])
            torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
            torch.backends.cudnn.allow_tf32 = tf32
