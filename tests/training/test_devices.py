"""What one process finds, all of them know: tried with two real ones."""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import psutil
import pytest

from charrnn.errors import ConfigError
from charrnn.training import devices
from tests.conftest import finish
from tests.training.anything import one_line
from tests.training.test_distributed import accelerate_launch

SCRIPT = """
import json, os, sys, time
from pathlib import Path
import torch
from charrnn.errors import CorpusError, RunError
from charrnn.training import devices
from charrnn.training.failures import lost_process

devices.SIGN_OF_LIFE_SECONDS = 0.2
accelerator = devices.start(mixed_precision="no", threads=1, timeout_seconds=2)
me = accelerator.process_index

def fail(kind):
    raise kind("what is wrong: mend it")

def attempt(act):
    try:
        return act()
    except Exception as error:
        return [type(error).__name__, str(error)]

said = [
    attempt(lambda: devices.main_decides(accelerator, lambda: time.sleep(3) or {"decided by": me})),
    attempt(lambda: devices.main_decides(accelerator, lambda: fail(RunError))),
    attempt(lambda: devices.together(accelerator, lambda: 10 * me)),
    attempt(lambda: devices.together(accelerator, lambda: fail(CorpusError) if me else "no error")),
    attempt(lambda: devices.from_main(accelerator, "é".encode() if me == 0 else b"").decode()),
    attempt(lambda: devices.from_main(accelerator, b"from 1" if me == 1 else b"longer and another", 1).decode()),
    attempt(lambda: devices.from_main(accelerator, b"" if me == 0 else b"not empty").decode()),
]
if me == 0:
    try:
        accelerator.gather(torch.zeros(1))  # the other one has gone, or is about to
    except RuntimeError as error:
        said.append(str(lost_process(error)))
Path(sys.argv[1], f"{me}.json").write_text(json.dumps(said))
os._exit(0)
"""


@pytest.mark.distributed
def test_two_processes_know_the_same(tmp_path: Path) -> None:
    """The first decision takes longer than a process waits for another: signs of life keep the second one waiting."""
    (tmp_path / "script.py").write_text(SCRIPT)
    finished = finish(tmp_path, accelerate_launch(2, tmp_path / "script.py", tmp_path))
    assert finished.returncode == 0, finished.stderr
    first, second = (json.loads((tmp_path / f"{process}.json").read_text()) for process in range(2))
    lost = first.pop()
    assert (first.pop(2), second.pop(2)) == (0, 10)
    assert first == second == [
        {"decided by": 0},
        ["RunError", "what is wrong: mend it"],
        ["CorpusError", "what is wrong: mend it"],
        "é",
        "from 1",
        "",
    ]  # fmt: skip
    (line,) = lost.splitlines()
    assert line.startswith("another process of the launch was lost (")
    assert line.endswith("): start the same command again, it goes on from the last checkpoint")


@pytest.mark.parametrize("error", [psutil.AccessDenied(1), psutil.NoSuchProcess(1), psutil.ZombieProcess(1)])
@pytest.mark.parametrize("of", ["cmdline", "parent"])
def test_a_parent_that_may_not_be_looked_at_is_not_accelerate_s_launcher(
    monkeypatch: pytest.MonkeyPatch, of: str, error: psutil.Error
) -> None:
    def refuse(process: psutil.Process) -> NoReturn:
        raise error

    monkeypatch.setattr(psutil.Process, of, refuse)
    assert devices.launcher_pid() == 0
    assert devices._requested_processes() == 1


CORES = os.cpu_count() or 1


@pytest.mark.parametrize("threads", [CORES + 1, 9999])
def test_more_threads_than_cores_are_refused(threads: int) -> None:
    """Some thousands of them are a segmentation fault."""
    with pytest.raises(ConfigError, match=f"^threads is {threads}: this machine has {CORES} cores") as caught:
        devices.start(mixed_precision="no", threads=threads)
    assert one_line(caught.value)


@pytest.mark.parametrize(
    ("chosen", "threads"), [("9999", CORES), (str(CORES), CORES), ("2,3", None), ("1", None), ("", None)]
)
def test_the_environment_s_threads_are_those_that_there_are(
    monkeypatch: pytest.MonkeyPatch, chosen: str, threads: int | None
) -> None:
    """OMP_NUM_THREADS is of all programs, perhaps of another machine."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    alone = devices._threads(0)
    monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    assert devices._threads(0) == (threads or alone)
    assert devices._threads(1) == 1


FREED_MEMORY = """
import resource, sys
import torch
from charrnn.training import devices
if sys.argv[1] == "kept":
    devices.start(mixed_precision="no", threads=1)
pages = 4 * 10 * 2**20 // resource.getpagesize()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    [torch.ones(10 * 2**18) for _ in range(4)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
for _ in range(3):
    faults()
print(faults() / pages)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library has no mallopt")
def test_what_a_step_frees_is_there_for_the_next() -> None:
    """Four tensors of 10 MB, made, freed and made again: each of their pages is a fault, unless memory was kept."""
    shares = {}
    for which in ("kept", "given back"):
        command = [sys.executable, "-c", FREED_MEMORY, which]
        shares[which] = float(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)
    if shares["given back"] < 0.9:
        pytest.skip("huge pages: memory that comes again costs nothing here")
    assert shares["kept"] < 0.1
