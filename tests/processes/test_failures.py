"""Memory that is not there, and processes that are lost, are one line each."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from charrnn.presets import PRESETS
from charrnn.processes.failures import lost_process, out_of_memory
from charrnn.runs.checkpoint import newest_first, read_checkpoint
from charrnn.runs.directory import RunDirectory
from charrnn.runs.export_run import load_model
from tests.anything import one_line
from tests.cli.test_train import Command, command
from tests.conftest import Finished

__all__ = ["command"]  # a fixture

CONFIG = PRESETS["text"]()
REMEDY = "lower --batch.size (64), --batch.length (128) or --model.hidden-size (512), or raise --batch.accumulation (1)"
TOO_MUCH = 2**50  # bytes


def map_too_much() -> None:
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))  # as mmap does


@pytest.mark.parametrize(
    "act",
    [
        lambda: torch.empty(TOO_MUCH // 4),
        lambda: torch.empty(2**40, 2**40),
        lambda: np.zeros(TOO_MUCH // 8),
        lambda: bytearray(TOO_MUCH),
        map_too_much,
    ],
    ids=["torch", "torch, beyond 64 bits", "numpy", "Python", "the system"],
)
def test_memory_that_is_not_there_is_one_line(act: Callable[[], object]) -> None:
    with pytest.raises((RuntimeError, MemoryError, OSError)) as caught:
        act()
    error = out_of_memory(caught.value, CONFIG)
    assert error is not None
    line = one_line(error)
    assert line.startswith("out of memory (")
    assert "[enforce" not in line
    assert line.endswith(f"): {REMEDY}")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has\nmore lines"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
        type("PanicException", (BaseException,), {})("PyObject pointer is null"),
    ],
)
def test_a_gpu_s_memory_too_and_that_for_a_checkpoint_s_bytes(error: BaseException) -> None:
    """The messages are those of torch 2.11 on a GPU, and of safetensors under RLIMIT_AS, written down."""
    found = out_of_memory(error, CONFIG)
    assert found is not None
    assert one_line(found).endswith(REMEDY)


def test_a_model_that_does_not_fit_is_not_taken_for_a_spoilt_one(trained: Finished) -> None:
    """A config.json that asks for too much is as good an example as a machine that has too little."""
    checkpoint = read_checkpoint(newest_first(trained.run / "checkpoints")[0])
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        load_model(RunDirectory(trained.run), checkpoint, hidden_size=2**20)


def test_another_error_is_neither() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.zeros(2, 3) @ torch.zeros(2, 3)
    assert lost_process(caught.value) is None
    assert out_of_memory(caught.value, CONFIG) is None
    assert out_of_memory(OSError(errno.ENOENT, "gloo"), CONFIG) is None
    assert lost_process(OSError(errno.ENOENT, "gloo")) is None


def test_a_run_that_needs_more_memory_than_there_is_ends_with_that_line(command: Command, tmp_path: Path) -> None:
    words = ["alphabet", "--run-dir", "run", "--model.hidden-size", 1_000_000, "--log.wandb", "disabled"]
    status, stdout, stderr = command(*words)
    assert (status, stdout) == (2, "")
    (line,) = stderr.splitlines()
    assert line.startswith("charrnn-train: error: out of memory (")
    assert not (tmp_path / "run").exists()
