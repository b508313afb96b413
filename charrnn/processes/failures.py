"""Errors of torch, numpy and the system that say something a user can mend, in charrnn's words."""

import errno
import re

import torch
from torch.distributed import DistError

from charrnn.config import TrainConfig
from charrnn.errors import TrainingError, first_line

__all__ = ["is_out_of_memory", "lost_process", "out_of_memory"]

_NO_MEMORY = (
    "allocate memory",
    "not enough memory",
    "out of memory",
    "ALLOC_FAILED",
    "Storage size calculation overflow",
)
"""What the messages of allocators have in common: torch raises RuntimeError for most."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` means that memory was asked for that is not there."""
    by_message = isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)
    # safetensors, in Rust, could not make the object for a checkpoint's bytes.
    by_panic = type(error).__name__ == "PanicException" and "pointer is null" in str(error)
    by_number = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return by_message or by_panic or by_number or isinstance(error, MemoryError | torch.OutOfMemoryError)


def out_of_memory(error: BaseException, config: TrainConfig) -> TrainingError | None:
    """What to say of `error` where it `is_out_of_memory`; else None."""
    if not is_out_of_memory(error):
        return None
    batch, model = config.batch, config.model
    return TrainingError(
        f"out of memory ({_reason(error)}): lower --batch.size ({batch.size}), --batch.length ({batch.length}) or "
        f"--model.hidden-size ({model.hidden_size}), or raise --batch.accumulation ({batch.accumulation})"
    )


def lost_process(error: BaseException) -> TrainingError | None:
    """What to say of `error` where it means that another process has ended, hangs or cannot be reached; else None."""
    if not (isinstance(error, DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))):
        return None
    return TrainingError(
        f"another process of the launch was lost ({_reason(error)}): "
        "start the same command again, it goes on from the last checkpoint"
    )


def _reason(error: BaseException) -> str:
    return re.sub(r"^\[[^]]*\] (err == 0\. )?", "", first_line(error))  # without where in its own source it happened
