"""How a process begins: its threads, its memory."""

import ctypes
import os
import subprocess
import sys

import pytest

from charrnn.errors import ConfigError
from charrnn.processes import start
from tests.anything import one_line

CORES = os.cpu_count() or 1


@pytest.mark.parametrize("threads", [CORES + 1, 9999])
def test_more_threads_than_cores_are_refused(threads: int) -> None:
    """Some thousands of them are a segmentation fault."""
    with pytest.raises(ConfigError, match=f"^threads is {threads}: this machine has {CORES} cores") as caught:
        start.start(mixed_precision="no", threads=threads)
    assert one_line(caught.value)


@pytest.mark.parametrize(
    ("chosen", "threads"), [("9999", CORES), (str(CORES), CORES), ("2,3", None), ("1", None), ("", None)]
)
def test_the_environment_s_threads_are_those_that_there_are(
    monkeypatch: pytest.MonkeyPatch, chosen: str, threads: int | None
) -> None:
    """OMP_NUM_THREADS is of all programs, perhaps of another machine."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    alone = start._threads(0)
    monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    assert start._threads(0) == (threads or alone)
    assert start._threads(1) == 1


FREED_MEMORY = """
import resource
import torch
from charrnn.processes.start import start
pages = 4 * 10 * 2**20 // resource.getpagesize()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    [torch.ones(10 * 2**18) for _ in range(4)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
def share():
    return [faults() for _ in range(4)][-1] / pages
before = share()
start(mixed_precision="no", threads=1)
print(before, share())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not here: this C library has no mallopt")
def test_what_a_step_frees_is_there_for_the_next() -> None:
    """Four tensors of 10 MB, made, freed and made again: each of their pages is a fault, unless memory was kept."""
    command = [sys.executable, "-c", FREED_MEMORY]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    given_back, kept = map(float, output.split())
    if given_back < 0.9:
        pytest.skip("not here: huge pages: memory that comes again costs nothing here")
    assert kept < 0.1
